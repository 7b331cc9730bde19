"""The slow twin of `keras_explainable.numerics.resize`: one output pixel after another."""

import math
from collections.abc import Sequence

import numpy as np


def source(i: int, old: int, new: int, align_corners: bool) -> float:
    """Where in `old` pixels the i-th of `new` pixels lies: with aligned corners, the centres of the first and last
    pixels coincide; else the pixels' outer edges do (half-pixel centres), and the border is repeated."""
    if align_corners:
        return i * (old - 1) / (new - 1) if new > 1 else 0.0
    return min(max((i + 0.5) * old / new - 0.5, 0.0), old - 1.0)


def bilinear(v: np.ndarray, size: Sequence[int], align_corners: bool = False) -> np.ndarray:
    """v (B, *S, C) at another spatial size, linear along each axis, without smoothing before shrinking."""
    v = np.asarray(v, "float64")
    for axis, new in enumerate(size, start=1):
        old, rows = v.shape[axis], []
        for i in range(new):
            s = source(i, old, new, align_corners)
            low = math.floor(s)
            high, w = min(low + 1, old - 1), s - low
            rows.append((1 - w) * v.take(low, axis) + w * v.take(high, axis))
        v = np.stack(rows, axis)
    return v
