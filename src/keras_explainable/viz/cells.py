"""The cells of a figure: arrays of any layout as flat pictures, each with the map over it."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_explainable.errors import InputError
from keras_explainable.viz.image import to_numpy

COLOURED = (1, 3, 4)  # numbers of channels that can be drawn directly
LAYOUT = {2: "(H, W)", 3: "(D, H, W)"}  # number of spatial axes -> layout without channels
SLICE = "slice=12 shows a volume at index 12 of its first spatial axis, slice=(axis, index) on another axis."
BANDS = "bands=(3, 2, 1) draws those channels as red, green and blue, bands=0 one as grey"

Array = np.ndarray


def cells(images: Any, overlays: Any, bands: Any = None, slice: Any = None) -> tuple[list[Any], list[Any]]:
    """Return pictures (H, W) or (H, W, C), C in 1, 3, 4, and the map over each or None, in two lists of equal length.

    Raises: InputError: shapes, channels or counts do not fit.
    """
    bands, cut = _bands(bands), _cut(slice)
    rank = 3 if cut else 2
    pictures = [None if image is None else _picture(image, rank, bands) for image in _images(images, rank, bands)]
    space = next((picture.shape[:rank] for picture in pictures if picture is not None), None)
    maps = _maps(overlays, rank, space, len(pictures))
    pairs = _paired(pictures, maps)
    if cut:
        pairs = [_sliced(picture, values, *cut) for picture, values in pairs]
    return [picture for picture, _ in pairs], [values for _, values in pairs]


def _images(images: Any, rank: int, bands: Any) -> list[Any]:
    """Return the images of a list, a batch, or a single array as a list."""
    if images is None:
        return []
    if not hasattr(images, "shape"):
        return list(images)
    array = to_numpy(images)
    if array.ndim not in (rank, rank + 1, rank + 2):
        flat = LAYOUT[rank][1:-1]
        raise InputError(
            f"Images of shape {array.shape} came, and a list or an array (N, {flat}) or (N, {flat}, C) was expected: "
            f"{SLICE}"
        )
    several = array.ndim == rank + 1 and array.shape[-1] not in COLOURED and bands is None
    if several and rank == 2 and (array.shape[0] == array.shape[1] != array.shape[2] or array.shape[2] == 2):
        raise InputError(
            f"An array of shape {array.shape} is one image of {array.shape[2]} channels, or {array.shape[0]} maps. "
            f"For one image, pass bands= ({BANDS}). For maps, pass list(images)."
        )
    return list(array) if several or array.ndim == rank + 2 else [array]


def _picture(image: Any, rank: int, bands: list[int] | None) -> Array:
    """Return an image as (*S) or (*S, C), C in 1, 3, 4. Channels are moved to the end, and `bands` are selected."""
    array = to_numpy(image)
    if array.ndim not in (rank, rank + 1):
        flat = LAYOUT[rank]
        raise InputError(
            f"An image of shape {array.shape} came, and {flat} was expected, or with channels {flat[:-1]}, C): {SLICE}"
        )
    if array.ndim == rank:
        return array
    array = np.moveaxis(array, _channels_at(array.shape, rank, bands), -1)
    count = array.shape[-1]
    if bands is None or count == 1:
        return array
    if not all(0 <= band < count for band in bands):
        raise InputError(f"bands={bands} came for images of {count} channels: give numbers from 0 to {count - 1}.")
    return array[..., bands]


def _channels_at(shape: tuple[int, ...], rank: int, bands: Any) -> int:
    """Return the channel axis, 0 or -1: the one that is not a side of a square plane, or else a short last axis.

    Raises: InputError: it cannot be determined, or `bands` are needed."""
    if shape[-1] in COLOURED:
        return -1
    if bands is None:
        if shape[0] in COLOURED:
            return 0
        raise InputError(
            f"An image of shape {shape} came, and {LAYOUT[rank]} was expected, or 1, 3 or 4 channels: with others, "
            f"{BANDS}. {SLICE if rank == 2 else ''}".rstrip()
        )
    square_if_last, square_if_first = shape[rank - 2] == shape[rank - 1], shape[-2] == shape[-1]
    if square_if_last != square_if_first:
        return -1 if square_if_last else 0
    if shape[-1] < min(shape[:-1]):
        return -1
    if shape[0] in COLOURED:
        return 0
    raise InputError(
        f"The channels of an image of shape {shape} may be its first or its last axis. Instead of bands=, pass "
        "[x[..., [3, 2, 1]] for x in images] if they are last, or [x[[3, 2, 1]] for x in images] if first."
    )


def _maps(overlays: Any, rank: int, space: tuple[int, ...] | None, count: int) -> list[Any]:
    """Return the maps of a list, a batch, or a single array, over `count` images with this `space`, as a list.

    Maps (N, *S, K) are put in the order (K, N); (*S, K) over one image are its K maps."""
    if overlays is None:
        return []
    if not hasattr(overlays, "shape"):
        return list(overlays)
    array = to_numpy(overlays)
    if array.ndim not in (rank, rank + 1, rank + 2):
        flat = LAYOUT[rank][1:-1]
        raise InputError(
            f"Overlays of shape {array.shape} came, and a list or an array (N, {flat}, K) was expected: {SLICE}"
        )
    if array.ndim == rank or (array.ndim == rank + 1 and array.shape[-1] == 1):
        return [array]
    if array.ndim == rank + 2:
        if array.shape[1] == 1:  # channels first, as in torch
            return list(array)
        _check_count(array.shape, array.shape[0], count)
        return [one for unit in np.moveaxis(array, -1, 0) for one in unit]
    if space and array.size and _is_of_one(array.shape, space, count):
        _check_count(array.shape, 1, count)
        return list(np.moveaxis(array, -1, 0))
    return list(array)


def _is_of_one(shape: tuple[int, ...], space: tuple[int, ...], count: int) -> bool:
    """Return whether maps are (*S, K) of one image, not (N, *S), by which of the two has the image's proportions."""
    last, first = (_distortion(axes, space) for axes in (shape[:-1], shape[1:]))
    if count == 1 and shape[0] > 1 and np.isclose(last, first):
        raise InputError(
            f"Overlays of shape {shape} may be {shape[-1]} maps, by the last axis, or {shape[0]}, by the first: "
            "pass a list, such as list(np.moveaxis(overlays, -1, 0))."
        )
    return last < first and shape[0] != count


