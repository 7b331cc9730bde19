"""Methods along paths: their twins, closed forms, completeness, Captum's values, and what they refuse."""

import keras
import numpy as np
import pytest
from keras import layers as L

import keras_explainable as ke
from keras_explainable.errors import InputError
from keras_explainable.methods import meta
from keras_explainable.methods.gradient.expected_gradients import draws as baseline_draws
from keras_explainable.methods.quadrature import quadrature_of
from keras_explainable.numerics import random
from reference import cams
from reference import integrated_gradients as twins
from reference import meta as meta_twins
from reference.filters import normalize
from reference.resize import bilinear
from support import keras_models
from support.calls import raw
from support.compare import close
from support.keras_models import SHAPE
from support.selection import fast, first_fast, very_slow_compiled
from support.to_reference import as_reference

pytestmark = very_slow_compiled

UNITS = np.array([[1, 4], [0, 0], [3, 2]])
KINDS = first_fast("one_dimensional", "functional", "channels_first", "three_dimensional")
SEED = 5


def subject(kind):
    """The model and images of a kind, its twin and theirs, and a colour for both."""
    model, x = keras_models.build(kind), keras_models.images(kind)
    x64 = keras_models.channels_last(kind, x.astype("float64"))
    colour = np.linspace(-0.5, 0.5, x64.shape[-1]).astype("float32")
    return (model, x, UNITS), (as_reference(model), x64, UNITS), colour


def rows(quadrature, n):
    return list(zip(*quadrature_of(quadrature, n), strict=True))


def noise_draws(x, n, noise):
    """The first n draws of noise, of `noise` times each image's range."""
    draws = [keras.ops.convert_to_numpy(random.normal((1, *x.shape[1:]), SEED, i)).astype("float64") for i in range(n)]
    return [noise * meta_twins.ranges(x) * d for d in draws]


@pytest.mark.parametrize("quadrature", ["gauss_legendre", "midpoint"])
@pytest.mark.parametrize("kind", KINDS)
def test_integrated_gradients_equals_its_twin(kind, quadrature):
    ours, theirs, colour = subject(kind)
    params = {"repetitions": 4, "quadrature": quadrature, "baseline": colour}
    expected = twins.integrated_gradients(*theirs, rows(quadrature, 4), colour)
    close(raw("integrated_gradients", *ours, **params), expected, 1e-4)


def test_nodes_and_weights_are_exact_for_polynomials():
    nodes, weights = (v.astype("float64") for v in quadrature_of("gauss_legendre", 4))
    for power in range(8):
        close((weights * nodes**power).sum(), 1 / (power + 1), rtol=1e-6)
    close(rows("midpoint", 5), twins.midpoints(5), rtol=1e-6)


