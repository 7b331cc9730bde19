"""Metrics of robustness: equal to their twins, and what is known of them in closed form."""

import keras
import numpy as np
import pytest

import keras_explainable as ke
from keras_explainable import backend
from keras_explainable.numerics.random import on_host
from reference import metrics as metric_twins
from reference import metrics_robustness as twins
from support import keras_models
from support.compare import close
from support.left_as_found import same, state
from support.selection import fast, fast_on_torch, slow_compiled

pytestmark = fast_on_torch

N, NOISE = 3, 0.05
ROBUSTNESS = ["max_sensitivity", "avg_sensitivity", "local_lipschitz", "relative_stability", "seed_stability"]
RNG = np.random.default_rng(0)


def draws(shape, number=N, seed=0):
    return [on_host((1, *shape), seed, j, 31)[0] for j in range(number)]


def of(subject, metric, method, **params):
    given = {"explain": method, "repetitions": N, "noise": NOISE, **params}
    return getattr(ke.metrics, metric)(subject.model, subject.x, subject.y, **given)


def functions(subject, method):
    """The maps of an image for all units, and its logits."""

    def explain(image):
        x = np.moveaxis(image, -1, 0) if subject.first else image
        return ke.explain(method, subject.model, x[None].astype("float32"), None, verbose=0).maps[0]

    return explain, lambda image: subject.logits(image[None])[0]


def each(subject, twin):
    """A twin's value for each image and unit."""
    return np.array(
        [[twin(image, unit) for unit in units] for image, units in zip(subject.last, subject.y, strict=True)]
    )


@fast
def test_sensitivities_equal_their_twins(subject):
    explain, logits = functions(subject, "input_x_gradient")

    def twin(column, reduce):
        return each(
            subject,
            lambda image, unit: reduce(
                twins.sensitivities(image, draws(image.shape), NOISE, unit, explain, logits)[:, column]
            ),
        )

    close(of(subject, "max_sensitivity", "input_x_gradient").values, twin(0, np.max), 1e-4)
    close(of(subject, "avg_sensitivity", "input_x_gradient").values, twin(0, np.mean), 1e-4)
    close(of(subject, "local_lipschitz", "input_x_gradient").values, twin(1, np.max), 1e-4)


@fast
@pytest.mark.parametrize("elementwise", [False, True])
@pytest.mark.parametrize("kind", ["input", "output", "signal"])
def test_relative_stability_equals_its_twin(subject, kind, elementwise):
    explain, logits = functions(subject, "gradcam")
    signals = {}

    def signal(image):
        key = image.tobytes()
        if key not in signals:
            x = np.moveaxis(image, -1, 0) if subject.first else image
            view = ke.models.view(subject.model, keras.ops.convert_to_tensor(x[None], "float32"))
            point = view.signal()
            signals[key] = backend.to_host(view.evaluate([point])[1][point])[0]
        return signals[key]

    value = {"input": lambda image: image, "output": logits, "signal": signal}[kind]
    expected = each(
        subject,
        lambda image, unit: twins.relative_stability(
            image, draws(image.shape), NOISE, unit, explain, logits, value, elementwise, 1e-3
        ),
    )
    found = of(subject, "relative_stability", "gradcam", of=kind, elementwise=elementwise, least=1e-3)
    close(found.values, expected, 2e-3 if elementwise else 1e-4)


def linear(units=2):
    """A linear model of two units, and its weights (*S, C, U)."""
    w = RNG.normal(size=(6, 7, 3, units)).astype("float32")
    layers = [keras.Input(w.shape[:3]), keras.layers.Flatten(), keras.layers.Dense(units, use_bias=False)]
    model = keras.Sequential(layers)
    model.layers[-1].kernel.assign(w.reshape(-1, units))
    return model, w


def test_linear_models_have_closed_forms():
    model, w = linear()
    x = RNG.normal(size=(4, *w.shape[:3])).astype("float32")
    y = (model.predict(x, verbose=0)[:, 1] > model.predict(x, verbose=0)[:, 0]).astype(int)
    still = ke.metrics.max_sensitivity(model, x, y, explain="gradients")
    close(still.values, 0, atol=1e-6)
    found = ke.metrics.max_sensitivity(model, x, y, explain="input_x_gradient")
    assert 0.3 < found.about["kept"] <= 1
    for b, image in enumerate(x):
        of_unit = w[..., y[b]].astype("float64")
        own = twins.size((of_unit * image).sum(-1))
        copies = twins.kept(image, draws(image.shape, 10), 0.02, lambda i: np.tensordot(i, w, 3))
        ratios = [twins.size((of_unit * (copy - image)).sum(-1)) / own for copy in copies]
        assert found.values[b, 0] == pytest.approx(max(ratios), rel=1e-4)


def test_draws_that_change_the_prediction_do_not_count():
    w = RNG.normal(size=(5, 5, 1))
    x = np.abs(RNG.normal(size=(2, 5, 5, 1))).astype("float32")
    edge = (x[0] * w).sum()

    def near(images):
        """The first image is on the edge between two classes, the second is far from it."""
        z = (np.asarray(images) * w).sum(axis=(1, 2, 3))
        return np.stack([z - edge + 1e-6, edge - z], axis=1)

    explain = ("occlusion", {"patch": 2, "stride": 2})
    found = ke.metrics.avg_sensitivity(near, x, 0, explain=explain)
    shares = [
        np.mean(
            [near(twins.noisy(i, u, 0.02)[None])[0].argmax() == near(i[None])[0].argmax() for u in draws(i.shape, 10)]
        )
        for i in x
    ]
    assert found.about["kept"] == pytest.approx(np.mean(shares)) and 0 < shares[0] < 1


