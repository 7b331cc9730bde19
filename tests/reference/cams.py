"""The slow twins of `keras_explainable.methods.cams`: one sample, unit and channel after another."""

from collections.abc import Callable
from typing import Any

import numpy as np

from reference.filters import normalize
from reference.net import Dense, Maps, Net, choose, forward, jacobian, scores_of
from reference.resize import bilinear


def _weighted(a: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """maps[b, ..., k] = sum over c of weights[b, k, c] a[b, ..., c]."""
    batch, units, channels = weights.shape
    maps = np.zeros((*a.shape[:-1], units))
    for b in range(batch):
        for k in range(units):
            for c in range(channels):
                maps[b, ..., k] += weights[b, k, c] * a[b, ..., c]
    return maps


def cam(net: Net, x: np.ndarray, y: Any = None, layer: str | None = None) -> Maps:
    """The signal's channels, weighted by the last Dense layer's kernel, or the unit's own channel without one."""
    values = forward(net, x)
    head = net.op(net.score)
    kernel = head.kernel if isinstance(head, Dense) else np.eye(values[net.score].shape[-1])
    chosen = choose(y, *values[net.score].shape)
    return scores_of(net, values, y), _weighted(values[layer or net.signal], kernel.T[chosen])


def _gradient_weighted(net: Net, x: np.ndarray, y: Any, layer: str | None, weight: Callable) -> Maps:
    layer = layer or net.signal
    scores, values, g = jacobian(net, x, y, [layer])
    a, g = values[layer], g[layer]
    batch, units, channels = g.shape[0], g.shape[1], g.shape[-1]
    weights = np.zeros((batch, units, channels))
    for b in range(batch):
        for k in range(units):
            for c in range(channels):
                weights[b, k, c] = weight(a[b, ..., c], g[b, k, ..., c])
    return scores, _weighted(a, weights)


def gradcam(net: Net, x: np.ndarray, y: Any = None, layer: str | None = None) -> Maps:
    """The signal's channels, weighted by the mean over space of the gradient there; no ReLU."""
    return _gradient_weighted(net, x, y, layer, lambda a, g: g.mean())


def _share(a: np.ndarray, g: np.ndarray) -> float:
    """sum over space of alpha relu(g), alpha = g^2 / (2 g^2 + g^3 sum(a)), 0 where that is undefined."""
    total = 0.0
    for gradient in g.flat:
        below = 2 * gradient**2 + a.sum() * gradient**3
        if below != 0:
            total += gradient**2 / below * max(gradient, 0.0)
    return total


def gradcampp(net: Net, x: np.ndarray, y: Any = None, layer: str | None = None) -> Maps:
    """The signal's channels, weighted by their positive gradients, each place by its share; no ReLU of the map."""
    return _gradient_weighted(net, x, y, layer, _share)


def scorecam(net: Net, x: np.ndarray, y: Any = None, layer: str | None = None, baseline: float = 0.0) -> Maps:
    """The signal's channels, weighted by the softmax over them of f(seen through it) - f(baseline); no ReLU."""
    values = forward(net, x)
    a = values[layer or net.signal]
    masks = normalize(bilinear(a, x.shape[1:-1]))
    background = scores_of(net, forward(net, np.full_like(x, baseline, dtype="float64")), y)
    gains = []
    for c in range(a.shape[-1]):
        masked = baseline + (x - baseline) * masks[..., c : c + 1]
        gains.append(scores_of(net, forward(net, masked), y) - background)
    e = np.exp(np.array(gains) - np.max(gains, axis=0))
    return scores_of(net, values, y), _weighted(a, np.moveaxis(e / e.sum(0), 0, -1))
