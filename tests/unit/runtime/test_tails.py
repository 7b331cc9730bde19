"""Scores with a channel of a signal removed: what comes before the signal runs once, and the scores are those of whole
runs of the model."""

import keras
import numpy as np
import pytest
from keras import layers as L

import keras_explainable as ke
from keras_explainable import backend
from support import keras_models
from support.calls import UNITS, raw
from support.compare import close
from support.selection import BACKEND, first_fast, slow_compiled

CHANNELS = 40
RUNS = 2 if BACKEND == "torch" else 1  # on PyTorch a second run checks what was recorded


@pytest.fixture
def whole(monkeypatch):
    """Explain by a run of the whole model for each channel."""

    def refuse(*_):
        raise NotImplementedError("no rule")

    def explained(*args, **params):
        with monkeypatch.context() as patch:
            patch.setattr(backend, "resumed", refuse)
            ke.clear_cache()
            found = raw("ablationcam", *args, **params)
        ke.clear_cache()
        assert found.about["passes"] == "one of the whole model for each channel (NotImplementedError: no rule)"
        return found

    return explained


def by_tails(*args, **params):
    found = raw("ablationcam", *args, **params)
    assert "passes" not in found.about, found.about
    return found


@pytest.mark.parametrize("kind", first_fast("functional", "transformer", "channels_first", "three_dimensional"))
@slow_compiled
def test_scores_are_those_of_whole_runs(whole, kind):
    model, x = keras_models.build_once(kind), keras_models.images(kind)
    close(by_tails(model, x, UNITS), whole(model, x, UNITS))


@pytest.mark.parametrize("options", [{"at_once": 1}, {"at_once": 7}, {"run_eagerly": True}, {"jit_compile": True}])
@slow_compiled
@pytest.mark.usefixtures("uncompiled")
def test_options_change_no_value(whole, options):
    model, x = keras_models.build_once("functional"), keras_models.images("functional")
    close(by_tails(model, x, **options), whole(model, x))


@slow_compiled
def test_the_signal_may_lie_deep_inside(whole):
    """Several layers, a sum and a shortcut come after it."""
    model, x = keras_models.build_once("functional"), keras_models.images("functional")
    close(by_tails(model, x, UNITS, layer="conv1"), whole(model, x, UNITS, layer="conv1"))


def outside(function, x):
    """A function of NumPy arrays as a step of a model, which no framework can map."""
    if BACKEND == "torch":
        import torch

        return torch.from_numpy(function(x.detach().numpy()))
    if BACKEND == "jax":
        import jax

        return jax.pure_callback(function, jax.ShapeDtypeStruct(x.shape, x.dtype), x)
    import tensorflow as tf

    return tf.ensure_shape(tf.numpy_function(function, [x], x.dtype), x.shape)


class Outside(L.Layer):
    """A layer that computes in NumPy."""

    def __init__(self, function, **options):
        super().__init__(**options)
        self.function = function

    def call(self, x):
        return outside(self.function, x)

    def compute_output_spec(self, x):
        return keras.KerasTensor(x.shape, x.dtype)


def with_step(function, before):
    """A model of which one step, before or after the layer "signal", is computed in NumPy; and images."""
    x = image = keras.Input((6, 7, 3))
    x = Outside(function)(x) if before else x
    x = L.Conv2D(CHANNELS, 3, activation="relu", name="signal")(x)
    x = x if before else Outside(function)(x)
    model = keras.Model(image, L.Dense(5, name="logits")(L.GlobalAveragePooling2D()(x)))
    return keras_models.randomize(model), np.random.default_rng(0).normal(size=(2, 6, 7, 3)).astype("float32")


def test_what_comes_before_the_signal_runs_once():
    runs = []

    def counted(x):
        runs.append(len(x))
        return np.array(x)

    model, x = with_step(counted, before=True)
    by_tails(model, x, UNITS[:2], layer="signal", at_once=2)
    runs.clear()
    by_tails(model, x, UNITS[:2], layer="signal", at_once=2)
    assert runs[:RUNS] == [2] * RUNS and sum(runs[RUNS:]) <= 1, runs  # `explain` itself may look at one image


def test_a_step_without_a_rule_runs_with_the_whole_model():
    model, x = with_step(lambda x: np.tanh(np.asarray(x)), before=False)
    found = raw("ablationcam", model, x, UNITS[:2], layer="signal")
    assert found.about["passes"].startswith("one of the whole model for each channel (")
    a = keras.Model(model.inputs, model.get_layer("signal").output).predict(x, verbose=0)
    kernel = np.asarray(model.get_layer("logits").kernel).T[UNITS[:2]]  # (B, K, C)
    weights = kernel * np.tanh(a).mean((1, 2))[:, None] / abs(found.scores)[..., None]
    close([found.maps], [np.einsum("bhwc,bkc->bhwk", a, weights)])
    if BACKEND == "torch":
        assert "cannot be recorded" in found.about["passes"]


@slow_compiled
def test_lower_precision_loses_no_more_than_in_whole_runs(whole):
    model, x = keras_models.build_once("functional"), keras_models.images("functional")
    exact = by_tails(model, x, UNITS).maps
    ours, theirs = (abs(f(model, x, UNITS, precision="bfloat16").maps - exact).max() for f in (by_tails, whole))
    assert 0 < ours <= 1.5 * theirs
