"""Average drop, gain and increase, the performance information curve, and completeness: equal to their twins, and what
is known of them in closed form."""

import keras
import numpy as np
import pytest

import keras_explainable as ke
from keras_explainable import models
from keras_explainable.metrics import Case
from keras_explainable.metrics.information import under
from keras_explainable.numerics.random import on_host
from reference import fills
from reference import metrics as curves
from reference import metrics_confidence as twins
from support import keras_models
from support.compare import close
from support.selection import fast, fast_on_torch

pytestmark = fast_on_torch

NAMES = ["average_drop", "average_gain", "average_increase"]


def value(subject, name, maps=None, **params):
    maps = subject.maps if maps is None else maps
    return getattr(ke.metrics, name)(subject.model, subject.x, subject.y, maps, **params).values


def each(subject, twin):
    """The values of a twin of (image, unit, map) for all images and units."""
    maps = subject.maps.astype("float32")
    return np.array(
        [
            [twin(image, unit, maps[b, ..., k]) for k, unit in enumerate(subject.y[b])]
            for b, image in enumerate(subject.last)
        ]
    )


def ties(maps):
    return on_host((int(np.prod(maps.shape[1:-1])),), 0, 0, 7)


@fast
@pytest.mark.parametrize("area", [None, 0.5])
@pytest.mark.parametrize("baseline", ["mean", 0.25])
def test_drop_gain_and_increase_equal_their_twins(subject, area, baseline):
    def twin(image, unit, map_):
        if area is None:
            shown = twins.seen(image, map_, baseline)
        else:
            shown = twins.seen_area(image, map_, baseline, area, ties(subject.maps))
        return twins.drop_gain_increase(subject.logits, image, unit, shown)

    expected = each(subject, twin)
    for i, name in enumerate(NAMES):
        close(value(subject, name, baseline=baseline, area=area), expected[..., i], atol=1e-5)
    assert expected[..., :2].max() > 0.01


def test_linear_fills_what_is_mostly_hidden(subject):
    def twin(image, unit, map_):
        seen = np.maximum(map_, 0) / map_.max()
        return twins.drop_gain_increase(subject.logits, image, unit, fills.linear(image[None], seen)[0])

    expected = each(subject, twin)
    for i, name in enumerate(NAMES[:2]):
        close(value(subject, name, baseline="linear"), expected[..., i], atol=2e-3)


def test_coverage_is_the_mean_of_the_mask(subject):
    found = ke.metrics.average_drop(subject.model, subject.x, subject.y, subject.maps)
    maps = np.maximum(subject.maps, 0)
    close(found.curves["coverage"][..., 0], maps.mean(axis=(1, 2)) / maps.max(axis=(1, 2)))
    half = ke.metrics.average_drop(subject.model, subject.x, subject.y, subject.maps, area=0.5)
    close(half.curves["coverage"], np.full((2, 2, 1), 0.5))


def test_a_map_of_ones_shows_the_whole_image(subject):
    for name in NAMES:
        close(value(subject, name, np.full_like(subject.maps, 3)), 0, atol=1e-5)
        assert np.isnan(value(subject, name, -abs(subject.maps))).all()


def test_scale_batches_and_units_change_nothing(subject):
    for name in [*NAMES, "pic"]:
        given = {"thresholds": [0.2, 0.5]} if name == "pic" else {}
        whole = value(subject, name, **given)
        scaled = value(subject, name, 4 * subject.maps, batch_size=1, at_once=1, **given)
        close(scaled, whole, atol=1e-5)
    one = ke.metrics.average_drop(subject.model, subject.x, subject.y[:, 1], subject.maps[..., 1:])
    close(one.values[:, 0], value(subject, "average_drop")[:, 1], atol=1e-5)


@fast
@pytest.mark.parametrize("quantity", ["probability", "accuracy"])
def test_pic_equals_its_twin(subject, quantity):
    thresholds = [0.05, 0.1, 0.3, 0.6, 0.8]

    def twin(*of):
        return twins.pic(subject.logits, *of, thresholds, 0.25, ties(subject.maps), quantity)

    subject.y = subject.logits(subject.last).argsort(axis=1)[:, ::-1][:, :2]  # the first is right, the second is not
    expected = each(subject, twin)
    given = {"fill": 0.25, "thresholds": thresholds, "quantity": quantity, "at_once": 4}
    close(value(subject, "pic", **given), expected, atol=1e-5)
    assert quantity == "probability" or np.isnan(expected[:, 1]).all()
    if quantity == "probability":
        assert np.isfinite(expected).any()


