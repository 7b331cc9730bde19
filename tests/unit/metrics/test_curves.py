"""Deletion, insertion, srg, road and irof: equal to their twins, and what is known of them in closed form."""

import itertools

import keras
import numpy as np
import pytest

import keras_explainable as ke
from keras_explainable.numerics.random import on_host
from reference import metrics as twins
from support.compare import close
from support.selection import fast, fast_on_torch

pytestmark = fast_on_torch


def ties(maps):
    return on_host((int(np.prod(maps.shape[1:-1])),), 0, 0, 7)


def linear(size=(3, 3), units=2, seed=0):
    """A linear model of images (*size, 1), and its weights (pixels, units)."""
    model = keras.Sequential([keras.Input((*size, 1)), keras.layers.Flatten(), keras.layers.Dense(units)])
    weights = np.random.default_rng(seed).normal(size=(int(np.prod(size)), units)).astype("float32")
    model.layers[-1].set_weights([weights, np.zeros(units, "float32")])
    return model, weights


def each(subject, twin):
    """The values of a twin of (image, unit, map) for all images and units."""
    return [
        [twin(image, unit, subject.maps[b, ..., k]) for k, unit in enumerate(subject.y[b])]
        for b, image in enumerate(subject.last)
    ]


@fast
@pytest.mark.parametrize("quantity", ["probability", "logit", "margin", "accuracy"])
def test_curves_equal_their_twins(subject, quantity):
    given = {"points": 6, "quantity": quantity, "at_once": 5}
    found = ke.metrics.srg(subject.model, subject.x, subject.y, subject.maps, **given)

    def twin(*of):
        return twins.curves(subject.logits, *of, np.linspace(0, 1, 6), "mean", ties(subject.maps), quantity)

    down, up, area = (np.array(part) for part in zip(*(v for row in each(subject, twin) for v in row), strict=True))
    close(found.curves["deletion"], down.reshape(2, 2, 6))
    close(found.curves["insertion"], up.reshape(2, 2, 6))
    values = [twins.trapezoid(u - d, a) for d, u, a in zip(down, up, area, strict=True)]
    close(found.values, np.reshape(values, (2, 2)), 1e-4)
    given["fill"] = "mean"
    one, other = (
        f(subject.model, subject.x, subject.y, subject.maps, **given).values
        for f in (ke.metrics.insertion, ke.metrics.deletion)
    )
    close(found.values, one - other)


@fast
def test_road_equals_its_twin_without_noise(subject):
    shares = np.arange(1, 10) / 10
    found = ke.metrics.road(subject.model, subject.x, subject.y, subject.maps, noise=0)

    def twin(image, unit, map_):
        order = twins.ordered(map_, ties(subject.maps))
        down, up = [], []
        for q in shares:
            n = int(np.floor(q * map_.size + 0.5))
            for curve, gone in ((down, order[:n]), (up, order[n:])):
                missing = np.isin(np.arange(map_.size), gone).reshape(map_.shape)
                curve.append(twins.quantity(subject.logits, twins.linear_fill(image, missing), unit, "probability"))
        return up, down

    up, down = np.moveaxis(np.array(each(subject, twin)), 2, 0)
    close(found.curves["deletion"], down, atol=2e-3)
    close(found.curves["insertion"], up, atol=2e-3)


@fast
def test_irof_equals_its_twin(subject):
    subject.maps = np.random.default_rng(5).normal(size=subject.maps.shape)  # no two segments have the same mean
    found = ke.metrics.irof(subject.model, subject.x, subject.y, subject.maps, segments=3)
    of = twins.cell_of(subject.maps.shape[1:-1], 3)

    def twin(image, unit, map_):
        means = np.array([map_[of == n].astype("float64").mean() for n in range(9)])
        order, curve = np.argsort(-means, kind="stable"), []
        for n in range(10):
            changed = twins.without(image, np.flatnonzero(np.isin(of, order[:n])), twins.fill_of(image, "mean"))
            curve.append(twins.quantity(subject.logits, changed, unit, "probability"))
        return 1 - twins.trapezoid(np.array(curve) / curve[0], np.arange(10) / 9)

    close(found.values, np.array(each(subject, twin)), 1e-4)


