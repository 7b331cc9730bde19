"""The slow twins of the methods on curved paths and of regions: one image, unit, value and segment after another."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from reference.gradient import gradients
from reference.integrated_gradients import plain, reduce_parts
from reference.net import Maps, Net, choose


def blurred(x: np.ndarray, sigma: float) -> np.ndarray:
    """Each pixel of x (B, *S, C) as the mean of a line of pixels, by Gaussian weights; axis after axis."""
    for axis in range(1, x.ndim - 1):
        lines = []
        for i in range(x.shape[axis]):
            weights = np.array([np.exp(-((i - j) ** 2) / (2 * sigma**2)) for j in range(x.shape[axis])])
            lines.append(np.tensordot(weights / weights.sum(), x, (0, axis)))
        x = np.stack(lines, axis)
    return x


def blur_ig(net: Net, x: np.ndarray, y: Any = None, rows: Any = (), reduce: str | None = "sum") -> Maps:
    """Minus the sum over (sigma, weight) of the gradient times how the blurred image changes with sigma."""
    total = 0.0
    for sigma, weight in rows:
        d = 1e-4 * sigma
        change = (blurred(x, sigma + d) - blurred(x, sigma - d)) / (2 * d)
        total = total - weight * change[:, None] * gradients(net, blurred(x, sigma), y, reduce=None)[1]
    return plain(net, x, y), reduce_parts(total, reduce)


def guided_path(gradient: Any, x: np.ndarray, start: np.ndarray, n: int, fraction: float, distance: float) -> tuple:
    """The parts of x's values, and all images on the path; in each step groups are moved until the goal is reached,
    and equal gradients move together."""
    seen, parts, path = start.copy(), np.zeros_like(x), [start.copy()]
    way, together = abs(x - start).sum(), int((x.size - 1) * fraction) + 1
    for step in range(n):
        g, before, along = gradient(seen), seen.copy(), (step + 1) / n
        least, most = (start + min(max(along + d, 0), 1) * (x - start) for d in (-distance, distance))
        behind = (least - seen) * np.sign(x - start) > 0
        seen[behind] = least[behind]
        free = np.flatnonzero((most - seen) * np.sign(x - start) > 0)
        share = 1.0
        while len(free) and share == 1:
            gap = abs(x - seen).sum() - (1 - along) * way
            sizes = abs(g).flat[free]
            limit = np.sort(sizes)[:together][-1]
            group, free = free[sizes <= limit], free[sizes > limit]
            room = abs(most - seen).flat[group]
            share = min(max(gap / room.sum(), 0.0), 1.0)
            seen.flat[group] = most.flat[group] - (1 - share) * (most - seen).flat[group]
        parts += (seen - before) * g
        path.append(seen.copy())
    return parts, path


def guided_ig(
    net: Net,
    x: np.ndarray,
    y: Any = None,
    n: int = 5,
    fraction: float = 0.25,
    distance: float = 0.02,
    baseline: Any = 0.0,
    reduce: str | None = "sum",
) -> Maps:
    """Gradients along a path of each image and unit's own."""
    scores = plain(net, x, y)
    units = choose(y, *plain(net, x, None).shape)
    parts = np.zeros((*scores.shape, *x.shape[1:]))
    for b, k in np.ndindex(scores.shape):
        start = np.broadcast_to(np.asarray(baseline, "float64"), x[b].shape).copy()
        parts[b, k] = guided_path(
            lambda v, unit=units[b, k]: gradients(net, v[None], int(unit), reduce=None)[1][0, 0],
            x[b],
            start,
            n,
            fraction,
            distance,
        )[0]
    return scores, reduce_parts(parts, reduce)


def ranked(attribution: np.ndarray, masks: Sequence[np.ndarray], least: int = 1) -> np.ndarray:
    """Regions (*S) taken in the order of the mean attribution of what they add; what none of them holds comes last."""
    taken, found, waiting = np.zeros(attribution.shape, bool), np.zeros(attribution.shape), list(masks)
    while True:
        waiting = [m for m in waiting if (m & ~taken).sum() >= least]
        if not waiting:
            break
        gains = [attribution[m & ~taken].mean() for m in waiting]
        best = waiting.pop(int(np.argmax(gains)))
        found[best & ~taken] = max(gains)
        taken |= best
    if not taken.all():
        found[~taken] = attribution[~taken].mean()
    return found


def xrai(scores: np.ndarray, attributions: np.ndarray, masks: Sequence, least: int = 1) -> Maps:
    """Attributions (B, *S, K) of an image's pixels as those of its regions."""
    maps = np.zeros(attributions.shape)
    for b, k in np.ndindex(scores.shape):
        maps[b, ..., k] = ranked(attributions[b, ..., k], masks[b], least)
    return scores, maps
