"""The slow twins of `keras_explainable.methods.propagation`: one node of the net after another, backwards."""

from typing import Any

import numpy as np

from reference.gradient import reduce_channels
from reference.net import Maps, Net, Relu, Relu6, choose, forward, scores_of


def backwards(net: Net, values: dict, start: np.ndarray, rule: Any) -> np.ndarray:
    """What arrives at the input of `start` (B, units) at the score, by `rule(node, g, y, xs) -> one for each x`."""
    found = {name: np.zeros_like(value) for name, value in values.items()}
    found[net.score] = found[net.score] + start
    for node in reversed(net.nodes):
        xs = [values[i] for i in node.inputs]
        for i, g in zip(node.inputs, rule(node, found[node.name], values[node.name], xs), strict=True):
            found[i] = found[i] + g
    return found


def units(net: Net, values: dict, y: Any) -> list[np.ndarray]:
    """One-hot (B, units) starts, one for each explained unit."""
    batch, count = values[net.score].shape
    return [np.eye(count)[chosen] for chosen in choose(y, batch, count).T]


def _gradients(net: Net, x: np.ndarray, y: Any, reduce: str | None, rule: Any) -> Maps:
    values = forward(net, x)
    g = np.stack([backwards(net, values, start, rule)["input"] for start in units(net, values, y)], axis=1)
    return scores_of(net, values, y), reduce_channels(g, reduce)


def guided_backprop(net: Net, x: np.ndarray, y: Any = None, reduce: str | None = "mean") -> Maps:
    """Gradients that pass ReLUs only where they are positive."""

    def rule(node, g, y, xs):
        return node.op.vjp(np.maximum(g, 0) if isinstance(node.op, (Relu, Relu6)) else g, y, *xs)

    return _gradients(net, x, y, reduce, rule)


def deconvnet(net: Net, x: np.ndarray, y: Any = None, reduce: str | None = "mean") -> Maps:
    """What is sent back is rectified at each ReLU, whether that was on or off."""

    def rule(node, g, y, xs):
        return (np.maximum(g, 0),) if isinstance(node.op, (Relu, Relu6)) else node.op.vjp(g, y, *xs)

    return _gradients(net, x, y, reduce, rule)
