"""How a signal is read as places of an image: which axes are spatial, or which tokens are which patches."""

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from keras import ops

from keras_explainable.models.trace import Point


class Reading(NamedTuple):
    """Where the places of a signal are in its array."""

    first: bool = False  # whether its channels are axis 1, not the last
    grid: tuple[int, ...] = ()  # for tokens (B, T, C): the sizes of their grid
    prefix: int = 0  # how many other tokens come before those of the grid
    order: tuple[int, ...] = ()  # the token at each place of the grid, if they are not in row order

    @property
    def number(self) -> int:
        """The number of tokens in the grid."""
        return math.prod(self.grid)

    def size(self, shape: tuple) -> tuple[int, ...]:
        """The spatial sizes of a signal of a shape."""
        return self.grid or tuple(shape[2:] if self.first else shape[1:-1])

    def channels_last(self, value: Any) -> Any:
        """A signal as (B, *S', C)."""
        if not self.grid:
            return ops.moveaxis(value, 1, -1) if self.first else value
        value = value[:, self.prefix : self.prefix + self.number]
        value = ops.take(value, ops.convert_to_tensor(self.order, "int32"), axis=1) if self.order else value
        return ops.reshape(value, (-1, *self.grid, value.shape[-1]))

    def restored(self, value: Any, whole: Any) -> Any:
        """(B, *S', C) in the model's own layout, with the other tokens of the signal `whole`."""
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
    """A point whose signal is explained; it equals the plain point."""

    reading: Reading | None = None  # how the signal is read as places, if not as the model's layers say
    rank: int | None = None  # its number of spatial axes, if that is not the images'

    @classmethod
    def of(cls, point: Point, reading: Reading | None = None, rank: int | None = None) -> "SignalPoint":
        """A point, and how its signal is read."""
        found = cls(*point)
        found.reading, found.rank = reading, rank
        return found


def reading_of(point: Point) -> Reading | None:
    """How the signal at a point is read as places; None: as the model's layers say."""
    return getattr(point, "reading", None)


def readings_of(points: Iterable[Point]) -> dict[Point, Reading]:
    """How signals are read, for those points that say so."""
    return {point: reading for point in points if (reading := reading_of(point))}
