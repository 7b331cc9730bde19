"""What holds for every registered metric: the model is left as it was, the same seed gives the same values, each image
is measured by itself, and the scale of a map does not count where it should not."""

import keras
import numpy as np
import pytest

import keras_explainable as ke
from keras_explainable.metrics import METRICS, MetricNeed
from support.compare import close
from support.left_as_found import same, state
from support.selection import fast_on_torch

SIZE, N = (14, 14), 3
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, *SIZE, 3)).astype("float32")
Y = np.array([[0, 2], [1, 0], [2, 1]])
MASKS = RNG.random((N, *SIZE, 2)) < 0.3
OTHERS = ~MASKS & (RNG.random(MASKS.shape) < 0.5)
OBJECTS = RNG.random((N, 3, *SIZE)) < 0.3, RNG.normal(size=(N, 3, *SIZE, 3)).astype("float32")
FEW = {"points": 4, "subsets": 16, "cells": 4, "segments": 4, "repetitions": 2, "stages": 2, "bins": 10}
# The value has the unit of the map or of the score, by its definition.
SCALED = {"completeness", "local_lipschitz"}


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(1)
    inputs = keras.Input((*SIZE, 3))
    maps = keras.layers.Conv2D(4, 3, activation="relu", name="maps")(inputs)
    return keras.Model(inputs, keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(maps)))


@pytest.fixture(scope="module")
def maps(model):
    return ke.explain("gradcam", model, X, Y, resizing=True, verbose=0).maps


def measured(record, model, maps, rows=slice(None), scale=1.0, seed=3):
    """The values of a metric for some images, with all that it needs."""
    own = {name: FEW[name] for name in ke.metrics.inputs.parameters_of(record) if name in FEW}
    if "others" not in own and record.name == "class_selectivity":
        own["others"] = OTHERS[rows]
    if MetricNeed.masks in record.needs:
        own["masks"] = MASKS[rows]
    if MetricNeed.objects in record.needs:
        own["objects"] = tuple(part[rows] for part in OBJECTS)
    if MetricNeed.method in record.needs:
        return record.function(model, X[rows], Y[rows], explain="gradcam", seed=seed, **own).values
    return record.function(model, X[rows], Y[rows], scale * maps[rows], seed=seed, **own).values


@fast_on_torch
@pytest.mark.parametrize("name", sorted(METRICS))
def test_each_image_is_measured_by_itself_and_the_model_is_left_as_it_was(name, model, maps):
    record, before = METRICS[name], state(model)
    whole = measured(record, model, maps)
    assert whole.shape == (N, 2)
    alone = np.concatenate([measured(record, model, maps, slice(n, n + 1)) for n in range(N)])
    close(alone, whole, atol=2e-4 * max(1, np.nanmax(np.abs(whole), initial=0)))
    np.testing.assert_array_equal(measured(record, model, maps), whole)
    same(before, state(model))


@fast_on_torch
@pytest.mark.parametrize("name", sorted(n for n, r in METRICS.items() if MetricNeed.method not in r.needs))
def test_the_scale_of_a_map_does_not_count(name, model, maps):
    record = METRICS[name]
    one, other = measured(record, model, maps), measured(record, model, maps, scale=7.5)
    if name in SCALED:
        assert np.abs(one - other).max() > 1e-3
    else:
        close(other, one, atol=1e-5)


@pytest.mark.parametrize("name", sorted(n for n, r in METRICS.items() if MetricNeed.model in r.needs))
def test_an_exception_leaves_the_model_as_it_was(name, model):
    record, before = METRICS[name], state(model)
    with pytest.raises(ke.errors.InputError):
        record.function(model, X, Y[:, :1], np.zeros((N, *SIZE, 2), "float32"), masks=MASKS)
    same(before, state(model))
