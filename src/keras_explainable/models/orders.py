"""Which token of a signal is at which position in an image. This is measured: positions are numbered, and for each
binary digit of the numbers, a copy of an image is changed where that digit is 1."""

from typing import Any

import numpy as np

from keras_explainable.models import probes
from keras_explainable.models.contract import Adapter
from keras_explainable.models.signal_layout import Reading
from keras_explainable.models.spatial import spatial_size
from keras_explainable.models.trace import Call


def digits(grid: tuple[int, ...]) -> list[tuple[int, int]]:
    """Pairs of an axis and a binary digit: for each axis, as many digits as the numbers of its positions need."""
    return [(axis, digit) for axis, count in enumerate(grid) for digit in range((count - 1).bit_length())]


def ones(size: tuple[int, ...], grid: tuple[int, ...]) -> np.ndarray:
    """Where in an image of this size each digit of the position's number in the grid is 1: (digits, *size)."""
    at = np.meshgrid(*(np.arange(s) * g // s for s, g in zip(size, grid, strict=True)), indexing="ij")
    return np.stack([at[axis] >> digit & 1 == 1 for axis, digit in digits(grid)])


def decoded(changes: np.ndarray, grid: tuple[int, ...]) -> tuple[int, ...] | None:
    """The token at each position, from how much each token changes (digits, tokens) when the positions whose digit is 1
    change. The tokens that change most are at these positions. None if the tokens are not a permutation of the
    positions."""
    places, numbers = ones(grid, grid).reshape(len(changes), -1), np.zeros((len(grid), changes.shape[1]), int)
    for (axis, digit), change, place in zip(digits(grid), changes, places, strict=True):
        most = np.argsort(-change, kind="stable")[: place.sum()]
        numbers[axis, most] |= 1 << digit
    if (numbers >= np.array(grid)[:, None]).any():
        return None
    at = np.ravel_multi_index(tuple(numbers), grid)
    return tuple(np.argsort(at).tolist()) if len(np.unique(at)) == changes.shape[1] else None


def found(adapter: Adapter, shape: tuple, call: Call, reading: Reading, scale: Any) -> tuple[int, ...] | None:
    """The order of a signal's tokens with a given reading; None if they are not a permutation of its grid."""
    first = adapter.channels_first
    batch = probes.images(shape, first, scale, ones(spatial_size(shape, first), reading.grid))
    seen = probes.changes(adapter, batch, [call]).get(call.output)
    if seen is None or seen.tokens is None:
        return None
    return decoded(seen.tokens[:, reading.prefix : reading.prefix + reading.number], reading.grid)
