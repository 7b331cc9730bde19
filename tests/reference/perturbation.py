"""The slow twins of `methods.perturbation`, `surrogate` and `sensitivity`: one mask after another, from definitions.

Random masks are given: `seen` and `shifts`, or coalitions `z` of segments; `labels` (*S) number the segments."""

import itertools
import math
from typing import Any

import numpy as np

from reference.net import Maps, Net, forward, scores_of
from reference.resize import bilinear


def _score(net: Net, x: np.ndarray, y: Any, mask: np.ndarray, baseline: Any = 0.0) -> np.ndarray:
    """The scores (B, K) of images seen through a mask (*S), before a baseline, or filled by a function of both."""
    seen = mask[..., None]
    copies = baseline(x, mask) if callable(baseline) else x * seen + baseline * (1 - seen)
    return scores_of(net, forward(net, copies), y)


def _plain(net: Net, x: np.ndarray, y: Any) -> np.ndarray:
    return scores_of(net, forward(net, x), y)


def windows(size: tuple, patch: tuple, stride: tuple) -> list[tuple]:
    """The slices under a window that moves by strides until the image is covered."""
    axes = []
    for n, p, s in zip(size, patch, stride, strict=True):
        starts = [0]
        while starts[-1] + p < n:
            starts.append(starts[-1] + s)
        axes.append([slice(start, start + p) for start in starts])
    return list(itertools.product(*axes))


def occlusion(
    net: Net, x: np.ndarray, y: Any = None, patch: tuple = (), stride: tuple = (), baseline: Any = 0.0
) -> Maps:
    """The mean fall of the score over the windows that cover a pixel."""
    size, scores = x.shape[1:-1], _plain(net, x, y)
    maps, count = np.zeros((len(x), *size, scores.shape[1])), np.zeros(size)
    for window in windows(size, patch, stride):
        mask = np.ones(size)
        mask[window] = 0
        maps[(slice(None), *window)] += (scores - _score(net, x, y, mask, baseline))[
            (slice(None), *(None,) * len(size))
        ]
        count[window] += 1
    return scores, maps / count[..., None]


def rise_masks(seen: np.ndarray, shifts: np.ndarray, size: tuple) -> np.ndarray:
    """Grids (M, *g) resized to g + 1 cells of pixels, and cut to the image after a shift."""
    masks = []
    for cells, shift in zip(seen, shifts.astype(int), strict=True):
        pixels = [math.ceil(n / g) for n, g in zip(size, cells.shape, strict=True)]
        whole = bilinear(cells[None, ..., None], [(g + 1) * c for g, c in zip(cells.shape, pixels, strict=True)])
        masks.append(whole[0, ..., 0][tuple(slice(s, s + n) for s, n in zip(shift, size, strict=True))])
    return np.array(masks)


def rise(net: Net, x: np.ndarray, y: Any = None, seen: Any = None, shifts: Any = None, baseline: Any = 0.0) -> Maps:
    """The mean score over masks, weighted by how much of a pixel they show."""
    masks = rise_masks(seen, shifts, x.shape[1:-1])
    total = sum(np.multiply.outer(_score(net, x, y, m, baseline), m) for m in masks) / masks.sum(0)  # (B, K, *S)
    return _plain(net, x, y), np.moveaxis(total, 1, -1)


def _evaluations(net: Net, x: np.ndarray, y: Any, labels: np.ndarray, z: np.ndarray, baseline: Any) -> np.ndarray:
    """The scores (M, B, K) of images whose segments are seen as z (M, n) says."""
    return np.array([_score(net, x, y, np.asarray(row)[labels], baseline) for row in z])


def _spread(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Values (n, B, K) of segments, as maps (B, *S, K)."""
    return np.moveaxis(values[labels], labels.ndim, 0)


def lime(
    net: Net,
    x: np.ndarray,
    y: Any = None,
    labels: Any = None,
    z: Any = None,
    width: float = 0.25,
    ridge: float = 1.0,
    baseline: Any = 0.0,
) -> Maps:
    """Ridge regression on which segments are seen: ordinary least squares with a row for each penalised weight."""
    f = _evaluations(net, x, y, labels, z, baseline)
    distance = [
        1 - row.sum() / max(np.linalg.norm(row) * np.sqrt(len(row)), 1e-12) for row in z
    ]  # 1 where none is seen
    root = np.exp(-(np.array(distance) ** 2) / (4 * width**2))[:, None]
    penalty = np.sqrt(ridge) * np.eye(z.shape[1], z.shape[1] + 1)
    rows = np.concatenate([root * np.concatenate([z, np.ones((len(z), 1))], axis=1), penalty])
    targets = np.concatenate([root * f.reshape(len(z), -1), np.zeros((z.shape[1], f[0].size))])
    weights = np.linalg.lstsq(rows, targets, rcond=None)[0][:-1]
    return _plain(net, x, y), _spread(weights.reshape(-1, *f.shape[1:]), labels)


def shapley(value: dict, n: int) -> np.ndarray:
    """Shapley values from the value of every coalition, a set of players 0..n-1."""
    phi = []
    for i in range(n):
        others = [p for p in range(n) if p != i]
        phi.append(
            sum(
                math.factorial(size)
                * math.factorial(n - size - 1)
                / math.factorial(n)
                * (value[frozenset(s) | {i}] - value[frozenset(s)])
                for size in range(n)
                for s in itertools.combinations(others, size)
            )
        )
    return np.array(phi)


def kernel_shap(net: Net, x: np.ndarray, y: Any = None, labels: Any = None, baseline: Any = 0.0) -> Maps:
    """The Shapley values of the segments, from all coalitions."""
    n = int(labels.max()) + 1
    value = {}
    for z in itertools.product([0, 1], repeat=n):
        value[frozenset(np.flatnonzero(z))] = _score(net, x, y, np.array(z)[labels], baseline)
    return _plain(net, x, y), _spread(shapley(value, n), labels)


def sobol(
    net: Net, x: np.ndarray, y: Any = None, labels: Any = None, a: Any = None, b: Any = None, baseline: Any = 0.0
) -> Maps:
    """Jansen's total-order indices: what changing one segment's visibility does, over the variance of all scores."""
    parts, every = [], []
    for row, other in zip(np.asarray(a, "float64"), np.asarray(b, "float64"), strict=True):
        base = _evaluations(net, x, y, labels, row[None], baseline)
        swapped = [np.where(np.arange(len(row)) == j, other, row) for j in range(len(row))]
        f = _evaluations(net, x, y, labels, np.array(swapped), baseline)
        parts.append((f - base) ** 2 / 2)
        every += [base, f]
    return _plain(net, x, y), _spread(np.mean(parts, axis=0) / np.var(np.concatenate(every), axis=0), labels)


def hsic(net: Net, x: np.ndarray, y: Any = None, labels: Any = None, z: Any = None, baseline: Any = 0.0) -> Maps:
    """tr(K H L H) / (n - 1)^2 of each segment's visibility and the score."""
    f = _evaluations(net, x, y, labels, z, baseline)
    m = len(f)
    centre = np.eye(m) - 1 / m
    values = np.zeros((z.shape[1], *f.shape[1:]))
    for j, b, k in np.ndindex(values.shape):
        same = (z[:, None, j] == z[None, :, j]).astype("float64")
        near = np.exp(-((f[:, None, b, k] - f[None, :, b, k]) ** 2) / (2 * f[:, b, k].var()))
        values[j, b, k] = np.trace(same @ centre @ near @ centre) / (m - 1) ** 2
    return _plain(net, x, y), _spread(values, labels)
