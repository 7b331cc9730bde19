"""`ke.scores`: what each is, in NumPy; that units are taken before the softmax; and one score for each image."""

import keras
import numpy as np
import pytest
from keras import layers as L
from keras import ops

import keras_explainable as ke
from keras_explainable import scores
from keras_explainable.errors import InputError
from support import keras_models
from support.calls import raw
from support.compare import close
from support.keras_models import SHAPE
from support.selection import crossed, fast_on_torch, slow_compiled

pytestmark = slow_compiled

host = ops.convert_to_numpy


def given(score, outputs):
    """The score of NumPy outputs."""
    tensors = keras.tree.map_structure(lambda v: ops.convert_to_tensor(v), outputs)
    return host(score(tensors))


@pytest.fixture
def f(rng):
    return rng.normal(size=(4, 5)).astype("float32")


def test_units_values_and_outputs(f):
    close([given(scores.unit(3), f), given(scores.value([0, 3]), f)], [f[:, 3:4], f[:, [0, 3]]])
    close([given(scores.value(), f[:, 0])], [f[:, :1]])
    several = {"values": f, "scores": f[:, 0]}
    close([given(scores.output("values", scores.unit(2)), several)], [f[:, 2:3]])
    close([given(scores.output(1), [f, f[:, 1:3]])], [f[:, 1:3]])
    close([given(scores.output(0), f)], [f])  # of a model with one output, and not its first image's


def test_margins(f):
    close([given(scores.margin([1, 2], 4), f)], [np.stack([f[:, 1] - f[:, 4], f[:, 2] - f[:, 4]], 1)])
    close([given(scores.margin(1), f)], [(f[:, 1] - f[:, [0, 2, 3, 4]].max(1))[:, None]])


def test_against_a_unit_and_both_classes_of_one(f):
    close([given(scores.negated(), f), given(scores.negated(scores.margin(1, 2)), f)], [-f, f[:, 2:3] - f[:, 1:2]])
    close([given(scores.negated(lambda outputs: outputs["a"]), {"a": f})], [-f])
    close([given(scores.negated(scores.top_k(2)), f)], [-np.sort(f)[:, :-3:-1]])
    close([given(scores.negated(scores.negated(scores.top_k(2))), f)], [np.sort(f)[:, :-3:-1]])
    close([given(scores.binary(), f[:, :1]), given(scores.binary(), f[:, 0])], [np.stack([-f[:, 0], f[:, 0]], 1)] * 2)
    assert scores.negated() == scores.negated() and scores.binary() == scores.binary() != scores.negated()
    assert repr(scores.negated(scores.unit(1))) == "ke.scores.negated(ke.scores.unit((1,)))"


def test_similarity_is_the_cosine(f, rng):
    e = rng.normal(size=(2, 5))
    lengths = np.linalg.norm(f, axis=1)[:, None] * np.linalg.norm(e, axis=1)
    close([given(scores.similarity(e), f)], [(f @ e.T / lengths).astype("float32")])


@pytest.mark.parametrize("first", [False, True])
def test_a_region_is_a_mean_over_pixels(rng, first):
    values = rng.normal(size=(2, 4, 6, 3)).astype("float32")
    masks = rng.uniform(size=(5, 4, 6)) < 0.4
    expected = np.stack([values[:, m, 1].mean(1) for m in masks], axis=1)
    seen = values.transpose(0, 3, 1, 2) if first else values
    close([given(scores.region(masks, 1), seen), given(scores.region(masks[0], 1), seen)], [expected, expected[:, :1]])
    wins = values.argmax(-1) == 1
    preferred = np.array([[v[w, 1].mean()] for v, w in zip(values, wins, strict=True)])
    close([given(scores.region(None, 1, axis=1 if first else -1), seen)], [preferred])


@pytest.mark.parametrize("first", [False, True])
def test_the_region_of_one_unit_is_the_foreground(rng, first):
    """The pixels above 0, and where there is none a score of 0, as of a unit that nobody prefers."""
    z = rng.normal(size=(3, 4, 6, 1)).astype("float32")
    z[2] = -abs(z[2])
    expected = np.array([[v[v > 0].mean() if (v > 0).any() else 0.0] for v in z])
    seen = z.transpose(0, 3, 1, 2) if first else z
    close([given(scores.region(None, 0, axis=1 if first else -1), seen)], [expected])


