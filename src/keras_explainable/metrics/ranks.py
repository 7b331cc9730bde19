"""Correlations of values along the last axis."""

import numpy as np


def pearson(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Pearson's correlation of a and b along their last axis. NaN if one of them is constant."""
    a, b = (v - v.mean(axis=-1, keepdims=True) for v in (np.asarray(a, "float64"), np.asarray(b, "float64")))
    norm = np.sqrt((a * a).sum(axis=-1) * (b * b).sum(axis=-1))
    # Sums that differ by rounding alone are the same.
    return np.where(norm > 0, (a * b).sum(axis=-1) / np.where(norm > 0, norm, 1), np.nan)


def residual(values: np.ndarray, of: np.ndarray) -> np.ndarray:
    """What a linear regression on `of` (M,) leaves of values (..., M). 0 where only rounding is left."""
    centred, along = values - values.mean(axis=-1, keepdims=True), of - of.mean()
    norm = (along**2).sum()
    left = centred - (centred @ along / norm if norm else np.zeros(centred.shape[:-1]))[..., None] * along
    size = np.abs(values).max(axis=-1, keepdims=True)
    return np.where(np.abs(left).max(axis=-1, keepdims=True) > 1e-6 * size, left, 0)


def spearman(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Spearman's correlation of a and b along their last axis: Pearson's of their ranks. Equal values share a rank."""
    return pearson(average_ranks(a), average_ranks(b))


def average_ranks(values: np.ndarray) -> np.ndarray:
    """The ranks of values along the last axis, from 0. Equal values have the mean of their ranks."""
    first, last = rank_range(values)
    return (first + last) / 2


def rank_range(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The least and the largest rank along the last axis, from 0, that each value and those equal to it have."""
    flat = np.asarray(values).reshape(-1, np.shape(values)[-1])
    number = flat.shape[1]
    order = np.argsort(flat, axis=1, kind="stable")
    along = np.take_along_axis(flat, order, axis=1)
    new = np.concatenate([np.ones((len(flat), 1), bool), along[:, 1:] != along[:, :-1]], axis=1)
    places = np.broadcast_to(np.arange(number), flat.shape)
    first = np.maximum.accumulate(np.where(new, places, 0), axis=1)
    ends = np.concatenate([new[:, 1:], np.ones((len(flat), 1), bool)], axis=1)
    last = np.minimum.accumulate(np.where(ends, places, number)[:, ::-1], axis=1)[:, ::-1]
    found = np.empty((2, *flat.shape), "int64")
    for ranks, sorted_ranks in zip(found, (first, last), strict=True):
        np.put_along_axis(ranks, order, sorted_ranks, axis=1)
    return found[0].reshape(np.shape(values)), found[1].reshape(np.shape(values))
