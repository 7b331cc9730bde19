"""Metrics of random subsets: equal to their twins, and what is known of them in closed form."""

import keras
import numpy as np
import pytest

import keras_explainable as ke
from keras_explainable import models
from keras_explainable.metrics import Case
from keras_explainable.numerics.random import on_host
from reference import metrics as twins
from support.compare import close
from support.selection import fast, fast_on_torch

pytestmark = fast_on_torch

CELLS, SUBSETS = 4, 12


def drops(subject, least=0.1, most=0.9):
    """The twin's sums and falls for each image and unit."""
    share, order = on_host((SUBSETS,), 0, 0, 11), on_host((SUBSETS, CELLS**2), 0, 0, 12)
    subsets = twins.drawn_subsets(share, order, least, most)
    return [
        [
            twins.drops(subject.logits, image, unit, subject.maps[b, ..., k], CELLS, subsets)
            for k, unit in enumerate(subject.y[b])
        ]
        for b, image in enumerate(subject.last)
    ]


def of(subject, metric, **params):
    given = {"cells": CELLS, "subsets": SUBSETS, **params}
    return getattr(ke.metrics, metric)(subject.model, subject.x, subject.y, subject.maps, **given).values


def given_the_number(sums, falls):
    """Both without what the number of removed cells explains, by NumPy's least squares."""
    share = on_host((SUBSETS,), 0, 0, 11).astype("float64")
    number = np.floor((0.1 + 0.8 * share) * CELLS**2 + 0.5)
    return [v - np.polyval(np.polyfit(number, v, 1), number) for v in (sums, falls)]


def both(function, found):
    return np.array([[function(*pair) for pair in row] for row in found])


@fast
def test_correlations_and_infidelity_equal_their_twins(subject):
    found = drops(subject)
    partial = [[given_the_number(*pair) for pair in row] for row in found]
    close(of(subject, "faithfulness_correlation"), both(lambda a, b: np.corrcoef(a, b)[0, 1], partial), 1e-4)
    ranked = both(lambda a, b: np.corrcoef(twins.ranks(a), twins.ranks(b))[0, 1], partial)
    close(of(subject, "faithfulness_correlation", correlation="spearman"), ranked, 1e-4)
    close(of(subject, "infidelity"), both(twins.infidelity, found), 1e-4)
    close(of(subject, "infidelity", normalize=False), both(lambda a, b: np.mean((a - b) ** 2), found), 1e-4)


@fast
def test_subsets_of_one_size_equal_their_twins(subject):
    subject.maps = np.random.default_rng(5).normal(size=subject.maps.shape)  # no two sums are equal
    found = drops(subject, 0.3, 0.3)
    close(of(subject, "sensitivity_n", share=0.3), both(lambda a, b: np.corrcoef(a, b)[0, 1], found), 1e-4)
    ranked = both(lambda a, b: np.corrcoef(twins.ranks(a), twins.ranks(b))[0, 1], found)
    close(of(subject, "mu_fidelity", share=0.3), ranked, 1e-4)


