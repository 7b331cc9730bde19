"""How often each method runs the model: at most as often as its cost states, and for more units only where it says so."""

from dataclasses import dataclass

import keras
import numpy as np
import pytest
from bench.budgets import few

import keras_explainable as ke
from keras_explainable import backend, models
from keras_explainable.explaining.program import Explaining
from keras_explainable.runtime import remarks
from support import keras_models
from support.calls import subject
from support.selection import BACKEND

IMAGES, MANY = 2, 4  # images, and units of each
PROPAGATES = {ke.registry.Need.GRADIENT, ke.registry.Need.KNOWN_LAYERS}


@dataclass
class Passes:
    """The images of all passes so far, and the gradients at images: one for each image and unit."""

    forward: int = 0
    backward: int = 0


@pytest.fixture
def passes(monkeypatch):
    """What methods run of a model. What the library tries once to learn about a model is not counted."""
    done, runner, jacobian = Passes(), models.View.runner, backend.jacobian

    def counted_runner(*args, **params):
        run = runner(*args, **params)

        def counted(x, tap):
            done.forward += x.shape[0]
            return run(x, tap)

        return counted

    def counted_jacobian(run, x, at, *args):
        found = jacobian(run, x, at, *args)
        done.backward += x.shape[0] * found[0].shape[-1] * (models.INPUT in at)
        return found

    monkeypatch.setattr(models.View, "runner", counted_runner)
    monkeypatch.setattr(backend, "jacobian", counted_jacobian)
    return done


def counted(passes, method, params, units):
    """The passes of an image when so many of its units are explained."""
    kind = subject(method)
    model, x = keras_models.build_once(kind), keras_models.images(kind)[:IMAGES]
    indices = np.tile(np.arange(units, dtype="int32"), (IMAGES, 1))
    step = Explaining(ke.get(method), params, None, None)
    for _ in range(2):  # what is found out once comes first
        passes.forward = passes.backward = 0
        with remarks.collecting():
            step(model, keras.ops.convert_to_tensor(x), indices)
    return passes.forward / IMAGES, passes.backward / IMAGES


def channels(method):
    """The channels of the signal that is explained if none is named."""
    kind = subject(method)
    view = models.view(keras_models.build_once(kind), keras_models.images(kind)[:1])
    return view.evaluate([view.signal()])[1][view.signal()].shape[-1]


@pytest.mark.skipif(BACKEND != "torch", reason="only PyTorch runs a pass without tracing it before")
@pytest.mark.parametrize("method", ke.registry.METHODS)
def test_a_method_runs_the_model_as_often_as_its_cost_states(method, passes):
    cost = ke.registry.METHODS[method].cost
    params, numbers = few(method, max(keras_models.SIZE))
    if "C" in numbers and "max_channels" not in params:
        numbers["C"] = channels(method)
    one, many = (counted(passes, method, params, units) for units in (1, MANY))
    for units, (forward, backward) in ((1, one), (MANY, many)):
        numbers["K"] = units
        assert 0 < forward <= cost.passes(forward=1, backward=0, tail=0, **numbers), (cost, units, forward)
        assert backward <= cost.passes(forward=0, backward=1, tail=0, **numbers), (cost, units, backward)
    if not any({"K", "forward"} <= {*letters} for letters in cost.terms()):
        assert many[0] == one[0], cost


@pytest.mark.parametrize("method", ke.registry.METHODS)
def test_only_what_propagates_back_costs_more_for_more_units(method):
    """Masks, ablations and noisy copies do not depend on the unit."""
    record = ke.registry.METHODS[method]
    of_units = {letters for letters in record.cost.terms() if "K" in letters}
    back = {tuple(sorted("backward" if letter == "forward" else letter for letter in letters)) for letters in of_units}
    assert back <= of_units, record.cost
    assert not of_units or record.needs & PROPAGATES, record.cost
