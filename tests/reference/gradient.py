"""The slow twin of `keras_explainable.methods.gradient.gradients`."""

from typing import Any

import numpy as np

from reference.net import Maps, Net, jacobian


def reduce_channels(g: np.ndarray, reduce: str | None) -> np.ndarray:
    """Gradients (B, K, *S, C) to maps (B, *S, K), of |g| over channels; None leaves them as they are."""
    if reduce is None:
        return g
    over = {"mean": np.mean, "max": np.max, "sum": np.sum}[reduce]
    return np.moveaxis(over(abs(g), axis=-1), 1, -1)


def gradients(net: Net, x: np.ndarray, y: Any = None, reduce: str | None = "mean") -> Maps:
    """Scores (B, K) and how strongly each pixel moves them."""
    scores, _, g = jacobian(net, x, y, ["input"])
    return scores, reduce_channels(g["input"], reduce)
