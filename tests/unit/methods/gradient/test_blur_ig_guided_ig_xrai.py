"""Methods on curved paths, and of regions: their twins, completeness, and what they refuse."""

import keras
import numpy as np
import pytest
from keras import layers as L
from keras import ops

import keras_explainable as ke
from keras_explainable.errors import InputError
from keras_explainable.methods import quadrature
from keras_explainable.methods.gradient.guided_ig import guided_step
from keras_explainable.methods.gradient.xrai import felzenszwalb, ranked
from keras_explainable.numerics import blur
from keras_explainable.runtime import validation
from reference import blur_ig_guided_ig_xrai as twins
from support import keras_models
from support.calls import raw
from support.compare import close
from support.keras_models import SHAPE, counted
from support.selection import BACKEND, first_fast, very_slow_compiled
from support.to_reference import as_reference

pytestmark = very_slow_compiled

UNITS = np.array([[1, 4], [0, 0], [3, 2]])
KINDS = first_fast("one_dimensional", "functional", "channels_first", "three_dimensional")


def subject(kind):
    """The model and images of a kind, and its twin and theirs."""
    model, x = keras_models.build(kind), keras_models.images(kind)
    x64 = keras_models.channels_last(kind, x.astype("float64"))
    return (model, x, UNITS), (as_reference(model), x64, UNITS)


def smooth_model():
    conv = L.Conv2D(8, 3, strides=2, activation="gelu")
    stack = [keras.Input(SHAPE), conv, L.Conv2D(6, 3, activation="tanh"), L.Flatten(), L.Dense(3)]
    return keras_models.randomize(keras.Sequential(stack))


