"""Slow twins of the metrics of confidence, for any NumPy function `logits(images) -> (N, U)`: one image at a time."""

import zlib

import numpy as np

from reference.metrics import fill_of, ordered, quantity, trapezoid, without


def seen(image, map_, baseline):
    """What a map shows of an image."""
    baseline, found = fill_of(image, baseline), np.zeros(image.shape)
    for p in np.ndindex(map_.shape):
        m = max(map_[p], 0) / map_.max()
        found[p] = image[p] * m + baseline[p] * (1 - m)
    return found


def seen_area(image, map_, baseline, area, ties):
    """The share `area` of an image's pixels, those with the largest values."""
    gone = ordered(map_, ties)[int(np.floor(area * map_.size + 0.5)) :]
    return without(image, gone, fill_of(image, baseline))


def drop_gain_increase(logits, image, unit, shown):
    whole, new = (quantity(logits, i, unit, "probability") for i in (image, shown))
    return max(whole - new, 0) / whole, max(new - whole, 0) / (1 - whole), float(new > whole * (1 + 1e-5))


def size(copy, image):
    low, high = float(image.min()), float(image.max())
    flat = []
    for row in copy:
        before = [0] * copy.shape[-1]
        for pixel in row:
            values = [min(max(int((float(v) - low) / (high - low) * 255 + 0.5), 0), 255) for v in pixel]
            flat += [(v - b) % 256 for v, b in zip(values, before, strict=True)]
            before = values
    return len(zlib.compress(bytes(flat), 9))


def pic(logits, image, unit, map_, thresholds, fill, ties, kind="probability"):
    order, filled = ordered(map_, ties), fill_of(image, fill)
    copies = [without(image, order[int(np.floor(q * map_.size + 0.5)) :], filled) for q in thresholds]
    low, high = size(filled, image), size(image, image)
    start, stop = (quantity(logits, i, unit, kind) for i in (filled, image))
    if start >= stop or low >= high:
        return float("nan")
    points = {0.0: [0.0], 1.0: [1.0]}
    for copy in copies:
        x, y = (size(copy, image) - low) / (high - low), (quantity(logits, copy, unit, kind) - start) / (stop - start)
        points.setdefault(min(max(x, 0.0), 1.0), []).append(min(max(y, 0.0), 1.0))
    at = sorted(points)
    return trapezoid([np.mean(points[x]) for x in at], at)
