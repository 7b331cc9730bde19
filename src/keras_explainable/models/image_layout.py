"""What a model does with its images before its first weights: which axis it takes as channels, what it crops or pads,
and which axes it folds into the batch. This is measured with images whose values increase along one axis: they show
where that axis ends up."""

import functools
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from keras_explainable import backend
from keras_explainable.errors import InputError, shortly
from keras_explainable.models.contract import Adapter
from keras_explainable.models.inputs import IMAGE_CHANNELS
from keras_explainable.models.trace import IMAGES, Call, Point
from keras_explainable.numerics.resize import resize

STILL = 1e-3  # of the whole range: smaller changes count as none
WHOLE = 0.02  # pixels: an end this close to a pixel's border is rounded to it
Window = tuple[float, float]  # where the visible part begins and ends along an axis, as fractions of the image


class ImageLayout(NamedTuple):
    """How a user's images become those that methods see, with the channels where the model takes them."""

    channel: int | None  # the channels' axis in the user's images; None: there is none
    first: bool  # whether methods see the channels first
    rank: int  # the number of axes of the user's images
    windows: tuple[Window | None, ...] = ()  # the visible part along each spatial axis; None: all of it
    frames: int = 0  # the size of the first spatial axis, if the model folds it into the batch
    turned: bool = False  # whether frames vary slower than images in that batch
    series: bool = False  # whether each frame has a call of its own, instead of rows in the batch
    moved: bool = False  # whether positions move in a way that windows cannot describe

    @property
    def plain(self) -> bool:
        """Whether images are used unchanged."""
        placed = self.channel == (1 if self.first else self.rank - 1)
        return placed and not any(self.windows) and not self.frames and not self.moved

    @property
    def folds(self) -> bool:
        """Whether the model folds an axis of its images into the batch."""
        return self.frames > 0 and not self.series

    def places(self, size: tuple) -> tuple:
        """Where the visible part begins and ends along each spatial axis, in pixels."""
        windows = [window or (0.0, 1.0) for window in self.windows]
        return tuple((round(a * n, 1), round(b * n, 1)) for (a, b), n in zip(windows, size, strict=True))

    def marked(self, calls: Iterable[Call], images: int) -> Iterator[Call]:
        """The calls of a run on so many images. Calls on frames are given the number of frames."""
        calls = list(calls)
        numbers = Counter(call.path for call in calls)
        for call in calls:
            rows = call.shape[:1] == (images * (1 if self.series else self.frames),)
            times = not self.series or numbers[call.path] == self.frames
            found = self.frames > 1 and rows and times
            yield replace(call, frames=self.frames, series=self.series) if found else call

    def split_frames(self, value: Any) -> Any:
        """Split (B T, ...) values of frames into (B, T, ...)."""
        shape = tuple(value.shape[1:])
        if self.turned:
            return ops.swapaxes(ops.reshape(value, (self.frames, -1, *shape)), 0, 1)
        return ops.reshape(value, (-1, self.frames, *shape))

    def merge_frames(self, value: Any) -> Any:
        """The inverse of `split_frames`."""
        value = ops.swapaxes(value, 0, 1) if self.turned else value
        return ops.reshape(value, (-1, *value.shape[2:]))

    def canonical(self, images: Any) -> Any:
        """The user's images as methods see them."""
        end = 1 if self.first else -1
        return ops.expand_dims(images, end) if self.channel is None else ops.moveaxis(images, self.channel, end)

    def restored(self, images: Any) -> Any:
        """The inverse of `canonical`."""
        end = 1 if self.first else -1
        return ops.squeeze(images, end) if self.channel is None else ops.moveaxis(images, end, self.channel)


def placed(
    found: ImageLayout | None,
    whole: tuple,
    maps: Any,
    to: Any,
    axis: int,
    windows: Sequence | None,
    align_corners: bool = False,
) -> Any:
    """Resize maps of images of the size `whole` to that size or to another. Maps of a hidden signal are placed into its
    `windows`."""
    if windows is not None and found is not None and found.moved:
        raise InputError(
            "This model moves the pixels of its images before its first weights (it swaps axes, rolls, or pads by "
            "mirroring), so a map of a layer cannot be laid over the images: give resizing=False for the layer's own "
            "map, or use a method that explains the input."
        )
    return resize(maps, whole if to is None else to, align_corners, axis, windows or ())


class _Reached(BaseException):  # an `except Exception` in the model does not catch it
    def __init__(self, value: Any) -> None:
        self.value = value


