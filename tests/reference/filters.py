"""The slow twins of `keras_explainable.filters`, on maps (B, H, W, K): one map after another."""

import numpy as np


def normalize(x: np.ndarray) -> np.ndarray:
    """Each map to [0, 1]; a constant one to zeros."""
    y = np.zeros(x.shape, "float64")
    for b in range(x.shape[0]):
        for k in range(x.shape[-1]):
            m = np.asarray(x[b, ..., k], "float64")
            if m.max() > m.min():
                y[b, ..., k] = (m - m.min()) / (m.max() - m.min())
    return y


def positive(x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, x, 0)


def negative(x: np.ndarray) -> np.ndarray:
    return np.where(x < 0, -x, 0)


def absolute(x: np.ndarray) -> np.ndarray:
    return np.where(x < 0, -x, x)


def positive_normalize(x: np.ndarray) -> np.ndarray:
    return normalize(positive(x))


def negative_normalize(x: np.ndarray) -> np.ndarray:
    return normalize(negative(x))


def absolute_normalize(x: np.ndarray) -> np.ndarray:
    return normalize(absolute(x))
