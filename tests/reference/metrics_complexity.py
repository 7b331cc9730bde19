"""Slow twins of the metrics of complexity, of one map (*S) at a time."""

import math

import numpy as np


def entropy(map_):
    values = [abs(float(v)) for v in map_.ravel()]
    shares = [v / sum(values) for v in values]
    return -sum(p * math.log(p) for p in shares if p > 0) / math.log(len(values))


def gini(map_):
    """Half of the mean difference of two pixels, relative to the mean."""
    values = [abs(float(v)) for v in map_.ravel()]
    differences = [abs(a - b) for a in values for b in values]
    return np.mean(differences) / (2 * np.mean(values))


def effective_complexity(map_, share):
    values = sorted((abs(float(v)) for v in map_.ravel()), reverse=True)
    return next(n for n in range(1, len(values) + 1) if sum(values[:n]) >= share * sum(values))


def sobel(image):
    """Of an image (H, W, C), by its two kernels."""
    kernel = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    height, width = image.shape[:2]
    found = np.zeros((height, width))
    for i in range(height):
        for j in range(width):
            for c in range(image.shape[2]):
                for k in (kernel, kernel.T):
                    total = 0.0
                    for di in range(3):
                        for dj in range(3):
                            at = min(max(i + di - 1, 0), height - 1), min(max(j + dj - 1, 0), width - 1)
                            total += k[di, dj] * float(image[(*at, c)])
                    found[i, j] += total**2
    return np.sqrt(found)


def ranks(values):
    return [np.mean([i for i, w in enumerate(sorted(values)) if w == v]) for v in values]


def spearman(a, b):
    return np.corrcoef(ranks(a), ranks(b))[0, 1]
