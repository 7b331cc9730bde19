"""The slow twins of `keras_explainable.methods.attention`: whole products of matrices, one sample and unit at a time."""

from collections.abc import Callable
from typing import Any

import numpy as np

from reference.net import Maps, Net, forward, jacobian, scores_of

GRID, PREFIX = (5, 6), 1  # of `models.transformer`


def _points(net: Net) -> list[str]:
    return [node.name for node in net.nodes if node.name.endswith("@attention")]


def _grid(product: np.ndarray) -> np.ndarray:
    """The class token's row, less what it says of the class token."""
    return product[0, PREFIX:].reshape(GRID)


def _rollout(matrix: np.ndarray, discard: float) -> np.ndarray:
    """(M + I) / 2 with rows of the sum 1, the smallest numbers of M left out."""
    matrix = matrix.copy()
    matrix[matrix < np.sort(matrix, axis=None)[int(discard * matrix.size)]] = 0
    mixed = matrix / 2 + np.eye(len(matrix)) / 2
    return mixed / mixed.sum(axis=1)[:, None]


def attention_rollout(net: Net, x: np.ndarray, y: Any = None, fusion: str = "mean", discard: float = 0.0) -> Maps:
    """Fused probabilities and the identity, half and half, multiplied through the layers."""
    values, fuse = forward(net, x), {"mean": np.mean, "max": np.max, "min": np.min}[fusion]
    scores = scores_of(net, values, y)
    maps = np.zeros((len(x), *GRID, scores.shape[1]))
    for b in range(len(x)):
        product = np.eye(np.prod(GRID) + PREFIX)
        for name in _points(net):
            product = _rollout(fuse(values[name][b], axis=0), discard) @ product
        maps[b] = _grid(product)[..., None]
    return scores, maps


def _gradient_weighted(net: Net, x: np.ndarray, y: Any, weigh: Callable) -> Maps:
    """The product over the layers of weigh(A o gradient), A and the gradient (heads, T, T)."""
    scores, values, g = jacobian(net, x, y, _points(net))
    maps = np.zeros((len(x), *GRID, scores.shape[1]))
    for b in range(len(x)):
        for k in range(scores.shape[1]):
            product = np.eye(np.prod(GRID) + PREFIX)
            for name in _points(net):
                product = weigh(values[name][b] * g[name][b, k]) @ product
            maps[b, ..., k] = _grid(product)
    return scores, maps


def gradient_attention_rollout(net: Net, x: np.ndarray, y: Any = None, discard: float = 0.0) -> Maps:
    """As the rollout, with relu of the mean over heads of A o gradient in the place of the probabilities."""
    return _gradient_weighted(net, x, y, lambda w: _rollout(np.maximum(w.mean(axis=0), 0), discard))


def attention_relevance(net: Net, x: np.ndarray, y: Any = None) -> Maps:
    """R <- R + mean over heads of relu(A o gradient) R."""
    return _gradient_weighted(net, x, y, lambda w: np.eye(w.shape[-1]) + np.maximum(w, 0).mean(axis=0))