def image_layout(adapter: Adapter, shape: tuple, channels: Any = None) -> ImageLayout:
    """The layout of images for images of a shape (B, ...). `channels` is the user's argument.

    Raises:
        InputError: neither the model nor the images' shape determines the channels' axis.
    """
    first, rank = adapter.channels_first, len(shape)
    usual = 1 if first else rank - 1
    given = _given(channels, rank) if channels is not None else usual
    if adapter.black_box:
        return ImageLayout(None if rank == 2 and channels is None else given, first, rank)
    known = adapter.trace((1, *shape[1:])).known
    if "image_layout" not in known:
        measure = functools.partial(_measured, adapter, shape)
        known["image_layout"] = _in_thread(measure) if backend.is_traced(ops.zeros(())) else measure()
    found: ImageLayout | None = known["image_layout"]
    if found is None:
        return ImageLayout(given if channels is not None else _guessed(shape, usual), first, rank)
    return found if channels is None else found._replace(channel=given)


def scale(adapter: Adapter, shape: tuple) -> tuple[float, float] | None:
    """(factor, shift) for images (B, ...): before its first weights, the model subtracts the shift and multiplies by
    the factor. None if this was not measured (see `image_layout`)."""
    return None if adapter.black_box else adapter.trace((1, *shape[1:])).known.get("scale")


def _given(channels: Any, rank: int) -> int | None:
    named = {"first": 1, "last": rank - 1, "none": None}
    if isinstance(channels, str) and channels in named:
        return named[channels]
    if isinstance(channels, int) and not isinstance(channels, bool) and channels % rank and -rank <= channels < rank:
        return channels % rank
    raise InputError(
        f'channels={shortly(channels)} came for images with {rank} axes: "first", "last", "none" or the number of the '
        f"axis (1 to {rank - 1}) was expected."
    )


def _guessed(shape: tuple, usual: int) -> int | None:
    """Guess the channels' axis from the images' shape, for a model that does not determine it."""
    if len(shape) <= 3 and shape[usual] not in IMAGE_CHANNELS:
        return None if len(shape) == 2 or shape[-1] > 4 else usual  # then every axis is spatial
    others = [axis for axis in range(1, len(shape)) if axis != usual and shape[axis] in IMAGE_CHANNELS]
    doubtful = shape[usual] not in IMAGE_CHANNELS or (usual == 1 and 2 in others)
    if len(shape) > 4 and doubtful and others:
        raise InputError(
            f"Images of shape {shape} came, and it is unknown which axis has the channels: give channels={others[0]}, "
            f"or channels={usual} if that is so."
        )
    return usual


def _in_thread(measure: Callable[[], ImageLayout | None]) -> ImageLayout | None:
    """Measure in another thread, outside of the program that is being built in this one."""
    found: list = []
    thread = threading.Thread(target=lambda: found.append(measure()))
    thread.start()
    thread.join()
    return found[0] if found else None


def _measured(adapter: Adapter, shape: tuple) -> ImageLayout | None:
    """The layout, measured with probe images; None if the measurement does not determine it."""
    trace, first, rank = adapter.trace((1, *shape[1:])), adapter.channels_first, len(shape)
    usual = ImageLayout(1 if first else rank - 1, first, rank)
    entry = next((c for c in trace.calls if c.has_kernel and c.leaf and not trace.beside.issuperset(c.inputs)), None)
    if rank == 2:
        return ImageLayout(None, first, rank)
    if entry is None:
        return None
    entered = dict(entry.signals).get(Point(*entry.output[:2], "input"), ())
    if entry.inputs[:1] == (IMAGES,):
        axis = adapter.layers.entry_axis(entry) % rank
        return usual._replace(channel=axis) if rank <= 3 or axis == usual.channel else None
    try:
        return _read(adapter, entry, shape, 2 if entered[:1] != (trace.images,) else trace.images)
    except Exception:  # the model cannot run on such images
        return None


def _read(adapter: Adapter, entry: Call, shape: tuple, number: int) -> ImageLayout | None:
    point = Point(entry.path, entry.call, "input")
    size = (number, *shape[1:])
    low, middle, high = (_entering(adapter, np.full(size, level), point) for level in (0.0, 0.5, 1.0))
    slope = high - low
    inside = abs(slope) > 1e-6
    if slope.ndim == 2:  # the image was flattened or pooled
        return None
    safe = np.where(inside, slope, 1)
    if not inside.any() or abs(np.where(inside, (middle - low) / safe, 0.5) - 0.5).max() > STILL:
        return None  # the input is not a scaled and shifted copy of the images
    scales, taken = abs(slope)[inside], -(low / safe)[inside]
    adapter.trace((1, *shape[1:])).known["scale"] = float(np.median(scales)), float(np.median(taken))
    at = {}
    for axis, count in enumerate(size):
        if count > 1:
            ramp = np.linspace(0, 1, count).reshape([-1 if a == axis else 1 for a in range(len(size))])
            seen = _entering(adapter, np.broadcast_to(ramp, size), point)
            at[axis] = np.where(inside, (seen - low) / safe, np.nan)
    return _placed(adapter, entry, size, at)


