"""Slow twins of what hidden pixels are filled with: one image after another, channels last.

Each fill is a function of images (B, *S, C) and a mask (*S), 1 where they are seen, which returns what the model sees."""

from collections.abc import Callable

import numpy as np

from reference.metrics import linear_fill


def blurred(image: np.ndarray) -> np.ndarray:
    """A Gaussian blur with a sigma of a 22nd of the shortest side; at the border, the weights still sum to 1."""
    found = image.astype("float64")
    for axis, n in enumerate(image.shape[:-1]):
        weights = np.exp(-((np.arange(n)[:, None] - np.arange(n)) ** 2) / (2 * (min(image.shape[:-1]) / 22) ** 2))
        weights /= weights.sum(axis=1, keepdims=True)
        found = np.moveaxis(np.tensordot(weights, found, (1, axis)), 0, axis)
    return found


def blended(image: np.ndarray, mask: np.ndarray, other: np.ndarray) -> np.ndarray:
    return image * mask[..., None] + other * (1 - mask[..., None])


def each(fill: Callable) -> Callable:
    """A fill of images from one of an image."""
    return lambda x, mask: np.stack([blended(image, mask, fill(image, mask)) for image in x])


def noise(draws: np.ndarray) -> Callable:
    """From numbers in (0, 1), one for each value of an image."""
    return each(lambda image, mask: image.min() + (image.max() - image.min()) * draws)


@each
def blur(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return blurred(image)


@each
def linear(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Pixels of which at most half is seen are solved for. If these are all pixels, they get the mean colour."""
    missing = mask <= 0.5
    return np.broadcast_to(image.mean(axis=(0, 1)), image.shape) if missing.all() else linear_fill(image, missing)