def test_the_foreground_of_a_binary_segmentation_is_before_the_sigmoid():
    stack = [keras.Input(SHAPE), L.Conv2D(4, 3, padding="same", activation="relu"), L.Conv2D(1, 1, name="mask")]
    logits = keras_models.randomize(keras.Sequential(stack))
    model, x = keras.Sequential([logits, L.Activation("sigmoid")]), keras_models.images("functional")
    z = host(logits(x))[..., 0]
    assert 0.2 < (z > 0).mean() < 0.8
    expected = raw("gradients", logits, x, np.arange(3), score=scores.region(z > 0, 0))
    for subject in (logits, model):
        close(raw("gradients", subject, x, score=scores.region(None, 0, axis=-1)), expected, 1e-4)
    close([expected.scores[:, 0]], [np.stack([v[v > 0].mean() for v in z])])


def iou(a, b):
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    common = np.prod(np.maximum(high - low, 0))
    return common / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - common)


@pytest.mark.parametrize("layout", ["xyxy", "xywh", "cxcywh"])
def test_a_box_is_matched_by_its_overlap(rng, layout):
    def corners(n):
        low = rng.uniform(0, 6, (n, 2))
        return np.concatenate([low, low + rng.uniform(2, 6, (n, 2))], axis=-1).astype("float32")

    def written(boxes):
        low, high = boxes[..., :2], boxes[..., 2:]
        kinds = {"xyxy": (low, high), "xywh": (low, high - low), "cxcywh": ((low + high) / 2, high - low)}
        return np.concatenate(kinds[layout], axis=-1)

    boxes, wanted, p = np.stack([corners(7), corners(7)]), corners(3), rng.uniform(size=(2, 7, 4)).astype("float32")
    each = np.array([[[iou(w, n) for n in image] for w in wanted] for image in boxes])  # (B, M, N)
    outputs = {"boxes": written(boxes), "scores": p}
    ours = given(scores.box(written(wanted), 2, layout=layout), outputs)
    close([ours], [(each * p[:, None, :, 2]).max(-1).astype("float32")], 1e-4)
    ours = given(scores.box(written(wanted), layout=layout, iou=0.3), outputs)
    close([ours], [(each * (each >= 0.3) * p.max(-1)[:, None]).max(-1).astype("float32")], 1e-4)
    labels, own = p.argmax(-1), p.max(-1)
    expected = (each * (own * (labels == 2))[:, None]).max(-1).astype("float32")
    labelled = {"boxes": written(boxes), "scores": own, "classes": labels}
    close([given(scores.box(written(wanted), 2, layout=layout), labelled)], [expected], 1e-4)
    listed = [{k: v[i, : 7 - i] for k, v in labelled.items()} for i in range(2)] + [
        {k: v[0, :0] for k, v in labelled.items()}
    ]
    ragged = given(scores.box(written(wanted), 2, layout=layout), listed)
    assert ragged[2].tolist() == [0, 0, 0]
    close([ragged[:1]], [expected[:1]], 1e-4)


def test_equal_arguments_make_equal_scores(rng):
    mask = rng.uniform(size=(4, 6)) < 0.5
    pairs = [(scores.unit(3), scores.unit([3])), (scores.region(mask, 1), scores.region(mask.copy(), 1))]
    for a, b in pairs:
        assert a == b and hash(a) == hash(b)
    assert scores.unit(3) != scores.value(3) and scores.region(mask, 1) != scores.region(~mask, 1)
    assert repr(scores.margin(1, 2)) == "ke.scores.margin((1,), (2,))"
    model, x = keras_models.build("sequential"), keras_models.images("sequential")
    ke.gradcam(model, x, score=scores.margin(1, 2), verbose=0)
    before = ke.cache_info()
    ke.gradcam(model, x, score=scores.margin(1, 2), verbose=0)
    assert ke.cache_info().misses == before.misses


@pytest.mark.parametrize("method", ["gradients", "gradcam", "scorecam"])
def test_units_are_taken_before_the_softmax(method):
    model, x = keras_models.build("sequential"), keras_models.images("sequential")  # ends in one
    plain = raw(method, model, x)
    close(raw(method, model, x, score=scores.unit([4, 0])), [plain.scores[:, [4, 0]], plain.maps[..., [4, 0]]], 1e-4)
    order = plain.scores.argsort(axis=1)[:, ::-1][:, :2]
    close(raw(method, model, x, score=scores.top_k(2)), raw(method, model, x, order), 1e-4)
    assert raw(method, model, x, score=scores.value(1)).scores.max() < 1 < plain.scores.max()


