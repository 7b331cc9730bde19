"""Stateful recurrent models go on from their present state, at any batch size, and keep it."""

import keras
import numpy as np
import pytest
from keras import layers as L
from keras import ops

from support import keras_models
from support.calls import few, raw
from support.compare import close
from support.selection import crossed, slow_compiled

pytestmark = slow_compiled

X = np.random.default_rng(0).normal(size=(4, 5, 8, 9, 3)).astype("float32")


def clips(kind, stateful):
    inputs = keras.Input(batch_shape=(4, 5, 8, 9, 3)) if stateful else keras.Input((5, 8, 9, 3))
    if kind == "ConvLSTM2D":
        x = L.GlobalAveragePooling2D()(L.ConvLSTM2D(4, 3, padding="same", stateful=stateful, name="cl")(inputs))
    else:
        x = L.TimeDistributed(L.Conv2D(4, 3, activation="relu", name="c"))(inputs)
        x = getattr(L, kind)(5, stateful=stateful)(L.TimeDistributed(L.GlobalAveragePooling2D())(x))
    return keras_models.randomize(keras.Model(inputs, L.Dense(3, name="out")(x)))


@pytest.mark.parametrize(
    ("kind", "method"),
    crossed(
        ["LSTM", "ConvLSTM2D", "GRU"],
        ["gradients", "occlusion", "smoothgrad", "integrated_gradients", "full_gradients"],
    ),
)
def test_a_stateful_model_is_its_twin_without_a_state(kind, method):
    model, twin = clips(kind, True), clips(kind, False)
    twin.set_weights(model.get_weights())
    layer = next(part for part in model.layers if getattr(part, "stateful", False))
    close(raw(method, model, X, 1, **few(method)), raw(method, twin, X, 1, **few(method)), 1e-4)
    assert all(not ops.convert_to_numpy(state).any() for state in layer.states)


def test_the_present_state_counts_and_stays():
    model = clips("LSTM", True)
    layer = next(part for part in model.layers if getattr(part, "stateful", False))
    before = [
        np.random.default_rng(i).normal(size=state.shape).astype("float32") for i, state in enumerate(layer.states)
    ]
    for state, value in zip(layer.states, before, strict=True):
        state.assign(value)
    scores, _ = raw("occlusion", model, X)
    for state, old in zip(layer.states, before, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(state), old)
    assert layer.stateful
    close([scores], [model.predict(X, batch_size=4, verbose=0)])
