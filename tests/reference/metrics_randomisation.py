"""Slow twins of the metrics of randomisation: weights of layers as lists of arrays, from the input to the output."""

import numpy as np

from reference.metrics import ranks


def permuted(array, uniform):
    """The elements of an array in the order of uniform numbers."""
    flat, order = array.ravel(), sorted(range(array.size), key=lambda i: (uniform[i], i))
    return np.array([flat[i] for i in order]).reshape(array.shape)


def stages(layers, random, number):
    """The weights of each stage: random ones in the last layers, a share of `number` of them more at each."""
    found = []
    for stage in range(1, number + 1):
        last = int(np.ceil(len(layers) * stage / number))
        found.append(layers[: len(layers) - last] + random[len(layers) - last :])
    return found


def correlation(a, b):
    """Spearman's correlation of two maps."""
    return np.corrcoef(ranks(np.ravel(a)), ranks(np.ravel(b)))[0, 1]


def entropy(map_, bins):
    """The entropy of a map's values in bins of equal width."""
    low, high, counts = map_.min(), map_.max(), np.zeros(bins)
    for value in map_.ravel().astype("float64"):
        counts[min(int((value - low) / (high - low) * bins), bins - 1)] += 1
    shares = [c / counts.sum() for c in counts if c]
    return -sum(p * np.log(p) for p in shares)