def test_a_margin_is_a_difference_of_gradients():
    model, x = keras_models.build("functional"), keras_models.images("functional")
    s, g = raw("gradients", model, x, reduce=None)
    close(
        raw("gradients", model, x, score=scores.margin(1, 3), reduce=None),
        [s[:, 1:2] - s[:, 3:4], g[:, 1:2] - g[:, 3:4]],
        1e-4,
    )


def test_the_highest_units_stay_the_same_under_noise():
    model, x = keras_models.build("functional"), keras_models.images("functional")
    y = raw("gradients", model, x).scores.argmax(1)
    same = {"noise": 2.0, "repetitions": 4, "seed": 3}
    close(raw("smoothgrad", model, x, score=scores.top_k(), **same), raw("smoothgrad", model, x, y, **same), 1e-4)


@pytest.mark.parametrize(("method", "which"), crossed(["smoothgrad", "smooth_gradcampp", "rise"], [0, "kinds"]))
def test_the_highest_units_of_an_output_stay_the_same_too(method, which):
    plain = keras_models.build("functional")
    kinds, half = plain.output, plain.layers[-1](plain.layers[-2].output * 0.5)
    model = keras.Model(plain.input, [kinds, half] if which == 0 else {"kinds": kinds, "half": half})
    x = keras_models.images("functional")
    first = lambda outputs: outputs[which]  # noqa: E731
    order = raw("gradients", model, x, score=first).scores.argsort(axis=1)[:, ::-1]
    same = {"repetitions": 5, "seed": 3} | ({} if method == "rise" else {"noise": 2.0})
    score = scores.output(which, scores.top_k(2))
    close(raw(method, model, x, score=score, **same), raw(method, model, x, order[:, :2], score=first, **same), 1e-4)
    close(raw(method, model, x, 4, score=score, **same), raw(method, model, x, 4, score=first, **same), 1e-4)
    with pytest.raises(InputError, match="Unit 5 .* 0 to 4"):
        raw(method, model, x, 5, score=score, **same)


def test_a_choice_within_an_output_is_a_value(f):
    one, other = (scores.output("a", scores.output(1, scores.top_k(2))) for _ in range(2))
    assert one == other and hash(one) == hash(other) and one != scores.output("a", scores.top_k(2))
    assert repr(scores.output("a", scores.top_k(2))) == "ke.scores.top_k(2) of ke.scores.output('a', None)"
    close([given(one, {"a": [f[:, :1], f]})], [np.sort(f, axis=1)[:, :-3:-1]])


@pytest.mark.parametrize("layout", ["channels_last", "channels_first"])
def test_each_image_has_a_region_of_its_own(rng, layout):
    if layout == "channels_first" and not keras_models.runs_channels_first():
        pytest.skip(
            "TensorFlow has no channels-first convolutions on this CPU: TF_ENABLE_ONEDNN_OPTS=1 switches them on"
        )
    first = layout == "channels_first"
    stack = [L.Conv2D(6, 3, padding="same", activation="relu", data_format=layout), L.Conv2D(4, 1, data_format=layout)]
    stack += [] if first else [L.Softmax()]
    model = keras_models.randomize(keras.Sequential([keras.Input((3, *keras_models.SIZE) if first else SHAPE), *stack]))
    x = keras_models.images("channels_first" if first else "functional", 3)
    masks = rng.uniform(size=(3, *keras_models.SIZE)) < 0.2
    together = raw("gradcam", model, x, np.arange(3), score=scores.region(masks, 2), batch_size=2, layer=0)
    for i in range(3):
        alone = raw("gradcam", model, x[i : i + 1], score=scores.region(masks[i], 2), layer=0)
        close([v[i : i + 1] for v in together], alone, 1e-4)


