"""The order of pixels by a map."""

import numpy as np

from keras_explainable.numerics import random


def order(maps: np.ndarray, seed: int = 0) -> np.ndarray:
    """The rank of each pixel in each map: 0 for the largest value, up to P - 1.

    Equal values are ordered by a hash of the seed and the pixel, the same for all maps. If they kept
    the order in which pixels are stored, a constant map would become a raster scan.

    Args:
        maps: (B, *S, K).

    Returns:
        Integers (B, *S, K).
    """
    batch, *size, units = maps.shape
    values = np.moveaxis(maps, -1, 1).reshape(batch * units, -1)
    ties = random.on_host((values.shape[1],), seed, 0, 7)
    shuffled = np.argsort(ties, kind="stable")
    # A stable sort keeps the shuffled order where values are equal.
    places = shuffled[np.argsort(-values[:, shuffled], axis=1, kind="stable")]
    ranks = np.empty_like(places)
    np.put_along_axis(ranks, places, np.arange(values.shape[1])[None], axis=1)
    return np.moveaxis(ranks.reshape(batch, units, *size), 1, -1)


def removed(count: int, shares: np.ndarray) -> np.ndarray:
    """The number of pixels, of `count`, that each share stands for."""
    return np.floor(np.asarray(shares) * count + 0.5).astype("int32")
