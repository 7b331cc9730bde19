"""The slow twins of `keras_explainable.methods.cams.gradcam`: one sample, unit and channel after another."""

from collections.abc import Callable
from typing import Any

import numpy as np

from reference.filters import normalize
from reference.layers import Dense
from reference.net import Maps, Net, choose, forward, jacobian, scores_of
from reference.propagation import guided_backprop
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


def scorecam(
    net: Net, x: np.ndarray, y: Any = None, layer: str | None = None, baseline: float = 0.0, max_channels: Any = None
) -> Maps:
    """The signal's channels, weighted by the softmax over them of f(seen through it) - f(baseline); no ReLU. With
    `max_channels` an image has only that many channels, those with the largest mean square."""
    values = forward(net, x)
    a = values[layer or net.signal]
    energy = (a**2).reshape(len(a), -1, a.shape[-1]).mean(1)
    order = np.argsort(-energy, axis=-1)[:, :max_channels] if max_channels else np.tile(range(a.shape[-1]), (len(a), 1))
    a = np.stack([image[..., channels] for image, channels in zip(a, order, strict=True)])
    masks = normalize(bilinear(a, x.shape[1:-1]))
    background = scores_of(net, forward(net, np.full_like(x, baseline, dtype="float64")), y)
    gains = []
    for c in range(a.shape[-1]):
        masked = baseline + (x - baseline) * masks[..., c : c + 1]
        gains.append(scores_of(net, forward(net, masked), y) - background)
    e = np.exp(np.array(gains) - np.max(gains, axis=0))
    return scores_of(net, values, y), _weighted(a, np.moveaxis(e / e.sum(0), 0, -1))


def _placewise(net: Net, x: np.ndarray, y: Any, layer: str | None, product: Callable) -> Maps:
    """maps[b, ..., k] = sum over c of product(a, g)."""
    layer = layer or net.signal
    scores, values, g = jacobian(net, x, y, [layer])
    maps = [product(values[layer], g[layer][:, k]).sum(-1) for k in range(scores.shape[1])]
    return scores, np.stack(maps, axis=-1)


def hirescam(net: Net, x: np.ndarray, y: Any = None, layer: str | None = None) -> Maps:
    """Gradient times signal, summed over channels."""
    return _placewise(net, x, y, layer, lambda a, g: g * a)


def layercam(net: Net, x: np.ndarray, y: Any = None, layer: str | None = None, layers: list[str] | None = None) -> Maps:
    """Positive gradient times signal, summed over channels; of several layers the maximum of their positive maps, each
    over its maximum and at the largest size."""
    found = [_placewise(net, x, y, one, lambda a, g: np.maximum(g, 0) * a) for one in layers or [layer]]
    if layers is None:
        return found[0]
    size = np.max([maps.shape[1:-1] for _, maps in found], axis=0)
    fused = []
    for _, maps in found:
        positive = np.maximum(maps, 0)
        for b in range(positive.shape[0]):
            for k in range(positive.shape[-1]):
                high = positive[b, ..., k].max()
                positive[b, ..., k] /= high if high > 0 else 1
        fused.append(bilinear(positive, size))
    return found[0][0], np.max(fused, axis=0)


def _mean_where_active(a: np.ndarray, g: np.ndarray) -> float:
    return (a * g).sum() / a.sum() if abs(a.sum()) > 1e-6 * abs(a).sum() else 0.0


def xgradcam(net: Net, x: np.ndarray, y: Any = None, layer: str | None = None) -> Maps:
    """The signal's channels, weighted by the mean of the gradient, in which each place counts as much as its value."""
    return _gradient_weighted(net, x, y, layer, _mean_where_active)


def finercam(net: Net, x: np.ndarray, y: Any = None, layer: str | None = None, others: Any = 3, gamma=0.6) -> Maps:
    """Grad-CAM of a unit less gamma times the mean of that of the others: those given, or the nearest in score;
    never of the unit itself."""
    scores, values, _ = jacobian(net, x, y, [])
    every = gradcam(net, x, None, layer)[1]
    chosen, maps = choose(y, *values[net.score].shape), []
    for b, row in enumerate(values[net.score]):
        for k in chosen[b]:
            near = sorted((abs(row[o] - row[k]), o) for o in range(len(row)) if o != k)
            compared = [o for _, o in near[:others]] if isinstance(others, int) else [o for o in others if o != k]
            theirs = [every[b, ..., o] for o in compared] or [np.zeros(every.shape[1:-1])]
            maps.append(every[b, ..., k] - gamma * np.mean(theirs, axis=0))
    return scores, np.moveaxis(np.reshape(maps, (*chosen.shape, *every.shape[1:-1])), 1, -1)


def ablationcam(net: Net, x: np.ndarray, y: Any = None, layer: str | None = None) -> Maps:
    """The signal's channels, weighted by the part of the score that is lost when one is set to zero."""
    layer = layer or net.signal
    values = forward(net, x)
    a, scores = values[layer], scores_of(net, values, y)
    weights = np.zeros((*scores.shape, a.shape[-1]))
    for c in range(a.shape[-1]):
        less = np.where(np.arange(a.shape[-1]) == c, -a, 0)
        weights[..., c] = (scores - scores_of(net, forward(net, x, {layer: less}), y)) / abs(scores)
    return scores, _weighted(a, weights)


def guided_gradcam(net: Net, x: np.ndarray, y: Any = None, layer: str | None = None) -> Maps:
    """What guided backpropagation finds, times where Grad-CAM looks."""
    scores, coarse = gradcam(net, x, y, layer)
    return scores, guided_backprop(net, x, y)[1] * bilinear(np.maximum(coarse, 0), x.shape[1:-1])
