"""Each LRP rule by its formula, on a dense layer and on convolutions with strides and padding, and what is no rule."""

import itertools

import keras
import numpy as np
import pytest
from keras import layers as L
from keras import ops

from keras_explainable import models
from keras_explainable.errors import InputError
from keras_explainable.methods.propagation import canonizers, rules
from support.compare import close
from support.selection import BACKEND

RNG = np.random.default_rng(3)
SIZE, OUT, STRIDE = (7, 6), (4, 3), 2


def up(v):
    return np.maximum(v, 0)


def down(v):
    return np.minimum(v, 0)


def shared(parts, bias, r, epsilon=0.0):
    """sum_k parts_jk / (sum_j parts_jk + bias_k) r_k, for parts (N, J, K); where there are no parts, nothing."""
    total = parts.sum(1) + bias
    total = np.where(total == 0, 1, total + np.where(total < 0, -epsilon, epsilon))
    return (parts * (r / total)[:, None]).sum(-1)


def expected(name, x, w, connected, b, r, low, high):
    """The relevance (N, J) of x (N, J), for a matrix w (J, K) that connects what it connects."""
    parts, ones = x[..., None] * w, np.ones_like(x)[..., None]
    positive = (parts.sum(1) + b)[:, None] > 0
    more, less = shared(up(parts), up(b), r), shared(down(parts), down(b), r)
    grown = parts + 0.7 * np.where(positive, up(parts), down(parts))
    return {
        "epsilon": lambda: shared(parts, b, r, 0.3),
        "z_plus": lambda: more,
        "alpha_beta": lambda: 3 * more - 2 * less,
        "gamma": lambda: shared(grown, b + 0.7 * np.where(positive[:, 0], up(b), down(b)), r),
        "w_square": lambda: shared(ones * w**2, 0, r),
        "flat": lambda: shared(ones * connected, 0, r),
        "z_box": lambda: shared(parts - low[..., None] * up(w) - high[..., None] * down(w), 0, r),
        "excitation": lambda: shared(up(x)[..., None] * up(w), 0, r),
    }[name]()


def rule(name, low, high):
    made = {"epsilon": (0.3,), "alpha_beta": (3.0, 2.0), "gamma": (0.7,), "z_box": (low, high)}
    return getattr(rules, name)(*made[name]) if name in made else getattr(rules, name)


RULES = ["epsilon", "z_plus", "alpha_beta", "gamma", "w_square", "flat", "z_box", "excitation"]
KEEPING = ["w_square", "flat", "z_box"]  # all relevance


def unrolled(kernel, before):
    """A convolution (*window, C, F) as a matrix (inputs, outputs), and which of the two it connects; `before` is the
    padding in front of each axis."""
    window, (channels, units) = kernel.shape[:2], kernel.shape[2:]
    matrix, connected = np.zeros((2, *SIZE, channels, *OUT, units))
    for at, offset in itertools.product(np.ndindex(*OUT), np.ndindex(*window)):
        pixel = tuple(STRIDE * a + o - p for a, o, p in zip(at, offset, before, strict=True))
        if all(0 <= p < n for p, n in zip(pixel, SIZE, strict=True)):
            matrix[(*pixel, slice(None), *at)] = kernel[offset]
            connected[(*pixel, slice(None), *at)] = 1
    shape = np.prod(SIZE) * channels, -1
    return matrix.reshape(shape), connected.reshape(shape)


def of_layer(model, x):
    """The one linear layer of a model, as rules get it."""
    seen = models.view(model, x)
    (step,) = seen.steps()
    return canonizers.linear(seen.adapter, step.call, None)


@pytest.mark.parametrize("name", RULES)
def test_rule_is_its_formula_in_a_dense_layer(name):
    x, w, b, r = RNG.normal(size=(2, 20)), RNG.normal(size=(20, 3)), RNG.normal(size=3), RNG.normal(size=(2, 3))
    low, high = x - RNG.uniform(size=x.shape), x + RNG.uniform(size=x.shape)
    kernel, *values = (ops.convert_to_tensor(v.astype("float32")) for v in (w, b, x, r, low, high))
    linear = rules.Linear(lambda v, kernel: v @ kernel, kernel, values[0])
    found = ops.convert_to_numpy(rule(name, *values[3:])(linear, *values[1:3]))
    close(found, expected(name, x, w, np.ones_like(w), b, r, low, high), rtol=2e-3, atol=1e-4)


def keras_convolution(kernel, bias):
    layer = L.Conv2D(3, 3, strides=STRIDE, padding="same")
    model = keras.Sequential([keras.Input((*SIZE, 2)), layer])
    layer.set_weights([kernel, bias])
    return model, False, (1, 0)  # of six pixels, the one of padding is behind them


def module(kernel, bias):
    import torch

    layer = torch.nn.Conv2d(2, 3, 3, stride=STRIDE, padding=1)
    with torch.no_grad():
        layer.weight.copy_(torch.as_tensor(kernel.transpose(3, 2, 0, 1)))
        layer.bias.copy_(torch.as_tensor(bias))
    return torch.nn.Sequential(layer), True, (1, 1)


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("make", [keras_convolution, module] if BACKEND == "torch" else [keras_convolution])
def test_rule_is_its_formula_in_a_convolution(make, name):
    kernel, b = RNG.normal(size=(3, 3, 2, 3)), RNG.normal(size=3)
    x, r = RNG.normal(size=(2, *SIZE, 2)), RNG.normal(size=(2, *OUT, 3))
    low, high = x - RNG.uniform(size=x.shape), x + RNG.uniform(size=x.shape)
    model, first, before = make(kernel, b)

    def given(v):
        v = np.moveaxis(v, -1, 1) if first else v
        return ops.convert_to_tensor(np.ascontiguousarray(v, "float32"))

    linear = of_layer(model, given(x))
    found = ops.convert_to_numpy(rule(name, given(low), given(high))(linear, given(x), given(r)))
    found = np.moveaxis(found, 1, -1) if first else found
    x, r, low, high = (v.reshape(2, -1) for v in (x, r, low, high))
    theirs = expected(name, x, *unrolled(kernel, before), np.tile(b, np.prod(OUT)), r, low, high)
    close(found.reshape(2, -1), theirs, atol=1e-3 * abs(theirs).max())
    if name in KEEPING:
        close(found.sum((1, 2, 3)), r.sum(1), rtol=1e-3)


def test_equal_parameters_make_the_same_rule():
    assert rules.gamma(0.5) is rules.gamma(0.5)
    assert rules.gamma(0.5) is not rules.gamma(0.25)


@pytest.mark.parametrize(
    ("make", "params", "message"),
    [
        (rules.epsilon, (0,), "epsilon=0 came, and a number above 0 was expected"),
        (rules.epsilon, (-0.1,), "epsilon=-0.1 came, and a number"),
        (rules.epsilon, (float("nan"),), "epsilon=nan came, and a number"),
        (rules.epsilon, (float("inf"),), "epsilon=inf came, and a number"),
        (rules.epsilon, ("a",), "epsilon='a' came, and a number"),
        (rules.gamma, (-1,), "gamma=-1 came, and a number of 0 or more was expected"),
        (rules.alpha_beta, (2, 2), "alpha=2 and beta=2 came: relevance is conserved only if alpha - beta is 1"),
        (rules.alpha_beta, (0.5, -0.5), "beta=-0.5 came, and a number"),
    ],
)
def test_parameters_that_make_no_rule_are_refused(make, params, message):
    with pytest.raises(InputError, match=message):
        make(*params)
