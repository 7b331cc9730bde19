"""Implicit biases: closed forms of single layers, explicit biases as a second witness, networks of every kind."""

import keras
import numpy as np
import pytest
from keras import layers as L
from keras import ops

import keras_explainable as ke
from reference import fullgrad
from support import keras_models
from support.compare import close
from support.selection import slow_compiled
from support.to_reference import as_reference

pytestmark = slow_compiled

UNITS = np.array([[1, 4], [0, 0], [3, 2]])
SHAPE = (8, 10, 3)


def decomposed(model, x, y=UNITS):
    explicit = ke.full_gradient_decomposition(model, x, y).completeness
    measured = ke.full_gradient_decomposition(model, x, y, implicit=True).completeness
    assert measured.relative_gap.max() <= 1e-4
    close(sum(measured.unexplained.values()), explicit.scores - explicit.total, atol=1e-4 * scale(measured))
    return explicit, measured


def scale(report):
    return max(abs(v).max() for v in report.contributions.values())


def is_zero(value, report):
    return abs(value).max() <= 1e-4 * scale(report)


@pytest.mark.parametrize(
    "name", ["functional", "nested_sequential", "subclassed", "shared", "fused", "channels_first", "one_dimensional"]
)
def test_in_relu_networks_implicit_biases_are_the_explicit_ones(name):
    model, x = keras_models.build(name), keras_models.images(name)
    explicit, measured = decomposed(model, x)
    assert set(explicit.contributions) <= set(measured.contributions)
    for key, value in measured.contributions.items():
        assert is_zero(value - explicit.contributions.get(key, 0), measured), key
    assert all(is_zero(value, measured) for value in measured.unexplained.values())


def test_the_twin_in_float64_agrees():
    net, x = as_reference(keras_models.build("functional")), keras_models.images("functional").astype("float64")
    theirs = [abs(v).sum() for v in fullgrad.contributions(net, x, UNITS).values()]
    measured = decomposed(keras_models.build("functional"), x)[1]
    ours = [abs(v).sum() for v in measured.contributions.values() if not is_zero(v, measured)]
    close(sorted(ours), sorted(t for t in theirs if t > 1e-4), rtol=1e-3)


def sigmoid(v):
    return 1 / (1 + np.exp(-v))


def gates(seed=0):
    """Squeeze and excite, and swish: layers only."""
    x = inputs = keras.Input(SHAPE)
    x = L.Activation("swish", name="swish")(L.Conv2D(6, 3, name="conv")(x))
    gate = L.GlobalAveragePooling2D(keepdims=True, name="squeeze")(x)
    gate = L.Activation("sigmoid", name="gate")(L.Conv2D(6, 1, name="excite")(gate))
    x = L.GlobalAveragePooling2D(name="pool")(L.Multiply(name="scale")([x, gate]))
    return keras_models.randomize(keras.Model(inputs, L.Dense(5, name="logits")(x)), seed)


def transformer(seed=0):
    """Attention, layer normalisation, GELU: layers only, but for what the attention itself does."""
    x = inputs = keras.Input(SHAPE)
    x = L.Reshape((-1, 8), name="tokens")(L.Conv2D(8, 3, strides=2, name="patches")(x))
    x = L.Add(name="add")([x, L.MultiHeadAttention(2, 4, name="attention")(x, x)])
    x = L.LayerNormalization(name="norm")(x)
    x = L.Dense(16, activation="gelu", name="mlp")(x)
    x = L.GlobalAveragePooling1D(name="pool")(x)
    return keras_models.randomize(keras.Model(inputs, L.Dense(5, name="logits")(x)), seed)


def inputs(shape=SHAPE, n=3):
    return np.random.default_rng(1).normal(size=(n, *shape)).astype("float32")


def test_a_sigmoid_by_hand():
    x = inputs((4, 5, 2))
    stack = [keras.Input((4, 5, 2)), L.Activation("sigmoid", name="curve"), L.Flatten(), L.Dense(5, name="logits")]
    model = keras_models.randomize(keras.Sequential(stack))
    kernel, bias = (w.astype("float64") for w in model.get_layer("logits").get_weights())
    report = decomposed(model, x)[1]
    flat = x.reshape(3, -1).astype("float64")
    y = sigmoid(flat)
    expected = (y - y * (1 - y) * flat) @ kernel  # g (y - y'(x) x)
    close(report.contributions["curve", 0], np.take_along_axis(expected, UNITS, 1), rtol=1e-4, atol=1e-5)
    close(report.contributions["logits", 0], bias[UNITS], rtol=1e-4, atol=1e-5)
    assert is_zero(report.contributions["operations"], report)


def test_gates_by_hand():
    model, x = gates(), inputs()
    report = decomposed(model, x)[1]
    features = keras.Model(model.inputs, [model.get_layer(n).output for n in ("swish", "excite", "conv")])
    a, z, c = (ops.convert_to_numpy(v).astype("float64") for v in features.predict(x, verbose=0))
    kernel = model.get_layer("logits").get_weights()[0].astype("float64")
    squeezed, s = a.mean((1, 2)), sigmoid(z[:, 0, 0])
    # The score is squeezed * s @ kernel: a product counts twice in <gradient, inputs>, and once in the output.
    times = np.take_along_axis(-(squeezed * s) @ kernel, UNITS, 1)
    curve = np.take_along_axis((squeezed * (s - s * (1 - s) * z[:, 0, 0])) @ kernel, UNITS, 1)
    close(report.contributions["scale", 0], times, rtol=1e-4, atol=1e-5)
    close(report.contributions["gate", 0], curve, rtol=1e-4, atol=1e-5)
    # d score / d a, where a is both scaled and squeezed: g (s + (s (1 - s) squeezed) excite^T) / pixels
    excite = model.get_layer("excite").get_weights()[0][0, 0].astype("float64")
    through = np.stack([(squeezed * s * (1 - s) * kernel[:, u]) @ excite.T + s * kernel[:, u] for u in range(5)], 1)
    implicit = c * sigmoid(c) - c * (sigmoid(c) + c * sigmoid(c) * (1 - sigmoid(c)))
    swish = np.take_along_axis((through * implicit.mean((1, 2))[:, None]).sum(-1), UNITS, 1)
    close(report.contributions["swish", 0], swish, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("make", [gates, transformer])
def test_any_network_is_complete_with_implicit_biases(make):
    explicit, measured = decomposed(make(), inputs())
    assert explicit.relative_gap.max() > 1e-2
    assert is_zero(measured.contributions["operations"], measured) == (make is gates)
    linear = ["conv", "excite", "logits"] if make is gates else ["patches", "logits", "attention/query"]
    assert all(is_zero(measured.unexplained[name, 0], measured) for name in linear)
    curved = ["swish", "gate", "scale"] if make is gates else ["norm", "mlp"]
    assert not any(is_zero(measured.unexplained[name, 0], measured) for name in curved)


def test_batches_do_not_matter():
    model, x = transformer(), inputs()
    whole, parts = (
        ke.full_gradient_decomposition(model, x, UNITS, size, implicit=True).completeness for size in (3, 2)
    )
    for key, value in whole.contributions.items():
        close(parts.contributions[key], value, atol=1e-4 * scale(whole))
