"""What all perturbation methods do: closed forms of linear scores, images of any size, how many are evaluated at once,
what is explained, and what is refused."""

import keras
import numpy as np
import pytest
from keras import layers as L

import keras_explainable as ke
from keras_explainable.errors import InputError
from keras_explainable.masking.segments import grid as grid_segments
from keras_explainable.methods import meta
from keras_explainable.numerics.resize import resize
from support import keras_models
from support.calls import UNITS, raw
from support.compare import close
from support.keras_models import SHAPE, counted
from support.perturbation import SPACE, contributions, linear, numpy_only
from support.selection import ON_TORCH_CPU, very_slow_compiled

pytestmark = very_slow_compiled


@numpy_only
@pytest.mark.parametrize("baseline", [0.3, "mean", "images"])
def test_on_a_linear_score_each_part_has_its_own(x, baseline):
    given = keras_models.images("functional", seed=8) if baseline == "images" else baseline
    behind = x.mean(axis=(1, 2), keepdims=True) if baseline == "mean" else given
    labels = grid_segments(SPACE, (4, 4))[0]
    parts = contributions(x.astype("float64"), behind, labels)
    expected = np.moveaxis(parts, 1, -1)[..., labels].transpose(0, 2, 3, 1)
    scores = linear(x)
    ours = raw("occlusion", linear, x, patch=(5, 6), stride=(5, 6), baseline=given)
    close(ours, [scores, expected], 1e-4)
    close(raw("kernel_shap", linear, x, repetitions=200, segments=4, baseline=given), [scores, expected], 1e-3)
    close(raw("lime", linear, x, repetitions=200, segments=4, ridge=0.0, baseline=given), [scores, expected], 1e-3)


def of_any_size():
    conv = L.Conv2D(6, 3, activation="relu")
    return keras_models.randomize(
        keras.Sequential([keras.Input((None, None, 3)), conv, L.GlobalAveragePooling2D(), L.Dense(2)])
    )


FOR_SIZES = {
    "rise": {"repetitions": 8, "grid": 3},
    "occlusion": {"patch": 5, "stride": 4},
    "lime": {"repetitions": 8, "segments": 2},
    "sobol": {"repetitions": 2, "segments": 2},
}


@pytest.mark.parametrize("method", FOR_SIZES)
def test_images_of_another_size_have_masks_of_their_own(method):
    model, rng = of_any_size(), np.random.default_rng(0)
    for size in ((20, 24), (14, 30)):
        x = rng.normal(size=(2, *size, 3)).astype("float32")
        alone = raw(method, of_any_size(), x, 1, **FOR_SIZES[method])
        close(raw(method, model, x, 1, **FOR_SIZES[method]), alone)