def _entering(adapter: Adapter, images: np.ndarray, point: Point) -> np.ndarray:
    """The input of a call for some images. The model is stopped there."""

    def stop(seen: Point, value: Any) -> Any:
        if seen == point:
            raise _Reached(value)
        return value

    def run(x: Any, tap: Callable) -> Any:
        return adapter.run(x, stop, frozenset([point]))

    try:
        backend.evaluate(run, adapter.images(images.astype("float32")))
    except _Reached as reached:
        return backend.to_host(ops.cast(reached.value, "float32")).astype("float64")
    raise RuntimeError("the call was not reached")


def _placed(adapter: Adapter, entry: Call, size: tuple, at: dict[int, np.ndarray]) -> ImageLayout | None:
    """The layout, from where the ramp along each axis of the images arrives."""
    ends = {axis: _varies(seen) for axis, seen in at.items()}
    values = next(iter(at.values()))
    channels, first, rank = adapter.layers.entry_axis(entry) % values.ndim, adapter.channels_first, len(size)
    found = [axis for axis, places in ends.items() if axis and places == {channels}]
    if len(found) > 1:
        found = [axis for axis in found if size[axis] in IMAGE_CHANNELS]
        if len(found) != 1:
            return None
    usual = 1 if first else rank - 1
    channel = found[0] if found else (usual if size[usual] == 1 and rank > 3 else None)
    space = [axis for axis in range(1, rank) if axis != channel]
    if any(channels in ends.get(axis, ()) for axis in space):
        return ImageLayout(channel, first, rank) if found else None  # patches were flattened, or the whole image
    folded = [axis for axis in space if 0 in ends.get(axis, ())]
    frames = size[space[0]] if folded == space[:1] and ends[folded[0]] == {0} else 0
    seen = [_window(adapter, entry, at.get(axis), ends.get(axis, set()), size[axis]) for axis in space]
    windows = tuple(None if isinstance(window, bool) else window for window in seen)
    goes = [next(iter(places)) for places in map(ends.get, space) if places and len(places) == 1 and 0 not in places]
    moved = goes != sorted(goes) or False in seen
    series = not frames and bool(space) and _in_series(adapter, entry, size, space[0], values.ndim)
    frames = size[space[0]] if series else frames
    turned = bool(frames) and not series and np.nanmean(at[0][1]) > STILL  # the second row belongs to another image
    return ImageLayout(channel, first, rank, windows if any(windows) else (), frames, turned, series, moved)


def _in_series(adapter: Adapter, entry: Call, size: tuple, axis: int, rank: int) -> bool:
    """Whether each call of the first layer with weights sees one position on the first spatial axis."""
    trace, count = adapter.trace((1, *size[1:])), size[axis]
    if rank != len(size) - 1 or sum(call.path == entry.path for call in trace.calls) != count or count < 2:
        return False
    ramp = np.linspace(0, 1, count).reshape([-1 if a == axis else 1 for a in range(len(size))])

    def mean(images, number):
        images = np.broadcast_to(images, size)
        return _entering(adapter, images, Point(entry.path, number, "input")).mean()

    for number in {0, count // 2, count - 1}:
        low, high = (mean(np.full(size, level), number) for level in (0.0, 1.0))
        if high == low or abs((mean(ramp, number) - low) / (high - low) - number / (count - 1)) > STILL:
            return False
    return True


def _varies(seen: np.ndarray) -> set[int]:
    """The axes along which the values that come from the images change."""
    low, high = np.where(np.isnan(seen), np.inf, seen), np.where(np.isnan(seen), -np.inf, seen)
    return {axis for axis in range(seen.ndim) if (high.max(axis=axis) - low.min(axis=axis)).max() > STILL}


def _window(adapter: Adapter, entry: Call, seen: np.ndarray | None, ends: set[int], count: int) -> Window | None | bool:
    """The visible part along an axis, as fractions of the image. None if it is the whole axis, False if it is not
    contiguous."""
    if seen is None or len(ends) != 1 or 0 in ends:
        return None
    (axis,) = ends
    along = np.moveaxis(seen, axis, 0).reshape(seen.shape[axis], -1)
    inside = np.flatnonzero(~np.isnan(along).all(axis=1))  # not padding
    places = np.nanmean(along[inside], axis=1) * (count - 1)
    if len(inside) < 2:
        return None
    step = (places[-1] - places[0]) / (inside[-1] - inside[0])
    if step == 0 or abs(places - (places[0] + step * (inside - inside[0]))).max() > max(1.0, abs(step)):
        return False
    start = places[0] - step * (inside[0] + 0.5) + 0.5
    stop = places[-1] + step * (len(along) - 1 - inside[-1] + 0.5) + 0.5
    reach = adapter.layers.reach(entry, axis) * step
    start = min(0.0, start + reach) if start < 0 else start  # padding that a convolution removes does not count
    stop = max(float(count), stop - reach) if stop > count else stop
    if abs(start) < max(0.75, step / 2) and abs(stop - count) < max(0.75, step / 2):
        return None
    start, stop = (round(end) if abs(end - round(end)) < WHOLE else end for end in (start, stop))
    return float(start / count), float(stop / count)
