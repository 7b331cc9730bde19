"""The pixels of a part's images, read and decoded by threads. Nothing here imports Keras."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from keras_explainable.distributed import sources

THREADS = min(8, 2 * (os.cpu_count() or 1))
AHEAD = 3  # batches that are read before they are asked for


class Batch(NamedTuple):
    """Images of one batch. An image that cannot be explained is zeros in its place, and `aside` has the reasons."""

    pixels: np.ndarray
    aside: dict[int, str]


def batches(
    chunks: Iterable[Sequence[Mapping[str, Any]]],
    batch_size: int,
    size: tuple[int, int],
    fit: str,
    options: Mapping[str, Any] | None,
) -> Iterator[Batch]:
    """The images of rows that come in chunks, each a batch. Some batches are read ahead, and short ones filled up with
    zeros."""
    with ThreadPoolExecutor(THREADS, "keras-explainable-images") as pool:
        waiting = iter(chunks)

        def started(number: int) -> list[list[Future]]:
            return [
                [pool.submit(pixels_of, row, size, fit, options) for row in some] for some in islice(waiting, number)
            ]

        begun = started(AHEAD)
        try:
            while begun:
                found = [future.result() for future in begun.pop(0)]
                begun += started(1)
                yield put_together(found, batch_size, size)
        finally:
            for future in (one for some in begun for one in some):
                future.cancel()


def put_together(found: Sequence[np.ndarray | str], batch_size: int, size: tuple[int, int]) -> Batch:
    """A batch of pixels, or of reasons where there are none."""
    pixels = np.zeros((batch_size, *size, 3), "uint8")
    aside = {}
    for i, one in enumerate(found):
        if isinstance(one, str):
            aside[i] = one
        else:
            pixels[i] = one
    return Batch(pixels, aside)


def pixels_of(
    row: Mapping[str, Any], size: tuple[int, int], fit: str, options: Mapping[str, Any] | None
) -> np.ndarray | str:
    """The pixels of an image, or why it is set aside. What another try might change is raised."""
    try:
        return sources.decode(sources.read(row, options), size, 3, fit)
    except sources.SetAside as error:
        return error.reason