def test_the_authors_thresholds_and_a_blur():
    """A noisy image, of which one part alone decides."""
    size = 32
    image = np.random.default_rng(0).random((size, size, 3))
    inside = np.zeros((size, size, 1))
    inside[8:20, 8:20] = 1

    def model(images):
        detail = np.abs(np.diff(np.asarray(images), axis=2))[:, 8:20, 8:19].mean(axis=(1, 2, 3))
        return np.stack([detail, 1 - detail], axis=-1)

    given = {"x": image[None].astype("float32"), "y": 0}
    right = ke.metrics.pic(model, maps=inside[None], **given)
    wrong = ke.metrics.pic(model, maps=1 - inside[None], **given)
    assert right.values.item() > wrong.values.item() + 0.2
    assert right.curves["information"].shape == right.curves["score"].shape == (1, 1, 15)
    assert right.curves["information"][0, 0, [0, -1]].tolist() == [0, 1]
    mean = [
        ke.metrics.pic(model, maps=np.random.default_rng(s).random((1, 32, 32, 1)), **given).values for s in range(5)
    ]
    assert wrong.values.item() < np.mean(mean) < right.values.item()


def test_points_of_equal_information_are_averaged():
    assert under(np.array([0, 0.5, 0.5, 1]), np.array([0, 0.2, 0.6, 1])) == pytest.approx(0.25 * 0.4 + 0.25 * 1.4)
    assert under(np.array([0, 0.9, 0.1, 1]), np.array([0, 0.9, 0.1, 1])) == pytest.approx(0.5)
    assert np.isnan(under(np.array([np.nan, 1]), np.array([np.nan, 1])))


@fast
def test_completeness_equals_its_definition(subject):
    whole = each(subject, lambda image, unit, map_: curves.quantity(subject.logits, image, unit, "logit"))
    for baseline in (0.25, "mean", None):

        def without(image, unit, map_, b=baseline):
            if b is None:
                return 0.0
            return curves.quantity(subject.logits, np.array(curves.fill_of(image, b)), unit, "logit")

        change = whole - each(subject, without)
        expected = abs(subject.maps.sum(axis=(1, 2)) - change) / abs(change)
        close(value(subject, "completeness", baseline=baseline), expected, 1e-4)


def test_methods_that_promise_it_are_complete():
    model, x = keras_models.build_once("functional"), keras_models.images("functional", 2)
    found = ke.explain("integrated_gradients", model, x, [1, 2], repetitions=200, verbose=0, postprocessing=None)
    assert ke.metrics.completeness(model, x, [1, 2], found.maps).values.max() < 0.01
    twice = ke.metrics.completeness(model, x, [1, 2], 2 * np.asarray(found.maps)).values
    close(twice, 1, atol=0.02)


def test_a_linear_model_is_complete():
    model = keras.Sequential([keras.Input((4, 4, 2)), keras.layers.Flatten(), keras.layers.Dense(3)])
    weights = np.random.default_rng(0).normal(size=(32, 3)).astype("float32")
    model.layers[-1].set_weights([weights, np.ones(3, "float32")])
    x = np.random.default_rng(1).normal(size=(5, 4, 4, 2)).astype("float32")
    maps = np.einsum("bhwc,hwck->bhwk", x - 0.5, weights.reshape(4, 4, 2, 3))
    close(ke.metrics.completeness(model, x, None, maps, baseline=0.5).values, 0, atol=1e-4)


def test_drop_gain_and_increase_run_the_model_once_for_each_map():
    seen = []

    def model(images):
        seen.append(len(images))
        return 1 / (1 + np.exp(-np.asarray(images).mean(axis=(1, 2))))

    x = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("float32")
    case = Case.of(models.view(model, x, 0))
    seen.clear()
    for seed in range(3):
        maps = np.random.default_rng(seed).normal(size=(2, 8, 8, 1)).astype("float32")
        for name in NAMES:
            ke.metrics.METRICS[name].of_case(case, maps)
    assert sum(seen) == 2 * (2 + 3)  # the image and the filled image, then a copy for each map


def test_scores_that_are_no_probabilities():
    """A drop relative to a score that is not positive would be upside down."""
    x, maps = np.ones((2, 4, 4, 1), "float32"), np.random.default_rng(0).random((2, 4, 4, 1))
    x[1] = -1

    def model(images):
        return 3 * np.asarray(images).mean(axis=(1, 2))

    found = [getattr(ke.metrics, name)(model, x, 0, maps, baseline=0.0).values[:, 0] for name in NAMES]
    assert np.isnan(found[0]).tolist() == [False, True] and np.isnan(found[1]).tolist() == [True, False]
    assert found[2].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("name", "given", "match"),
    [
        ("average_drop", {"area": 0}, "area=0"),
        ("average_gain", {"area": "half"}, "area="),
        ("average_increase", {"baseline": "grey"}, "'grey'"),
        ("pic", {"thresholds": [0, 0.5]}, "thresholds="),
        ("pic", {"thresholds": 13}, "thresholds=13"),
        ("pic", {"quantity": "softmax"}, "quantity='softmax'"),
        ("completeness", {"least": 0}, "least=0"),
    ],
)
def test_bad_input_is_refused(name, given, match):
    x = keras_models.images("functional", 1)
    with pytest.raises(ke.errors.InputError, match=match):
        getattr(ke.metrics, name)(keras_models.build_once("functional"), x, 0, x[..., :1], **given)