def test_each_size_of_augmented_images_has_masks_of_its_own(x):
    params, sizes = FOR_SIZES["rise"], (SPACE, tuple(n * 3 // 2 for n in SPACE))
    copies = [keras.ops.convert_to_numpy(resize(keras.ops.convert_to_tensor(x), size)) for size in sizes]
    parts = [ke.explain("rise", of_any_size(), copy, 1, verbose=0, resizing=SPACE, **params) for copy in copies]
    augmented = raw(meta.tta(ke.get("rise"), scales=[1.5], hflip=False), of_any_size(), x, 1, **params)
    close(augmented, [np.mean([part[i] for part in parts], axis=0) for i in (0, 1)], 1e-4)


def test_few_images_are_evaluated_at_once():
    model, calls = counted()
    x = keras_models.images("functional")
    raw("rise", model, x, 1, repetitions=20, at_once=7, run_eagerly=True)
    assert max(calls) == 6 and sum(calls) <= 3 * (20 + 4)  # three images, two copies of each


def test_few_large_images_are_evaluated_at_once_where_that_is_faster():
    """On PyTorch's CPU: of two images, four copies of each."""
    calls, images = [], np.random.default_rng(0).random((2, 224, 224, 3), "float32")

    def model(x):
        calls.append(len(x))
        return x[:, :100].mean((1, 2, 3))[:, None]

    found = raw("rise", model, images, 0, repetitions=20)
    assert max(calls) == (8 if ON_TORCH_CPU else 20)
    close(found, raw("rise", model, images, 0, repetitions=20, at_once=6))
    assert calls[-1] == 6


def test_a_function_of_numpy_arrays_is_explained_as_the_model_that_it_calls(x):
    model = keras_models.build("functional")

    def served(images):
        return keras.ops.convert_to_numpy(model(images, training=False)).astype("float64")

    for method, params in [("rise", {"repetitions": 10}), ("sobol", {"repetitions": 1, "segments": 2})]:
        close(raw(method, served, x, UNITS, **params), raw(method, model, x, UNITS, **params), 1e-4)
    first = ke.BlackBox(lambda images: served(images.transpose(0, 2, 3, 1)), channels_first=True)
    expected = raw("occlusion", model, x, UNITS, patch=10)
    close(raw("occlusion", first, x.transpose(0, 3, 1, 2), UNITS, patch=10), expected, 1e-4)
    smooth = ke.methods.meta.smooth(ke.get("occlusion"), repetitions=2)
    close(raw(smooth, served, x, UNITS, patch=10), raw(smooth, model, x, UNITS, patch=10), 1e-4)


def test_scores_choose_what_is_explained(x):
    whole = raw("occlusion", linear, x, patch=6)
    top = raw("occlusion", linear, x, patch=6, score=ke.scores.top_k(2))
    order = linear(x).argsort(axis=1)[:, ::-1][:, :2]
    close(top, raw("occlusion", linear, x, order, patch=6), 1e-4)
    apart = raw("occlusion", linear, x, patch=6, score=ke.scores.margin(1, 3)).maps
    close([apart], [whole.maps[..., 1:2] - whole.maps[..., 3:4]], 1e-4)


REFUSED = {
    "stride": (("occlusion", {"patch": 3, "stride": 4}), "some pixels would never be covered"),
    "patch": (
        ("occlusion", {"patch": (3, 4, 5)}),
        r"patch=\(3, 4, 5\) came, and a whole number of 1 or more, or 2 of them",
    ),
    "zero": (("occlusion", {"patch": 0}), "patch=0"),
    "baseline": (("occlusion", {"baseline": [1.0, 2.0]}), r"A baseline of shape \(2,\)"),
    "a word": (("occlusion", {"baseline": "median"}), "baseline='median'"),
    "no baseline": (("occlusion", {"baseline": None}), "baseline=None came, and a number"),
    "a ragged baseline": (("occlusion", {"baseline": [[1.0], [1.0, 2.0]]}), "baseline=.* came, and a number"),
    "baselines": (
        ("occlusion", {"baseline": np.zeros((3, *SHAPE)), "batch_size": 2}),
        "baseline= has 3 rows, .* several batches: give one baseline for all of them, or .* batch_size=3",
    ),
    "baselines that fit a batch": (("occlusion", {"baseline": np.zeros((2, *SHAPE)), "batch_size": 2}), "has 2 rows"),
    "labels that fit a batch": (
        ("lime", {"segments": np.zeros((2, *SPACE), int), "batch_size": 2}),
        "segments= has 2 rows",
    ),
    "baselines that fit no batch": (
        ("occlusion", {"baseline": np.zeros((2, *SHAPE))}),
        "The batch has 3 images: give one baseline for all images, or .* batch_size=2",
    ),
    "at once": (("occlusion", {"at_once": 0}), "at_once=0"),
    "a part at once": (("occlusion", {"at_once": 2.5}), "at_once=2.5 came, and a whole number"),
    "words at once": (("rise", {"at_once": "x"}), "at_once='x'"),
    "probability": (("rise", {"p": 1.0}), "p=1.0"),
    "a word of probability": (("rise", {"p": "half"}), "p='half'"),
    "repetitions": (("lime", {"repetitions": 0}), "repetitions=0"),
    "half repetitions": (("sobol", {"repetitions": 2.0}), "repetitions=2.0 came, and a whole number"),
    "no whole seed": (("rise", {"seed": 1.5}), "seed=1.5 came, and a whole number"),
    "a word as a seed": (("hsic", {"seed": "x"}), "seed='x'"),
    "width": (("lime", {"width": 0.0}), "positive width"),
    "ridge": (("lime", {"ridge": float("nan")}), "ridge=nan came, and a number of 0 or more"),
    "segments": (("sobol", {"segments": "quickshift"}), "segments='quickshift'"),
    "labels": (("hsic", {"segments": np.zeros(SPACE)}), "integer labels"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused(case, x):
    (method, params), message = REFUSED[case]
    with pytest.raises(InputError, match=message):
        raw(method, linear, x, 1, **params)
