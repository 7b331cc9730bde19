"""Collect what `explain` returns from all batches, as NumPy arrays or as the backend's tensors."""

from collections import namedtuple
from typing import Any

import keras
import numpy as np

from keras_explainable import backend
from keras_explainable.errors import InputError
from keras_explainable.explaining.flaws import Flaws
from keras_explainable.runtime.memory import SOME, check_fits


class Results:
    """Scores and maps of all batches as NumPy arrays. If their number is known, they are written into one array."""

    def __init__(self, total: int | None) -> None:
        self.total, self.filled, self.bytes, self.flaws = total, 0, 0, Flaws()
        self.whole: list[np.ndarray] = []
        self.parts: list[list] = []
        self.chosen: list[np.ndarray] = []

    def add(self, output: Any, batch: tuple) -> None:
        """Add the scores and maps of a batch (images, units). If maps were filtered, a third part holds the smallest
        and largest values from before filtering. If there are units, a fourth part holds them."""
        part, raw = [*output[:2]], _third(output)
        self.chosen += [units for units in output[3:] if len(units)]
        _check_same_shape(part, self.whole or (self.parts[0] if self.parts else part))
        self.flaws.add(part[0], np.stack(_ends(part[1]), axis=-1), raw, batch, np.isfinite(part[1]))
        start, end = self.filled, self.filled + len(part[0])
        if self.total in (None, len(part[0])):
            self.parts.append(list(part))
            self.filled, self.bytes = end, self.bytes + sum(p.nbytes for p in part)
            if self.total is None:  # they will be copied once more, with a reserve of 10 %
                check_fits(f"The maps of {end:,} images, put together,", 1.1 * self.bytes, f"take fewer, {SOME}")
            return
        self.whole = self.whole or [np.empty((self.total, *p.shape[1:]), p.dtype) for p in part]
        for whole, p in zip(self.whole, part, strict=True):
            whole[start:end] = p
        self.filled = end

    @property
    def units(self) -> np.ndarray | None:
        """The units (N, K) that were explained; None for every unit."""
        return np.concatenate(self.chosen) if self.chosen else None

    def done(self) -> tuple:
        if self.whole:
            return tuple(whole[: self.filled] for whole in self.whole)
        scores, maps = zip(*self.parts, strict=True)
        alone = len(maps) == 1 and maps[0].flags.writeable  # these need no copy
        return np.concatenate(scores), maps[0] if alone else np.concatenate(maps)


class Tensors:
    """The same, as the backend's tensors on their device."""

    def __init__(self) -> None:
        self.filled, self.flaws = 0, Flaws()
        self.parts: list[list] = []
        self.raw: list = []
        self.chosen: list = []

    def add(self, output: Any, batch: tuple) -> None:
        part, raw = [*output[:2]], _third(output)
        self.chosen += [units for units in output[3:] if len(units)]
        _check_same_shape(part, self.parts[0] if self.parts else part)
        self.parts.append(part)
        self.raw.append(raw)
        self.filled += len(part[0])

    @property
    def units(self) -> Any:
        """The units (N, K) that were explained; None for every unit."""
        return keras.ops.concatenate(self.chosen) if self.chosen else None

    def done(self) -> tuple:
        scores, maps = (keras.ops.concatenate(p) for p in zip(*self.parts, strict=True))
        raw = None if self.raw[0] is None else backend.to_host(keras.ops.concatenate(self.raw))
        found = ends(maps, tuple(range(1, len(maps.shape) - 1)))
        self.flaws.add(backend.to_host(scores), backend.to_host(found), raw)
        return scores, maps


def _third(output: tuple) -> Any:
    """The extremes of a batch's raw maps, if they are there."""
    return output[2] if len(output) > 2 and len(output[2]) else None


def _check_same_shape(part: Any, before: Any) -> None:
    """Raise if the results of a batch have another shape than those of earlier batches."""
    shapes, others = ([tuple(p.shape[1:]) for p in of] for of in (part, before))
    if shapes != others:
        raise InputError(
            f"A batch gave scores and maps of {shapes} for each image, and earlier batches gave {others}: all batches "
            "must ask for the same number of units, and images of several sizes need resizing=(height, width)."
        )


def ends(maps: Any, axis: tuple) -> Any:
    """The smallest and the largest value of each map, on a last axis."""
    return keras.ops.stack([keras.ops.min(maps, axis=axis), keras.ops.max(maps, axis=axis)], axis=-1)


def _ends(maps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The smallest and the largest value of each map. If a few of its pixels already differ, only these are read."""
    space = tuple(range(1, maps.ndim - 1))
    for stride in (8, 1):
        seen = maps[(slice(None), *(slice(None, None, stride) for _ in space))]
        least, most = seen.min(axis=space), seen.max(axis=space)
        if not (least == most).any():
            break
    return least, most


class Explanation(namedtuple("Explanation", "scores maps")):
    """`scores, maps`. In `.about` is what was explained: the method, where the score was taken, the model's layer. In
    `.units` are the units of the maps, (N, K), also those that y="predicted" chose; None if it was every unit."""

    about: dict[str, Any]
    units: Any

    def __new__(cls, scores: Any, maps: Any, about: dict[str, Any] | None = None, units: Any = None) -> "Explanation":
        self = super().__new__(cls, scores, maps)
        self.about, self.units = about or {}, units
        return self

    def show(self, images: Any, names: Any = None) -> Any:
        """Show the maps over the images in a notebook (see `ke.show`)."""
        from keras_explainable.viz import notebook

        return notebook.show(images, self, names)
