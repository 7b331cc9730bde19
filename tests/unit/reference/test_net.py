"""The reference net itself: forward against hand values and direct sums, backward against finite differences."""

import numpy as np
import pytest

from reference import layers, token_layers
from reference import net as n
from reference.fullgrad import contributions
from support.compare import close
from support.selection import fast_on_torch

pytestmark = fast_on_torch

RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.normal(size=shape)


OPS = {
    "conv valid": (layers.Conv(normal(3, 2, 3, 4), normal(4)), [(2, 6, 7, 3)]),
    "conv same": (layers.Conv(normal(3, 3, 3, 4), normal(4), padding="same"), [(2, 6, 7, 3)]),
    "conv same strides": (layers.Conv(normal(3, 3, 3, 4), None, padding="same", strides=2), [(2, 6, 7, 3)]),
    "conv uneven strides": (layers.Conv(normal(2, 3, 3, 4), None, padding="same", strides=(1, 3)), [(2, 6, 7, 3)]),
    "conv padded": (layers.Conv(normal(3, 3, 3, 4), None, padding=1, strides=2), [(2, 6, 7, 3)]),
    "conv dilated": (layers.Conv(normal(3, 3, 3, 4), None, padding="same", dilation=2), [(2, 6, 7, 3)]),
    "conv 1-D": (layers.Conv(normal(3, 3, 4), normal(4), padding="same"), [(2, 6, 3)]),
    "conv 3-D": (layers.Conv(normal(2, 3, 2, 3, 2), normal(2)), [(1, 3, 4, 3, 3)]),
    "depthwise": (layers.DepthwiseConv(normal(3, 3, 3, 2), normal(6), padding="same", strides=2), [(2, 6, 7, 3)]),
    "dense": (layers.Dense(normal(4, 3), normal(3)), [(2, 4)]),
    "batch norm": (layers.batch_norm(normal(3), normal(3), normal(3), abs(normal(3)), 1e-3), [(2, 4, 5, 3)]),
    "relu": (layers.Relu(), [(2, 4, 5, 3)]),
    "relu6": (layers.Relu6(), [(2, 4, 5, 3)]),
    "sigmoid": (layers.Sigmoid(), [(2, 5)]),
    "softmax": (layers.Softmax(), [(2, 5)]),
    "add": (layers.Add(), [(2, 4, 5, 3)] * 3),
    "concat": (layers.Concat(), [(2, 4, 5, 3), (2, 4, 5, 1), (2, 4, 5, 2)]),
    "max pool": (layers.MaxPool((2, 2), strides=2), [(2, 6, 7, 3)]),
    "max pool overlapping": (layers.MaxPool((3, 3), strides=2, padding="same"), [(2, 6, 7, 3)]),
    "average pool": (layers.AvgPool((2, 3), strides=2), [(2, 6, 7, 3)]),
    "average pool same": (layers.AvgPool((3, 3), strides=2, padding="same"), [(2, 6, 7, 3)]),
    "global average": (layers.GlobalAvgPool(), [(2, 4, 5, 3)]),
    "flatten": (layers.Flatten(), [(2, 4, 5, 3)]),
    "grid": (token_layers.Grid(1, (2, 3)), [(2, 7, 4)]),
    "rejoined": (token_layers.Rejoined(1), [(2, 7, 4), (2, 2, 3, 4)]),
}


def differences(f, x, step=1e-6):
    """The central differences of a function to numbers."""
    g = np.zeros_like(x)
    for i in np.ndindex(x.shape):
        e = np.zeros_like(x)
        e[i] = step
        g[i] = (f(x + e) - f(x - e)) / (2 * step)
    return g


@pytest.mark.parametrize("name", OPS)
def test_vjp_is_the_finite_difference(name):
    op, shapes = OPS[name]
    xs = [normal(*shape) * (4 if name == "relu6" else 1) for shape in shapes]
    y = op.call(*xs)
    cotangent = normal(*y.shape)
    for i, g in enumerate(op.vjp(cotangent, y, *xs)):
        expected = differences(lambda v, i=i: (op.call(*xs[:i], v, *xs[i + 1 :]) * cotangent).sum(), xs[i])
        close(g, expected, atol=1e-7)