def test_cells_without_an_effect_are_counted(subject):
    found = ke.metrics.non_sensitivity(subject.model, subject.x, subject.y, subject.maps, cells=CELLS, threshold=0.3)
    alone = [[n] for n in range(CELLS**2)]

    def twin(image, unit, map_):
        sums, falls = twins.drops(subject.logits, image, unit, map_, CELLS, alone)
        top = np.argsort(-abs(sums), kind="stable")[: CELLS**2 // 2]
        return np.mean([abs(falls[n]) < 0.3 * abs(falls).max() for n in top])

    expected = [
        [twin(x, u, subject.maps[b, ..., k]) for k, u in enumerate(subject.y[b])] for b, x in enumerate(subject.last)
    ]
    close(found.values, np.array(expected))
    assert 0 < np.mean(expected) < 1


def test_a_linear_model_agrees_with_its_effects():
    model = keras.Sequential([keras.Input((8, 8, 2)), keras.layers.Flatten(), keras.layers.Dense(3)])
    rng = np.random.default_rng(0)
    weights, x = rng.normal(size=(128, 3)).astype("float32"), rng.normal(size=(4, 8, 8, 2)).astype("float32")
    model.layers[-1].set_weights([weights, rng.normal(size=3).astype("float32")])
    change = x - x.mean(axis=(1, 2), keepdims=True)  # what "mean" takes away
    maps = np.einsum("bhwc,hwck->bhwk", change, weights.reshape(8, 8, 2, 3))
    close(ke.metrics.faithfulness_correlation(model, x, None, maps).values, np.ones((4, 3)), 1e-4)
    close(ke.metrics.faithfulness_correlation(model, x, None, -5 * maps).values, -np.ones((4, 3)), 1e-4)
    close(ke.metrics.infidelity(model, x, None, 7 * maps).values, 0, atol=1e-4)
    close(ke.metrics.infidelity(model, x, None, maps, normalize=False).values, 0, atol=1e-4)
    random = rng.normal(size=(4, 8, 8, 3))
    assert ke.metrics.infidelity(model, x, None, random).values.min() > 0.3
    noise = ke.metrics.faithfulness_correlation(
        model, np.repeat(x, 25, 0), None, rng.normal(size=(100, 8, 8, 3))
    ).values
    assert abs(noise.mean()) < 3 * noise.mean(axis=1).std() / 10


def test_positive_noise_is_at_chance():
    """Larger subsets have larger sums of positive maps, and larger falls: that alone must not count."""
    model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(1)])
    model.layers[-1].set_weights([np.ones((64, 1), "float32"), np.zeros(1, "float32")])
    x = np.random.default_rng(0).uniform(0.5, 1, (100, 8, 8, 1)).astype("float32")
    noise = np.random.default_rng(1).uniform(0, 1, (100, 8, 8, 1))
    values = ke.metrics.faithfulness_correlation(model, x, 0, noise, fill=0.0).values[:, 0]
    assert abs(values.mean()) < 3 * values.std() / 10
    plain = ke.metrics.infidelity(model, x, 0, noise, fill=0.0).values[:, 0]
    assert plain.mean() < 0.1  # as its docstring says
    even = ke.metrics.faithfulness_correlation(model, x, 0, np.ones_like(noise), fill=0.0)
    assert np.isnan(even.values).all()


def test_a_map_or_a_score_that_never_changes_has_no_correlation(subject):
    subject.maps = np.zeros_like(subject.maps)
    assert np.isnan(of(subject, "faithfulness_correlation")).all() and np.isnan(of(subject, "infidelity")).all()
    found = ke.metrics.faithfulness_correlation(
        lambda images: np.ones((len(images), 2)), subject.last, 0, subject.maps[..., :1]
    )
    assert np.isnan(found.values).all() and found.about["undefined"] == 2


def test_subsets_are_evaluated_once_for_all_maps():
    seen = []

    def model(images):
        seen.append(len(images))
        return np.asarray(images).sum(axis=(1, 2))

    x = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("float32")
    case = Case.of(models.view(model, x, 0))
    seen.clear()
    for seed in range(3):
        maps = np.random.default_rng(seed).normal(size=(2, 8, 8, 1))
        for metric in ("faithfulness_correlation", "infidelity"):
            ke.metrics.METRICS[metric].of_case(case, maps)
    assert sum(seen) == 2 * (1 + 128)


@pytest.mark.parametrize(
    "bad", [{"share": 0}, {"share": 1.0}, {"subsets": 1}, {"cells": 0}, {"correlation": "kendall"}]
)
def test_bad_parameters_are_refused(bad):
    model = keras.Sequential([keras.Input((8, 8, 2)), keras.layers.Flatten(), keras.layers.Dense(3)])
    with pytest.raises(ke.errors.InputError, match=next(iter(bad))):
        ke.metrics.faithfulness_correlation(model, np.zeros((1, 8, 8, 2)), 0, np.zeros((1, 8, 8, 1)), **bad)