def _distortion(shape: tuple[int, ...], space: tuple[int, ...]) -> float:
    """Return 1 if a map of this shape has the image's proportions, and more the further it is from them."""
    scales = [whole / side for side, whole in zip(shape, space, strict=True)]
    return max(scales) / min(scales)


def _check_count(shape: tuple[int, ...], images: int, count: int) -> None:
    if count and images != count and shape[-1] > 1:
        each = f"{images} image{'s' * (images != 1)} x {shape[-1]} maps"
        given = "is 1 image" if count == 1 else f"are {count} images"
        raise InputError(f"Overlays of shape {shape} are {each}, but there {given}.")


def _paired(images: list[Any], overlays: list[Any]) -> list[tuple[Any, Any]]:
    """Pair images with overlays. The images are repeated if there are K times as many overlays."""
    if not images and not overlays:
        raise InputError("There is nothing to show: `images` is empty.")
    if images and len(overlays) > len(images):
        if len(overlays) % len(images):
            raise InputError(f"{len(overlays)} overlays came for {len(images)} images: give as many, or a multiple.")
        images = images * (len(overlays) // len(images))
    count = max(len(images), len(overlays))
    blank: list[Any] = [None] * count
    return list(zip((images + blank)[:count], (overlays + blank)[:count], strict=True))


def _sliced(picture: Any, values: Any, axis: int, index: int) -> tuple[Any, Any]:
    """Cut a volume and its map at one place on a spatial axis. A coarse map is cut at the same relative place."""
    if values is not None:
        values = _volume(values)
    length = next((one.shape[axis] for one in (picture, values) if one is not None), 0)
    if (picture is not None or values is not None) and not -length <= index < length:
        raise InputError(
            f"slice={(axis, index)} came for volumes with {length} places on that axis: give one of these."
        )
    place = (index % length + 0.5) / length if length else 0
    flat = [None if one is None else one.take(int(place * one.shape[axis]), axis) for one in (picture, values)]
    return flat[0], flat[1]


def _volume(values: Any) -> Array:
    """Return a map (D, H, W), (D, H, W, 1) or (1, D, H, W) as (D, H, W)."""
    array = to_numpy(values)
    if array.ndim == 4 and 1 in (array.shape[0], array.shape[-1]):
        array = array[..., 0] if array.shape[-1] == 1 else array[0]
    if array.ndim != 3:
        raise InputError(f"A map of shape {array.shape} came for a volume: give (D, H, W), one value at each place.")
    return array


def _bands(bands: Any) -> list[int] | None:
    """Return `bands` as three channel numbers. A single channel is repeated, which draws it as grey."""
    if bands is None:
        return None
    numbers = list(bands) if isinstance(bands, Sequence | np.ndarray) and not isinstance(bands, str) else [bands] * 3
    if len(numbers) != 3 or not all(map(_is_whole, numbers)):
        raise InputError(f"bands={bands!r} came, and three channel numbers, or one, were expected: {BANDS}.")
    return [int(number) for number in numbers]


def _cut(slice: Any) -> tuple[int, int] | None:
    """Return `slice` as a spatial axis and an index on it."""
    if slice is None:
        return None
    found = (0, slice) if _is_whole(slice) else slice
    if not (isinstance(found, Sequence) and len(found) == 2 and all(map(_is_whole, found)) and 0 <= found[0] <= 2):
        raise InputError(
            f"slice={slice!r} came, and an index, or (axis, index) with axis 0, 1 or 2, was expected: {SLICE}"
        )
    return int(found[0]), int(found[1])


def _is_whole(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)
