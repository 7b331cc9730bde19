"""What goes back through a network by rules: refusals, conservation, and peers."""

import keras
import numpy as np
import pytest
from keras import layers as L

import keras_explainable as ke
import models
from helpers import raw
from keras_explainable.errors import LayerError

REPRESENTED = [name for name in ("guided_backprop", "lrp_epsilon_plus", "deeplift") if name in ke.registry.METHODS]
UNITS = [1, 0, 3]


@pytest.mark.parametrize("method", REPRESENTED)
def test_an_operation_that_is_no_layer_is_refused(method):
    with pytest.raises(LayerError, match="operation takes place that is no layer"):
        raw(method, models.build("subclassed"), models.images("subclassed"), UNITS)


@pytest.mark.parametrize("method", ["guided_backprop", "deconvnet"])
def test_a_model_without_relus_is_refused(method):
    model = keras.Sequential([keras.Input((8, 8, 3)), L.Conv2D(4, 3, activation="gelu"), L.Flatten(), L.Dense(5)])
    with pytest.raises(LayerError, match="no ReLU"):
        raw(method, model, np.ones((1, 8, 8, 3)), 0)


def test_a_layer_in_which_a_relu_may_hide_is_refused():
    class Own(L.Layer):
        def call(self, x):
            return keras.ops.relu(x)

    model = keras.Sequential([keras.Input((8, 8, 3)), Own(name="own"), L.ReLU(), L.Flatten(), L.Dense(5)])
    with pytest.raises(LayerError, match=r"own \(Own\)"):
        raw("guided_backprop", model, np.ones((1, 8, 8, 3)), 0)
