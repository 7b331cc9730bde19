"""Gradients of many units at once are those of each alone, however a backend goes through them."""

import keras
import numpy as np
import pytest
from keras import layers as L

from support.calls import raw
from support.compare import close
from support.selection import BACKEND

UNITS = 27


@pytest.mark.parametrize("method", ["gradients", "gradcam"])
@pytest.mark.parametrize(
    "looped", [False, pytest.param(True, marks=pytest.mark.skipif(BACKEND != "tensorflow", reason="one way"))]
)
def test_many_units_are_each_alone(method, looped, monkeypatch):
    if looped:
        from keras_explainable.backend import tensorflow

        monkeypatch.setattr(tensorflow, "OPERATIONS", 0)
    keras.utils.set_random_seed(0)
    stack = [L.Conv2D(6, 3, activation="tanh"), L.GlobalAveragePooling2D(), L.Dense(UNITS, activation="tanh")]
    model = keras.Sequential([keras.Input((9, 8, 3)), *stack])
    x = np.random.default_rng(0).normal(size=(2, 9, 8, 3)).astype("float32")
    scores, maps = raw(method, model, x)
    assert scores.shape == (2, UNITS)
    for unit in (0, 8, UNITS - 1):
        close((scores[:, [unit]], maps[..., [unit]]), raw(method, model, x, unit), 1e-5)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="a graph is TensorFlow's")
def test_only_short_ways_back_are_built_for_each_of_many_units():
    import tensorflow as tf

    from keras_explainable.backend import tensorflow

    def loops(layers, units):
        x = tf.ones((1, 4))

        def run(x, tap):
            x = tap("x", x)
            for _ in range(layers):
                x = tf.tanh(x)
            return x @ tf.ones((4, units))

        step = tf.function(lambda x: tensorflow.jacobian(run, x, ["x"], lambda key, g, v: g, ())[2]["x"])
        graph = step.get_concrete_function(x).graph
        return any(op.type in ("While", "StatelessWhile") for op in graph.get_operations())

    assert not loops(2, 8) and not loops(2, 20) and loops(2, 2000)
    assert not loops(200, 8) and loops(200, 20)