REFUSED = {
    "unit": (lambda f: scores.unit(9)(f), "Unit 9 .* units 0 to 4"),
    "negative": (lambda f: scores.unit(-1), "a unit's number"),
    "others": (lambda f: scores.margin([1, 2], [3, 4, 0]), "2 units and 3 others"),
    "none": (lambda f: scores.top_k(0), "1 or more"),
    "mask": (lambda f: scores.region(np.ones((3, 3)), 1)(ops.zeros((2, 4, 4, 3))), r"\(3, 3\) came for outputs"),
    "empty": (lambda f: scores.region(np.zeros((3, 3)), 1), "no pixel"),
    "axis": (lambda f: scores.region(np.ones((4, 4)), 1)(ops.zeros((2, 4, 4, 4))), "axis= must say which"),
    "no mask": (lambda f: scores.region(None, 1), "without a mask .*axis=-1 .*axis=1"),
    "boxes in a tuple": (
        lambda f: scores.box([0, 0, 1, 1], 1)((f[:, None, :4], f)),
        "outputs of type tuple came, and a dictionary with 'boxes' and 'scores'",
    ),
    "boxes alone": (lambda f: scores.box([0, 0, 1, 1], 1, boxes="b")(f), "a dictionary with 'b' and 'scores'"),
    "name": (lambda f: scores.output("a")({"b": f}), "no 'a'; they are: 'b'"),
    "number": (lambda f: scores.output(2)([f, f]), "no 2; they are: 0, 1"),
    "alone": (lambda f: scores.output(1)(f), "returns one output, and 1 was asked for"),
    "several": (lambda f: scores.unit(1)([f, f]), r"ke.scores.output"),
    "rank": (lambda f: scores.value(1)(f[:, :, None]), r"\(batch, units\) was expected"),
    "width": (lambda f: scores.similarity(np.ones(4))(f), "5 numbers came for an embedding of 4"),
    "no boxes": (lambda f: scores.box([0, 0, 1, 1], 1)({"box": f}), "no 'boxes'; they are: 'box'"),
    "no classes": (lambda f: scores.box([0, 0, 1, 1], 1)({"boxes": f[..., None], "scores": f}), "no 'classes'"),
    "corners": (lambda f: scores.box([0, 0, 1], 1), r"\(4,\) or \(M, 4\)"),
    "two classes": (lambda f: scores.binary()(f), "binary: the model has 5 units, and one was expected"),
    "layout": (lambda f: scores.box([0, 0, 1, 1], 1, layout="yxyx"), "use one of 'xyxy'"),
}


@fast_on_torch
@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused(case, f):
    make, message = REFUSED[case]
    with pytest.raises(InputError, match=message):
        make(ops.convert_to_tensor(f))


COLUMNS = {
    "of units": (scores.margin([1, 2], 4), 2, "score"),
    "of outputs": (scores.value([0, 3, 1]), 3, "score"),
    "a function": (lambda outputs: outputs[:, :4], 4, "score"),
    "a choice of units": (scores.top_k(2), keras_models.UNITS, "model"),
}


@pytest.mark.parametrize(("method", "kind"), crossed(["gradients", "occlusion"], COLUMNS))
def test_units_beyond_the_columns_of_a_score_are_refused_before_any_work(method, kind):
    score, number, of = COLUMNS[kind]
    model, x, seen = keras_models.build("sequential"), keras_models.images("sequential", 4), []

    def watched(subject, images, units=None, **params):
        seen.append(len(images))
        return ke.get(method)(subject, images, units, **params)

    last = raw(watched, model, x, number - 1, score=score, run_eagerly=True)
    close(last.scores, raw(method, model, x, [[number - 1]] * 4, score=score).scores)
    seen.clear()
    for y in (number, [0, 0, 0, number]):
        with pytest.raises(InputError, match=f"Unit {number} .* the {of} has units 0 to {number - 1}"):
            raw(watched, model, x, y, score=score)
        with pytest.raises(InputError, match=f"Unit {number} .* the {of} has units 0 to {number - 1}"):
            batches = ((x[i : i + 2], np.broadcast_to(y, 4)[i : i + 2]) for i in (2, 0))
            raw(watched, model, batches, score=score)
    assert not seen


def test_the_columns_of_a_score_are_those_that_batches_may_ask_for():
    """Not the units of the model, of which there are fewer here."""
    model, x = keras_models.build("one_unit"), keras_models.images("one_unit", 4)
    score = lambda outputs: ops.concatenate([outputs, 2 * outputs], axis=1)  # noqa: E731
    found = raw("gradients", model, ((x[i : i + 2], [1, 1]) for i in (0, 2)), score=score, postprocessing=None)
    close([found.maps], [2 * raw("gradients", model, x, 0, score=score).maps])