@pytest.mark.parametrize(("padding", "first"), [("valid", 0), ("same", -1)])
def test_convolution_is_its_sum(padding, first):
    x, kernel, bias = normal(1, 5, 6, 2), normal(3, 4, 2, 3), normal(3)
    y = layers.Conv(kernel, bias, padding=padding).call(x)
    assert y.shape == ((1, 3, 3, 3) if padding == "valid" else (1, 5, 6, 3))
    for i, j, c in np.ndindex(y.shape[1:]):
        expected = bias[c]
        for a, b, d in np.ndindex(kernel.shape[:3]):
            row, column = i + a + first, j + b + first  # "same" pads a window of 4 by 1 before and 2 after
            if 0 <= row < 5 and 0 <= column < 6:
                expected += x[0, row, column, d] * kernel[a, b, d, c]
        close(y[0, i, j, c], expected, atol=1e-12)


def test_pooling_by_hand():
    x = np.arange(9.0).reshape(1, 3, 3, 1)
    assert layers.MaxPool((2, 2)).call(x)[0, ..., 0].tolist() == [[4, 5], [7, 8]]
    assert layers.AvgPool((2, 2), strides=2, padding="same").call(x)[0, ..., 0].tolist() == [[2, 3.5], [6.5, 8]]
    tied = np.ones((1, 2, 2, 1))
    assert layers.MaxPool((2, 2)).vjp(np.ones((1, 1, 1, 1)), np.ones((1, 1, 1, 1)), tied)[0].ravel().tolist() == [
        1,
        0,
        0,
        0,
    ]


def small_net():
    """A branch, a residual, a layer used twice, and every kind of bias."""
    shared = layers.Conv(normal(3, 3, 4, 4), normal(4), padding="same")
    nodes = [
        ("conv", layers.Conv(normal(3, 3, 3, 4), normal(4), strides=2), ("input",)),
        ("norm", layers.batch_norm(normal(4), None, normal(4), abs(normal(4)), 1e-3), ("conv",)),
        ("relu", layers.Relu(), ("norm",)),
        ("twice", shared, ("relu",)),
        ("relu_1", layers.Relu(), ("twice",)),
        ("twice:1", shared, ("relu_1",)),
        ("add", layers.Add(), ("relu", "twice:1")),
        ("relu_2", layers.Relu(), ("add",)),
        ("concat", layers.Concat(), ("relu_2", "relu")),
        ("pool", layers.GlobalAvgPool(), ("concat",)),
        ("dense", layers.Dense(normal(8, 5), normal(5)), ("pool",)),
    ]
    return n.Net(tuple(n.Node(*node) for node in nodes), score="dense", signal="concat")


@pytest.mark.parametrize("name", ["input", "conv", "relu", "twice", "twice:1", "concat", "dense"])
def test_gradient_at_any_value(name):
    net, x, cotangent = small_net(), normal(2, 7, 8, 3), normal(2, 5)
    values = n.forward(net, x)
    g = n.gradient(net, values, cotangent, [name])[name]

    def shifted(e):
        return (n.forward(net, x, {name: e})["dense"] * cotangent).sum()

    expected = differences(shifted, np.zeros_like(values[name]))
    close(g, expected, atol=1e-6)


def test_contributions_add_up_to_the_scores():
    net, x = small_net(), normal(2, 7, 8, 3)
    parts = contributions(net, x, [[1, 3], [4, 0]])
    assert list(parts) == ["input", "conv", "norm", "twice", "twice:1", "dense"]
    expected = np.take_along_axis(n.forward(net, x)["dense"], np.array([[1, 3], [4, 0]]), 1)
    close(sum(parts.values()), expected, rtol=1e-12)


def test_units_can_be_chosen_in_four_ways():
    assert n.choose(None, 2, 3).tolist() == [[0, 1, 2], [0, 1, 2]]
    assert n.choose(2, 2, 3).tolist() == [[2], [2]]
    assert n.choose([0, 2], 2, 3).tolist() == [[0], [2]]
    assert n.choose([[0, 2], [1, 1]], 2, 3).tolist() == [[0, 2], [1, 1]]
