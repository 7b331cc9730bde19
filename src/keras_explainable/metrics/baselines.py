"""Maps that know nothing of the model: a method that is not better than all of them says nothing about it."""

from collections.abc import Callable

import numpy as np

from keras_explainable.metrics.case import Case
from keras_explainable.metrics.complexity import edges
from keras_explainable.metrics.counterfactual import effects
from keras_explainable.numerics import random

# Each is a function of images (N, *S, C), the number of units K, the number `first` of the first image, and a seed, and
# returns maps (N, *S, K).
BASELINES: dict[str, Callable[[np.ndarray, int, int, int], np.ndarray]] = {}


def _enter(function: Callable) -> Callable:
    BASELINES[function.__name__] = function
    return function


def _for_units(maps: np.ndarray, units: int) -> np.ndarray:
    return np.repeat(maps[..., None], units, axis=-1).astype("float32")


@_enter
def uniform_noise(images: np.ndarray, units: int, first: int, seed: int) -> np.ndarray:
    """Numbers from 0 to 1, independent in each pixel and unit."""
    shape = (*images.shape[:-1], units)
    return random.on_host(shape, seed, 0, 21, first * int(np.prod(shape[1:])))


@_enter
def smooth_noise(images: np.ndarray, units: int, first: int, seed: int) -> np.ndarray:
    """Uniform noise, blurred with a sigma of a 12th of the shortest side, so that it is as smooth as many maps."""
    size = images.shape[1:-1]
    return blurred(uniform_noise(images, units, first, seed + 1), min(size) / 12)


@_enter
def center_gaussian(images: np.ndarray, units: int, first: int, seed: int) -> np.ndarray:
    """A Gaussian at the centre of the image, with a sigma of a quarter of each side."""
    size, found = images.shape[1:-1], np.ones(images.shape[1:-1])
    for axis, n in enumerate(size):
        along = np.exp(-(((np.arange(n) - (n - 1) / 2) / (n / 4)) ** 2) / 2)
        found = found * along.reshape(*(n if a == axis else 1 for a in range(len(size))))
    return _for_units(np.broadcast_to(found, images.shape[:-1]), units)


@_enter
def sobel(images: np.ndarray, units: int, first: int, seed: int) -> np.ndarray:
    """The magnitude of the Sobel gradient: the root of its squares, summed over channels."""
    return _for_units(edges(images), units)


@_enter
def input_magnitude(images: np.ndarray, units: int, first: int, seed: int) -> np.ndarray:
    """The magnitude of the image's values: the root of their squares, summed over channels."""
    return _for_units(np.sqrt((images.astype("float64") ** 2).sum(axis=-1)), units)


@_enter
def uniform_but_one(images: np.ndarray, units: int, first: int, seed: int) -> np.ndarray:
    """Constant except for the first pixel (Fake-CAM). It is the best map for metrics that ignore what a map leaves
    out."""
    maps = np.ones((len(images), int(np.prod(images.shape[1:-1])), units), "float32")
    maps[:, 0] = 0
    return maps.reshape(*images.shape[:-1], units)


def oracle(case: Case, units: int) -> np.ndarray:
    """Maps (B, *S, K) of the ground truth: with objects, what the score of each unit loses without each object, spread
    evenly over its pixels; else the masks."""
    if case.objects is None:
        assert case.masks is not None
        return case.masks.astype("float32")
    return spread(case.objects[0], effects(case, units))


def spread(masks: np.ndarray, losses: np.ndarray) -> np.ndarray:
    """Maps (B, *S, K) of losses (B, K, O), each spread evenly over its object's pixels, masks (B, O, *S)."""
    areas = np.maximum(masks.reshape(*masks.shape[:2], -1).sum(axis=-1), 1)
    return np.einsum("bko,bo...->b...k", np.nan_to_num(losses) / areas[:, None], masks).astype("float32")


def blurred(maps: np.ndarray, sigma: float) -> np.ndarray:
    """Maps (N, *S, K) blurred by a Gaussian."""
    for axis in range(1, maps.ndim - 1):
        n = maps.shape[axis]
        weights = np.exp(-((np.arange(n)[:, None] - np.arange(n)) ** 2) / (2 * sigma**2))
        weights /= weights.sum(axis=1, keepdims=True)
        maps = np.moveaxis(np.tensordot(weights, maps, (1, axis)), 0, axis)
    return maps.astype("float32")