@pytest.mark.parametrize("reduce", ["absolute", None])
def test_channels_are_kept_or_reduced(reduce):
    ours, theirs, _ = subject("channels_first")
    close(raw("input_x_gradient", *ours, reduce=reduce), twins.input_x_gradient(*theirs, reduce=reduce), 1e-4)
    expected = twins.integrated_gradients(*theirs, rows("midpoint", 2), reduce=reduce)
    close(raw("integrated_gradients", *ours, reduce=reduce, repetitions=2, quadrature="midpoint"), expected, 1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_expected_gradients_equals_its_twin(kind):
    ours, theirs, _ = subject(kind)
    references = keras_models.images(kind, 4, seed=9)
    last = keras_models.channels_last(kind, references.astype("float64"))
    t, which = baseline_draws(5, 4, SEED)
    params = {"repetitions": 5, "baselines": references, "seed": SEED}
    draws = [(t[i], last[which[i]], 0.0) for i in range(5)]
    close(raw("expected_gradients", *ours, **params), twins.expected_gradients(*theirs, draws), 1e-4)
    if kind != "channels_first":
        noises = noise_draws(theirs[1], 5, 0.2)
        draws = [(t[i], last[which[i]], noises[i]) for i in range(5)]
        close(raw("gradient_shap", *ours, noise=0.2, **params), twins.gradient_shap(*theirs, draws), 1e-4)


@pytest.mark.parametrize("method", ["vargrad", "squaregrad"])
@pytest.mark.parametrize("kind", first_fast("one_dimensional", "functional"))
def test_variances_and_squares_equal_their_twins(kind, method):
    ours, theirs, _ = subject(kind)
    expected = getattr(twins, method)(*theirs, noise_draws(theirs[1], 4, 0.2))
    close(raw(method, *ours, repetitions=4, noise=0.2, seed=SEED), expected, 1e-4)


@fast
def test_methods_of_methods_equal_their_twins():
    ours, theirs, colour = subject("functional")
    of_cams = meta.integrate(ke.get("gradcam"), 3, baseline=colour)
    close(raw(of_cams, *ours), twins.integrate(cams.gradcam, rows("gauss_legendre", 3), colour)(*theirs), 1e-4)
    scores, both = raw(meta.ensemble(["gradcam", "input_x_gradient"]), *ours)
    small = bilinear(normalize(np.maximum(cams.gradcam(*theirs)[1], 0)), keras_models.SIZE)
    parts = [small, abs(twins.input_x_gradient(*theirs)[1])]
    close((scores, both), (twins.plain(*theirs), twins.ensemble(parts)), 1e-4)


@pytest.mark.parametrize("others", first_fast((0, 2), None))
def test_a_contrast_is_the_difference_of_linear_maps(others):
    model, x, y = subject("functional")[0]
    scores, maps = raw("input_x_gradient", model, x)
    rest = [[j for j in others or range(5) if j != k] for k in range(5)]
    expected = [np.stack([v[..., k] - v[..., rest[k]].mean(-1) for k in range(5)], axis=-1) for v in (scores, maps)]
    contrasted = meta.contrast(ke.get("input_x_gradient"), others)
    close(raw(contrasted, model, x), expected, 1e-4)
    chosen = [np.take_along_axis(expected[0], y, 1), np.take_along_axis(expected[1], y[:, None, None], 3)]
    close(raw(contrasted, model, x, y), chosen, 1e-4)


def flat(*heads):
    """A model of images of models.SIZE with weights drawn."""
    return keras_models.randomize(keras.Sequential([keras.Input(SHAPE), *heads]))


def test_linear_models_are_explained_exactly():
    model, x = flat(L.Flatten(), L.Dense(2)), keras_models.images("functional")
    w = np.array(model.get_weights()[0], "float64").reshape(*SHAPE, 2)
    references = keras_models.images("functional", 3, seed=4)
    close(
        [raw("integrated_gradients", model, x, repetitions=1, baseline=0.3).maps], [((x[..., None] - 0.3) * w).sum(3)]
    )
    close(
        [raw("integrated_gradients", model, x, repetitions=2, baseline=references).maps],
        [((x - references)[..., None] * w).sum(3)],
    )
    mean = references[baseline_draws(7, 3, 0)[1]].mean(axis=0)
    ours = raw("expected_gradients", model, x, repetitions=7, baselines=references).maps
    close([ours], [((x - mean)[..., None] * w).sum(3)])


def test_quadratic_scores_need_one_node_and_symmetric_pixels_get_the_same():
    def square(outputs):
        return keras.ops.square(outputs)

    model, x = flat(L.Flatten(), L.Dense(1)), keras_models.images("functional")
    kernel, bias = model.get_weights()
    w = kernel.reshape(*SHAPE).astype("float64")
    w[0, 1], x[:, 0, 1] = w[0, 0], x[:, 0, 0]  # two pixels that are the same to the model
    model.set_weights([w.reshape(kernel.shape), bias])
    middle = (0.5 * x * w).sum(axis=(1, 2, 3)) + bias
    expected = (x * w).sum(3) * 2 * middle[:, None, None]
    ours = raw("integrated_gradients", model, x, score=square, repetitions=1).maps
    close([ours[..., 0]], [expected])
    close(ours[:, 0, 0], ours[:, 0, 1], rtol=1e-6)


def test_the_gap_is_reported_and_small_where_the_model_is_smooth():
    conv = L.Conv2D(8, 3, strides=2, activation="gelu")
    model, x = flat(conv, L.Conv2D(6, 3, activation="tanh"), L.Flatten(), L.Dense(3)), keras_models.images("functional")
    found = ke.integrated_gradients_gap(model, x, [[0, 1], [2, 1], [1, 0]], batch_size=2, baseline="mean")
    scores, maps = raw("integrated_gradients", model, x, [[0, 1], [2, 1], [1, 0]], baseline="mean")
    close([found.scores, found.total], [scores, maps.sum(axis=(1, 2))])
    close(found.absolute_gap, abs(scores - found.baseline_scores - found.total), atol=1e-5)
    assert found.relative_gap.max() < 1e-3
    coarse = ke.integrated_gradients_gap(model, x, [[0, 1], [2, 1], [1, 0]], repetitions=2, baseline="mean")
    assert coarse.relative_gap.max() > 10 * found.relative_gap.max()


@pytest.mark.parametrize(
    ("method", "params", "words"),
    [
        ("integrated_gradients", {"repetitions": 0}, "a whole number of 1 or more"),
        ("smoothgrad", {"repetitions": 2.5}, "a whole number"),
        ("integrated_gradients", {"quadrature": "simpson"}, "midpoint"),
        ("integrated_gradients", {"baseline": np.zeros((4, 5, 3))}, "baseline of shape"),
        ("integrated_gradients", {"reduce": "median"}, "absolute"),
        ("integrated_gradients", {"repetitions": 2.0}, "a whole number"),
        ("expected_gradients", {"baselines": np.zeros((2, 4, 5, 3))}, "Baselines of shape"),
        (
            "expected_gradients",
            {"baselines": np.zeros((0, *SHAPE))},
            r"Baselines of shape \(0, .* one or more reference images",
        ),
        ("expected_gradients", {"baselines": []}, r"Baselines of shape \(0,\)"),
        ("expected_gradients", {"baselines": [0.1, 0.2]}, r"Baselines of shape \(2,\)"),
        ("expected_gradients", {"baselines": "mean"}, "baselines='mean' came, and a number"),
        ("expected_gradients", {"noise": -0.1}, "noise=-0.1 came, and a number of 0 or more"),
        ("gradient_shap", {"noise": float("nan")}, "noise=nan came, and a number of 0 or more"),
        ("expected_gradients", {"seed": 1.5}, "seed=1.5 came, and a whole number"),
        ("smoothgrad", {"seed": 1.5}, "seed=1.5 came, and a whole number"),
        ("vargrad", {"repetitions": 1}, "2 or more"),
        ("squaregrad", {"noise_kind": "loud"}, "range"),
    ],
)
def test_what_does_not_fit_is_refused(method, params, words):
    with pytest.raises(InputError, match=words):
        raw(method, keras_models.build("functional"), keras_models.images("functional"), 1, **params)


def test_what_cannot_be_combined_is_refused():
    with pytest.raises(InputError, match="score="):
        meta.contrast(lambda model, inputs, indices=None, layer=None: None)
    with pytest.raises(InputError, match="weights"):
        meta.ensemble(["gradients"], [1.0, 2.0])
    with pytest.raises(InputError, match="Unit 7"):
        raw(
            meta.contrast(ke.get("gradients"), 7),
            keras_models.build("functional"),
            keras_models.images("functional"),
            1,
        )
