"""How a signal is read as positions in an image: which axes are spatial, which tokens are which patches, and which rows
or calls are which frames."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from keras import ops

from keras_explainable.models.trace import INPUT, Point, Trace


class Reading(NamedTuple):
    """How the array of a signal corresponds to positions in the image."""

    first: bool = False  # whether the channels are axis 1 instead of the last axis
    grid: tuple[int, ...] = ()  # for tokens (B, T, C): the size of their grid
    prefix: int = 0  # the number of other tokens before those of the grid
    order: tuple[int, ...] = ()  # the token at each position of the grid, if they are not in row order

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
            return _channels_first(value) if self.first else value
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

    reading: Reading | None = None  # how the signal is read, if not in the layout of the model's layers
    rank: int | None = None  # the number of its spatial axes, if this differs from the images

    @classmethod
    def of(cls, point: Point, reading: Reading | None = None, rank: int | None = None) -> "SignalPoint":
        """A point, with the reading of its signal."""
        found = cls(*point)
        found.reading, found.rank = reading, rank
        return found


def reading_of(point: Point) -> Reading | None:
    """The reading of the signal at a point. None: the layout of the model's layers."""
    return getattr(point, "reading", None)


def readings_of(points: Iterable[Point]) -> dict[Point, Reading]:
    """The readings of those points that have one."""
    found = {point: reading_of(point) for point in points}
    return {point: reading for point, reading in found.items() if reading}


def as_float(view: Any, point: Point, value: Any, readings: Readings = NONE) -> Any:
    """A signal of a view as float32 (B, *S', C)."""
    return channels_last(view, point, ops.cast(value, "float32"), readings)


def channels_last(view: Any, point: Point, value: Any, readings: Readings = NONE) -> Any:
    """A signal of a view with its channels moved to the end, or as its reading says if it has one."""
    if point in readings:
        return readings[point].channels_last(value)
    value = ops.moveaxis(value, 1, -1) if _is_first(view, point) else value
    return view.adapter.inputs.layout.split_frames(value) if _has_rows_of_frames(view.trace, point) else value


def in_layout(view: Any, point: Point, value: Any) -> Any:
    """A signal (B, *S', C) in the model's own layout."""
    value = view.adapter.inputs.layout.merge_frames(value) if _has_rows_of_frames(view.trace, point) else value
    return _channels_first(value) if _is_first(view, point) else value


def _channels_first(value: Any) -> Any:
    """Channels-last values with channels first. (Not by `moveaxis`, which PyTorch's `vmap` does not know.)"""
    rank = len(value.shape)
    return ops.transpose(value, (0, rank - 1, *range(1, rank - 1)))


def replaced(view: Any, point: Point, value: Any, function: Callable, readings: Readings) -> Any:
    """Apply `function` to a signal as (B, *S', C). Return the result in the model's own layout, in place of `value`."""
    new = ops.cast(function(channels_last(view, point, value, readings)), value.dtype)
    reading = readings.get(point)
    return reading.restored(new, value) if reading else in_layout(view, point, new)


def _is_first(view: Any, point: Point) -> bool:
    """Whether a signal has channels first in the model's own layout."""
    if point == INPUT:
        return view.adapter.channels_first
    return point.link != "attention" and view.call(point).channels_first


def _has_rows_of_frames(trace: Trace, point: Point) -> bool:
    """Whether the rows of a signal are frames of the images, not images."""
    call = trace.at(point) if point != INPUT else None
    return call is not None and call.frames > 0 and not call.series


def parts(trace: Trace, point: Point, at: Sequence[Point]) -> tuple[Point, ...]:
    """The points that `point`, one of the points `at`, stands for. If it belongs to one frame and `at` has no point of
    the other frames, these are the points of all frames; else there are none."""
    call = trace.at(point) if point != INPUT else None
    if call is None or not call.series or any(p[::2] == point[::2] and p != point for p in at):
        return ()
    return tuple(point._replace(call=i) for i in range(call.frames))


def joined(trace: Trace, at: Sequence[Point], found: dict, axis: int) -> dict:
    """What was found at the points `at`, with that of the frames stacked along an axis."""
    frames = {p: parts(trace, p, at) for p in at}
    return {p: ops.stack([found[q] for q in frames[p]], axis=axis) if frames[p] else found[p] for p in at}


def signals(view: Any, at: Sequence[Point], values: dict) -> dict:
    """The signals (B, *S', C) at the points `at`, as float32, from the values that a run of a view gave."""
    readings = readings_of(at)
    return joined(view.trace, at, {p: as_float(view, p, v, readings) for p, v in values.items()}, 1)
