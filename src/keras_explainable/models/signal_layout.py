"""How the places of an image are read from a signal: which axes are spatial, or which tokens are which patches."""

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from keras import ops

from keras_explainable.models.trace import Point


class Reading(NamedTuple):
    """Where the places of the image are in the array of a signal."""

    first: bool = False  # whether the channels are axis 1 instead of the last axis
    grid: tuple[int, ...] = ()  # for tokens (B, T, C): the size of their grid
    prefix: int = 0  # the number of other tokens before those of the grid
    order: tuple[int, ...] = ()  # the token at each place of the grid, if they are not in row order

    @property
    def number(self) -> int:
        """The number of tokens in the grid."""
        return math.prod(self.grid)

    def size(self, shape: tuple) -> tuple[int, ...]:
        """The spatial sizes of a signal of this shape."""
        return self.grid or tuple(shape[2:] if self.first else shape[1:-1])

    def channels_last(self, value: Any) -> Any:
        """A signal as (B, *S', C)."""
        if not self.grid:
            return ops.moveaxis(value, 1, -1) if self.first else value
        value = value[:, self.prefix : self.prefix + self.number]
        value = ops.take(value, ops.convert_to_tensor(self.order, "int32"), axis=1) if self.order else value
        return ops.reshape(value, (-1, *self.grid, value.shape[-1]))

    def restored(self, value: Any, whole: Any) -> Any:
        """A signal (B, *S', C) in the model's own layout, with the other tokens taken from the signal `whole`."""
        if not self.grid:
            return ops.moveaxis(value, -1, 1) if self.first else value
        value = ops.reshape(value, (-1, self.number, whole.shape[-1]))
        if self.order:
            back = sorted(range(self.number), key=self.order.__getitem__)
            value = ops.take(value, ops.convert_to_tensor(back, "int32"), axis=1)
        return ops.concatenate([whole[:, : self.prefix], value, whole[:, self.prefix + self.number :]], axis=1)

    def __str__(self) -> str:
        if not self.grid:
            return "channels first" if self.first else "channels last"
        sizes = " x ".join(map(str, self.grid))
        prefix = f" after {self.prefix} other{'s' * (self.prefix > 1)}" if self.prefix else ""
        return f"{sizes} tokens{prefix}{', in an order of their own' if self.order else ''}"


Readings = Mapping[Point, Reading]
NONE: Readings = {}


class SignalPoint(Point):
    """The point of the signal to explain. It equals the plain point."""

    reading: Reading | None = None  # how places are read from the signal, if not by the layout of the model's layers
    rank: int | None = None  # the number of its spatial axes, if this differs from the images

    @classmethod
    def of(cls, point: Point, reading: Reading | None = None, rank: int | None = None) -> "SignalPoint":
        """A point, with how places are read from its signal."""
        found = cls(*point)
        found.reading, found.rank = reading, rank
        return found


def reading_of(point: Point) -> Reading | None:
    """How places are read from the signal at a point. None: by the layout of the model's layers."""
    return getattr(point, "reading", None)


def readings_of(points: Iterable[Point]) -> dict[Point, Reading]:
    """The readings of those points that have one."""
    return {point: reading for point in points if (reading := reading_of(point))}