def test_nothing_is_said_if_every_draw_changes_the_prediction():
    x = RNG.random((2, 5, 5, 1)).astype("float32")

    def other(images):
        """Another class for each image that is not one of x."""
        known = np.array([any(np.array_equal(image, one) for one in x) for image in np.asarray(images)])
        return np.stack([known, ~known], axis=1).astype("float32")

    found = ke.metrics.max_sensitivity(other, x, 0, explain=("occlusion", {"patch": 2, "stride": 2}))
    assert np.isnan(found.values).all() and found.about["undefined"] == 2 and found.about["kept"] == 0


def test_a_map_of_zeros_has_no_value():
    model, w = linear()
    x = RNG.normal(size=(2, *w.shape[:3])).astype("float32")

    def nothing(model, inputs, indices=None):
        scores, maps = ke.methods.gradient.gradients(model, inputs, indices)
        return scores, 0 * maps

    for metric in ROBUSTNESS:
        found = getattr(ke.metrics, metric)(model, x, 0, explain=nothing, repetitions=2)
        assert np.isnan(found.values).all(), metric


def test_seed_stability_is_the_mean_rank_correlation_with_other_seeds():
    model, x = keras_models.build_once("functional"), keras_models.images("functional", 2)
    explain = ("rise", {"repetitions": 20})
    found = ke.metrics.seed_stability(model, x, [1, 2], explain=explain, repetitions=2, seed=4)
    maps = [
        ke.explain("rise", model, x, [1, 2], repetitions=20, seed=seed, verbose=0).maps[..., 0].reshape(2, -1)
        for seed in (4, 5, 6)
    ]
    ranked = [[metric_twins.ranks(row) for row in one] for one in maps]
    expected = [np.mean([np.corrcoef(ranked[0][b], other[b])[0, 1] for other in ranked[1:]]) for b in range(2)]
    close(found.values[:, 0], expected, atol=1e-4)
    assert (ke.metrics.seed_stability(model, x, [1, 2], explain="gradcam").values == 1).all()


@slow_compiled
def test_images_are_measured_by_themselves_and_the_model_is_left_as_it_was():
    model, x, y = keras_models.build("functional"), keras_models.images("functional", 3), np.array([1, 2, 0])
    before = state(model)
    whole = ke.metrics.max_sensitivity(model, x, y, explain="gradcam", repetitions=2)
    parts = ke.metrics.max_sensitivity(model, x, y, explain="gradcam", repetitions=2, batch_size=2)
    close(parts.values, whole.values, atol=1e-5)
    other = ke.metrics.max_sensitivity(model, x, y, explain="gradcam", repetitions=2, seed=1)
    assert abs(other.values - whole.values).min() > 0
    again = ke.metrics.max_sensitivity(model, x, y, explain="gradcam", repetitions=2)
    np.testing.assert_array_equal(again.values, whole.values)
    same(before, state(model))


def test_maps_are_those_of_the_method():
    model, x = keras_models.build_once("functional"), keras_models.images("functional", 2)
    maps = ke.explain("gradcam", model, x, 1, verbose=0).maps
    given = ke.metrics.max_sensitivity(model, x, 1, maps, explain="gradcam", repetitions=2)
    made = ke.metrics.max_sensitivity(model, x, 1, explain="gradcam", repetitions=2)
    close(given.values, made.values, atol=1e-6)
    close(
        ke.metrics.srg(model, x, 1, explain="gradcam", points=3).values,
        ke.metrics.srg(model, x, 1, maps, points=3).values,
        atol=1e-6,
    )
    for wrong, explain in ((maps + 1, "gradcam"), (maps, "gradients"), (np.repeat(maps, 2, 1), "gradcam")):
        with pytest.raises(ke.errors.InputError, match=r"not those that explain=|was expected"):
            ke.metrics.max_sensitivity(model, x, 1, wrong, explain=explain, repetitions=2)


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"explain": None}, "max_sensitivity needs explain="),
        ({"explain": "gradcm"}, "No method is named 'gradcm'"),
        ({"explain": 3}, "a method or its name"),
        ({"explain": ("gradcam", {"patch": 3})}, "gradcam takes no patch="),
        ({"repetitions": 0}, "repetitions=0"),
        ({"noise": 2}, "noise=2"),
        ({"noise": 0}, "noise=0"),
    ],
)
def test_bad_arguments_are_refused(given, match):
    model, x = keras_models.build_once("functional"), keras_models.images("functional", 2)
    with pytest.raises(ke.errors.ExplainError, match=match):
        ke.metrics.max_sensitivity(model, x, 1, **{"explain": "gradcam", **given})
    with pytest.raises(ke.errors.InputError, match="of='weights'"):
        ke.metrics.relative_stability(model, x, 1, explain="gradcam", of="weights")
