"""The slow twins of the methods that collect gradients on a path: `methods.path`, `meta.integrate`, `vargrad`...

Nodes, weights and draws are given: `rows` of (t, weight), `noises`, or draws (t, origin, noise)."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from reference.gradient import gradients, reduce_channels
from reference.net import Maps, Net, forward, scores_of


def reduce_parts(parts: np.ndarray, reduce: str | None) -> np.ndarray:
    """(B, K, *S, C) to maps (B, *S, K): the sum over channels, signed or of absolute values."""
    if reduce is None:
        return parts
    return np.moveaxis((abs(parts) if reduce == "absolute" else parts).sum(axis=-1), 1, -1)


def plain(net: Net, x: np.ndarray, y: Any) -> np.ndarray:
    return scores_of(net, forward(net, x), y)


def input_x_gradient(net: Net, x: np.ndarray, y: Any = None, reduce: str | None = "sum") -> Maps:
    """Each value times its gradient."""
    scores, g = gradients(net, x, y, reduce=None)
    return scores, reduce_parts(x[:, None] * g, reduce)


def midpoints(n: int) -> list[tuple[float, float]]:
    return [((i + 0.5) / n, 1 / n) for i in range(n)]


def integrate(method: Callable, rows: Sequence[tuple[float, float]], baseline: Any = 0.0) -> Callable:
    """The weighted sum of a method's maps at places t between the baseline and the image."""

    def integrated(net: Net, x: np.ndarray, y: Any = None) -> Maps:
        return plain(net, x, y), sum(w * method(net, baseline + t * (x - baseline), y)[1] for t, w in rows)

    return integrated


def integrated_gradients(
    net: Net, x: np.ndarray, y: Any = None, rows: Any = (), baseline: Any = 0.0, reduce: str | None = "sum"
) -> Maps:
    """The way from the baseline times the mean gradient on it."""
    scores, g = integrate(lambda *args: gradients(*args, reduce=None), rows, baseline)(net, x, y)
    return scores, reduce_parts((x - baseline)[:, None] * g, reduce)


def expected_gradients(net: Net, x: np.ndarray, y: Any = None, draws: Any = (), reduce: str | None = "sum") -> Maps:
    """The mean over draws (t, origin, noise) of the way from the origin times the gradient at t."""
    parts = []
    for t, origin, noise in draws:
        way = x + noise - origin
        parts.append(way[:, None] * gradients(net, origin + t * way, y, reduce=None)[1])
    return plain(net, x, y), reduce_parts(np.mean(parts, axis=0), reduce)


gradient_shap = expected_gradients


def _noisy(net: Net, x: np.ndarray, y: Any, noises: Sequence[np.ndarray]) -> tuple:
    scores, g = zip(*(gradients(net, x + noise, y, reduce=None) for noise in noises), strict=True)
    return np.mean(scores, axis=0), np.array(g)


def vargrad(net: Net, x: np.ndarray, y: Any = None, noises: Any = (), reduce: str | None = "mean") -> Maps:
    """The variance of the gradients of noisy copies."""
    scores, g = _noisy(net, x, y, noises)
    return scores, reduce_channels(g.var(axis=0), reduce)


def squaregrad(net: Net, x: np.ndarray, y: Any = None, noises: Any = (), reduce: str | None = "mean") -> Maps:
    """The mean of the squared gradients of noisy copies."""
    scores, g = _noisy(net, x, y, noises)
    return scores, reduce_channels((g**2).mean(axis=0), reduce)


def ensemble(parts: Sequence[np.ndarray]) -> np.ndarray:
    """The mean of maps (B, *S, K), each scaled to 0 to 1 over space."""
    space = tuple(range(1, parts[0].ndim - 1))
    scaled = [m - m.min(axis=space, keepdims=True) for m in parts]
    return np.mean([m / m.max(axis=space, keepdims=True) for m in scaled], axis=0)
