"""What holds for every method on every kind of model: one law a test, over the registry."""

import keras
import numpy as np
import pytest

import keras_explainable as ke
from support import keras_models
from support.calls import UNITS, explain, few, subject
from support.compare import close
from support.left_as_found import same, state
from support.selection import REPRESENTATIVE, crossed, every_method, quick, slow, very_slow, very_slow_compiled
from support.threads import in_threads

EXACT = [name for name in keras_models.KINDS if not name.startswith("mixed")]
METHODS = list(ke.registry.METHODS)
UNLIKE = ("subclassed", "nested_sequential", "channels_first")  # kinds that are run or laid out in other ways

pytestmark = pytest.mark.filterwarnings("ignore:.*the same everywhere")


def pairs():
    """Every method on every kind: later on other kinds than its own, and latest where neither's turn comes."""
    for number, method in enumerate(METHODS):
        kinds = EXACT if subject(method) == "functional" else [subject(method)]
        for kind in kinds:
            if kind == subject(method):
                mark = quick(method)
            elif method == "gradcam":
                mark = slow if kind in UNLIKE else very_slow_compiled
            elif method in REPRESENTATIVE or kind == kinds[number % len(kinds)]:
                mark = very_slow_compiled
            else:
                mark = very_slow
            yield pytest.param((method, kind), id=f"{method}-{kind}", marks=mark)


@pytest.fixture(params=every_method())
def method(request):
    return request.param


on_every_kind = pytest.mark.parametrize("pair", list(pairs()))


@on_every_kind
def test_each_image_is_explained_by_itself(pair):
    method, kind = pair
    model, x = keras_models.build_once(kind), keras_models.images(kind)
    together = explain(method, model, x)
    one_by_one = explain(method, model, x, batch_size=1)
    last_partial = explain(method, model, x, batch_size=2)
    close(one_by_one, together, 1e-4)
    close(last_partial, together, 1e-4)


@on_every_kind
def test_units_are_columns(pair):
    method, kind = pair
    model, x = keras_models.build_once(kind), keras_models.images(kind, 2)
    scores, maps = explain(method, model, x, None)
    picked = explain(method, model, x, [[4, 0], [2, 2]])
    rows = np.arange(2)[:, None]
    chosen = np.array([[4, 0], [2, 2]])
    close(picked, (scores[rows, chosen], np.moveaxis(maps, -1, 1)[rows, chosen].transpose(0, 2, 3, 1)), 1e-4)


def test_compiled_is_eager_and_direct(method):
    model, x = keras_models.build_once(subject(method)), keras_models.images(subject(method))
    compiled = explain(method, model, x, postprocessing=None, resizing=False)
    close(explain(method, model, x, run_eagerly=True, resizing=False), compiled, 1e-4)
    direct = ke.get(method)(model, x, UNITS, **few(method))
    close([keras.ops.convert_to_numpy(v) for v in direct], compiled, 1e-4)


@on_every_kind
def test_the_model_is_left_as_it_was(pair):
    method, kind = pair
    model, x = keras_models.build(kind), keras_models.images(kind)
    model(x[:1], training=False)  # an unbuilt model is built by whoever calls it first
    before = state(model)
    explain(method, model, x)
    same(before, state(model))
    explain(method, model, x, run_eagerly=True)
    same(before, state(model))


@on_every_kind
def test_the_model_is_left_as_it_was_by_a_call_that_raised(pair):
    method, kind = pair
    model, x = keras_models.build(kind), keras_models.images(kind)
    model(x[:1], training=False)
    before = state(model)

    def broken(maps):
        raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        explain(method, model, x, postprocessing=broken)
    same(before, state(model))


def test_same_seed_same_map(method):
    model, x = keras_models.build_once(subject(method)), keras_models.images(subject(method))
    for seed in (None, 3):
        a, b = (explain(method, model, x, seed=seed) for _ in range(2))
        close(a, b, 0)


def test_permuted_units_permute_maps(method):
    model, x = keras_models.build_once(subject(method)), keras_models.images(subject(method))
    permuted, order = keras_models.build(subject(method)), [3, 0, 4, 1, 2]
    kernel, bias = permuted.layers[-1].get_weights()
    permuted.layers[-1].set_weights([kernel[:, order], bias[order]])
    scores, maps = explain(method, model, x, None)
    close(explain(method, permuted, x, None), (scores[:, order], maps[..., order]), 1e-4)


def test_frozen_is_trainable(method):
    model, x = keras_models.build(subject(method)), keras_models.images(subject(method))
    before = explain(method, model, x)
    model.trainable = False
    close(explain(method, model, x), before, 1e-5)


def test_nested_is_flat(method):
    if subject(method) != "functional":
        pytest.skip("the nested kinds have no attention")
    a, b = (
        explain(method, keras_models.build_once(kind), keras_models.images(kind))
        for kind in ("nested_functional", "nested_sequential")
    )
    assert a.maps.shape == b.maps.shape == (3, *keras_models.SIZE, 2)
    close(a, b, 1e-5)


def test_training_on_is_seen(method):
    model, x = keras_models.build(subject(method)), keras_models.images(subject(method))
    before = explain(method, model, x)
    model.set_weights(keras_models.build(subject(method), seed=1).get_weights())
    after = explain(method, model, x)
    close(after, explain(method, keras_models.build(subject(method), seed=1), x), 1e-5)
    assert abs(before.scores - after.scores).max() > 0.1


def test_integer_images_are_floats(method):
    model = keras_models.build_once(subject(method))
    x = np.random.default_rng(0).integers(0, 255, (2, *keras_models.SIZE, 3), "uint8")
    close(explain(method, model, x, 1), explain(method, model, x.astype("float64"), [[1], [1]]), 0)


@pytest.mark.parametrize(
    ("method", "kind"),
    crossed(["gradcam", "full_gradients", "scorecam", "smoothgrad"], ["functional", "subclassed"]),
)
def test_eight_threads_are_one(method, kind):
    model, x = keras_models.build(kind), keras_models.images(kind)
    expected, before = explain(method, model, x, run_eagerly=True), state(model)
    for result in in_threads(lambda i: explain(method, model, x, run_eagerly=i % 2 == 0)):
        close(result, expected, 1e-4)
    same(before, state(model))


MIXED = {"mixed_float16": 0.1, "mixed_bfloat16": 0.3}


def test_mixed_precision_gives_float32_that_is_near_full_precision(method):
    if subject(method) != "functional":
        pytest.skip("the mixed kinds have no attention")
    whole = explain(method, keras_models.build_once("functional"), keras_models.images("functional"))
    for kind, part in MIXED.items():
        scores, maps = explain(method, keras_models.build_once(kind), keras_models.images(kind))
        assert scores.dtype == maps.dtype == np.float32
        for found, expected in ((scores, whole.scores), (maps, whole.maps)):
            allowed = 2 * part if method == "xrai" else part  # which ranks whole segments
            assert np.linalg.norm(found - expected) <= allowed * np.linalg.norm(expected)
