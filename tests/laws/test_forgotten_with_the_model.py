"""What is kept of a model, compiled or not, lives no longer than the model."""

import gc
import weakref

import pytest

import keras_explainable as ke
from support import keras_models
from support.calls import few, subject
from support.selection import REPRESENTATIVE, slow, very_slow_compiled

QUICK = REPRESENTATIVE | {"smooth_gradcampp"}
METHODS = [pytest.param(name, marks=slow if name in QUICK else very_slow_compiled) for name in ke.registry.METHODS]


@pytest.mark.filterwarnings("ignore:.*the same everywhere")
@pytest.mark.parametrize("method", METHODS)
def test_no_method_keeps_the_models_alive_that_it_explained(method):
    x, explained = keras_models.images(subject(method), 1), []
    for seed in (0, 1):
        model = keras_models.build(subject(method), seed)
        explained.append(weakref.ref(model))
        scores, _ = ke.explain(method, model, x, 1, verbose=0, **few(method))
        assert scores.shape == (1, 1)
        del model
    while gc.collect():  # graphs of PyTorch go first, and what they held after them
        pass
    assert [reference() for reference in explained] == [None, None]