@pytest.mark.parametrize("sigma", [0.2, 1.0, 7.0])
def test_blurs_and_their_derivatives(sigma):
    x = keras_models.images("functional")
    ours, change = (ops.convert_to_numpy(v) for v in blur.blur(ops.convert_to_tensor(x), sigma, (1, 2)))
    x64, d = x.astype("float64"), 1e-4
    expected = (twins.blurred(x64, sigma + d) - twins.blurred(x64, sigma - d)) / (2 * d)
    close([ours, change], [twins.blurred(x64, sigma), expected], 1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_blur_ig_equals_its_twin(kind):
    ours, theirs = subject(kind)
    nodes, weights = (v.astype("float64") for v in quadrature.quadrature_of("gauss_legendre", 4))
    widest = max(theirs[1].shape[1:-1]) / 4
    rows = list(zip(widest * nodes**2, widest * 2 * nodes * weights, strict=True))
    close(raw("blur_ig", *ours, repetitions=4), twins.blur_ig(*theirs, rows), 1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_guided_ig_equals_its_twin(kind):
    ours, theirs = subject(kind)
    params = {"fraction": 0.1, "baseline": 0.2}
    expected = twins.guided_ig(*theirs, 4, distance=0.1, **params)
    close(raw("guided_ig", *ours, repetitions=4, max_distance=0.1, **params), expected, 1e-4)


def test_parts_add_up_where_the_model_is_smooth():
    model, x = smooth_model(), keras_models.images("functional")
    y = [[0, 1], [2, 1], [1, 0]]
    scores, maps = raw("blur_ig", model, x, y, max_sigma=5.0)
    blurred = twins.blurred(x.astype("float64"), 5.0).astype("float32")
    rise = scores - raw("gradients", model, blurred, y).scores
    close(maps.sum(axis=(1, 2)), rise, atol=1e-3 * abs(rise).max())
    scores, maps = raw("guided_ig", model, x, y, repetitions=200)
    rise = scores - raw("gradients", model, 0 * x, y).scores
    close(maps.sum(axis=(1, 2)), rise, atol=0.03 * abs(rise).max())


def test_a_guided_path_ends_at_the_image_and_a_bound_of_zero_is_straight():
    model, x = smooth_model(), keras_models.images("functional")
    straight = raw("guided_ig", model, x, 1, repetitions=5, max_distance=0.0)
    steps = [ke.explain("input_x_gradient", model, t * x, 1, reduce=None, verbose=0).maps for t in (0.2, 0.4, 0.6, 0.8)]
    first = raw("gradients", model, 0 * x, 1, reduce=None).maps * x[:, None] / 5
    expected = first + sum(s / t / 5 for s, t in zip(steps, (0.2, 0.4, 0.6, 0.8), strict=True))
    close([straight.maps[..., 0]], [expected[:, 0].sum(-1)], 1e-4)
    g, end = (ops.convert_to_tensor(keras_models.images("functional", seed=s)) for s in (3, 4))
    state = start = ops.zeros_like(end)
    for i in range(4):
        state = guided_step(g, state, end, start, ops.convert_to_tensor((i + 1) / 4), 0.3, 0.15)
        along = ops.convert_to_numpy(ops.sum(ops.abs(end - state), (1, 2, 3)) / ops.sum(ops.abs(end), (1, 2, 3)))
        close(along, 1 - (i + 1) / 4, atol=1e-5)
    close([ops.convert_to_numpy(state)], [ops.convert_to_numpy(end)])


def test_regions_are_ranked_as_by_the_twin():
    rng = np.random.default_rng(0)
    attribution = rng.normal(size=(9, 11))
    masks = rng.random((12, 9, 11)) < rng.uniform(0.02, 0.4, (12, 1, 1))
    masks = np.concatenate([masks, masks[:2]])
    for least in (1, 6):
        close(ranked(attribution, masks, least), twins.ranked(attribution, masks, least), rtol=1e-7)


def halves(image):
    """Two ways to divide an image in parts."""
    labels = np.zeros((2, *image.shape[:-1]), int)
    labels[0, image.shape[0] // 2 :] = 1
    labels[1, : image.shape[0] // 3] = 1
    return labels


@pytest.mark.parametrize("kind", KINDS)
def test_xrai_equals_its_twin(kind):
    (model, x, y), (_, x64, _) = subject(kind)
    ends = [f(x, axis=tuple(range(1, x.ndim)), keepdims=True) * np.ones_like(x) for f in (np.min, np.max)]
    both = [raw("integrated_gradients", model, x, y, baseline=end, repetitions=3) for end in ends]
    parts = (both[0].maps + both[1].maps) / 2
    masks = [[layer == n for layer in halves(image) for n in (0, 1)] for image in x64]
    expected = twins.xrai(both[0].scores, parts.astype("float64"), masks)
    close(raw("xrai", model, x, y, repetitions=3, segments=halves), expected, 1e-4)


@pytest.mark.skipif(BACKEND != "torch", reason="gradients trace the model besides")
def test_xrai_takes_the_passes_that_it_states():
    model, calls = counted()
    raw("xrai", model, keras_models.images("functional"), 1, repetitions=4, segments=halves, run_eagerly=True)
    assert calls.count(3) == ke.registry.METHODS["xrai"].cost.passes(forward=1, backward=0, n=4, K=1) == 10


@pytest.mark.parametrize("reduce", ["sum", None])
def test_units_are_explained_a_few_at_once(reduce, monkeypatch):
    model, calls = counted()
    x, y = keras_models.images("functional"), np.arange(12).reshape(3, 4) % 5
    params = {"repetitions": 3, "run_eagerly": True, "reduce": reduce}
    whole = raw("guided_ig", model, x, y, **params)
    assert max(calls) == 12
    calls.clear()
    monkeypatch.setattr(validation, "AT_ONCE", 9)  # of three images: room for three units, and two are half of four
    close(raw("guided_ig", model, x, y, **params), whole)
    assert max(calls) == 6


def test_segments_of_scikit_image_follow_the_image():
    pytest.importorskip("skimage", reason="scikit-image, which finds the segments, is not installed")
    image = np.zeros((48, 64, 3), "float32")
    image[12:36, 20:40] = (1.0, 0.2, 0.1)
    masks = felzenszwalb(image)
    square = image[..., 0] > 0
    overlaps = [(m & square).sum() / (m | square).sum() for m in masks]
    assert max(overlaps) > 0.8 and masks.any(axis=0).all()


@pytest.mark.parametrize(
    ("method", "params", "words"),
    [
        ("guided_ig", {"fraction": 0.0}, "fraction"),
        ("guided_ig", {"fraction": "all"}, "fraction='all'"),
        ("guided_ig", {"max_distance": -0.1}, "max_distance=-0.1 came, and a number of 0 or more"),
        ("guided_ig", {"repetitions": 0}, "a whole number of 1 or more"),
        ("guided_ig", {"repetitions": 2.0}, "a whole number"),
        ("blur_ig", {"max_sigma": 0.0}, "positive"),
        ("blur_ig", {"max_sigma": "wide"}, "max_sigma='wide'"),
        ("xrai", {"segments": lambda image: np.zeros((3, 3))}, "Segments of shape"),
    ],
)
def test_what_does_not_fit_is_refused(method, params, words):
    with pytest.raises(InputError, match=words):
        raw(
            method,
            keras_models.build("functional"),
            keras_models.images("functional"),
            1,
            **{"repetitions": 2, **params},
        )