def test_srg_of_a_linear_model_is_the_largest_over_all_orders():
    model, weights = linear()
    x = np.random.default_rng(3).normal(size=(1, 3, 3, 1)).astype("float32")
    effect = (weights * x.reshape(9, 1)).T.reshape(2, 3, 3)  # of each pixel, with 0 in its place
    given = {"fill": 0.0, "quantity": "logit", "points": 10}
    found = ke.metrics.srg(model, x, [[0, 1]], np.moveaxis(effect, 0, -1)[None], **given).values[0]
    for unit in range(2):
        e = effect[unit].ravel().astype("float64")
        orders = e[np.array(list(itertools.permutations(range(9))))]
        down = e.sum() - np.concatenate([np.zeros((len(orders), 1)), np.cumsum(orders, axis=1)], axis=1)
        up = e.sum() - down
        gain = ((up - down)[:, 1:] + (up - down)[:, :-1]).sum(1) / 18
        close(found[unit], gain.max())


def test_the_opposite_map_has_the_opposite_gain(subject):
    maps = np.random.default_rng(5).normal(size=subject.maps.shape)  # no two values are equal
    one, other = (ke.metrics.srg(subject.model, subject.x, subject.y, m, points=7).values for m in (maps, -maps))
    close(one, -other, atol=1e-6)
    assert abs(one).min() > 1e-4


def test_insertion_is_deletion_in_the_opposite_order(subject):
    maps = np.random.default_rng(5).normal(size=subject.maps.shape)
    of = (subject.model, subject.x, subject.y)
    shown = ke.metrics.insertion(*of, maps, fill="mean", points=7).curves["insertion"]
    close(shown, ke.metrics.deletion(*of, -maps, points=7).curves["deletion"][..., ::-1])


def test_random_maps_gain_nothing_on_average():
    model, _ = linear((4, 4))
    x = np.random.default_rng(0).normal(size=(200, 4, 4, 1)).astype("float32")
    maps = np.random.default_rng(1).normal(size=(200, 4, 4, 2))
    values = ke.metrics.srg(model, x, None, maps, points=9, batch_size=200).values.mean(axis=1)
    assert abs(values.mean()) < 3 * values.std() / np.sqrt(200)
    assert values.std() > 0.05


def test_monotone_maps_batches_and_copies_change_nothing(subject):
    of = (subject.model, subject.x, subject.y)
    whole = ke.metrics.srg(*of, subject.maps, points=5).values
    close(ke.metrics.srg(*of, np.exp(3 * subject.maps), points=5, batch_size=1, at_once=1).values, whole)
    assert np.array_equal(ke.metrics.srg(*of, subject.maps, points=5).values, whole)
    assert not np.array_equal(ke.metrics.srg(*of, subject.maps, points=5, seed=1).values, whole)


def test_a_map_that_is_the_same_everywhere_is_a_random_order(subject):
    maps = np.zeros_like(subject.maps)
    found = ke.metrics.deletion(subject.model, subject.x, subject.y, maps, points=4).curves["deletion"]
    order = np.argsort(ties(maps))
    for b, image in enumerate(subject.last):
        gone = twins.without(image, order[: maps[0, ..., 0].size // 3], twins.fill_of(image, "mean"))
        for k, unit in enumerate(subject.y[b]):
            assert found[b, k, 1] == pytest.approx(twins.quantity(subject.logits, gone, unit, "probability"), rel=1e-4)


def test_as_many_forwards_as_the_arithmetic_needs():
    """2T - 2 copies of each image and unit: the curves share their two ends."""
    seen = []

    def model(images):
        seen.append(len(images))
        return np.asarray(images).sum(axis=(1, 2)) @ np.ones((3, 2), "float32")

    x, maps = np.random.default_rng(0).normal(size=(2, 3, 8, 8, 2))
    x = np.repeat(x[..., :1], 3, axis=-1).astype("float32")
    ke.metrics.deletion(model, x, 0, maps[..., :1], points=2)
    before = sum(seen)
    seen.clear()
    ke.metrics.srg(model, x, 0, maps[..., :1], points=10)
    assert sum(seen) - before == 3 * (2 * 10 - 2 - 2)
