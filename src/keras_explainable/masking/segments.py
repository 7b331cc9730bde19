"""Segments of an image that are covered together: a grid, superpixels, or the user's labels."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from keras import ops

from keras_explainable import backend, models, registry
from keras_explainable.errors import InputError, shortly
from keras_explainable.runtime.repetition import Rows

MOST = 2048  # segments of an image: solving for n segments takes time in proportion to n^3, about 2 s for this many


def segment(view: models.View, segments: Any) -> tuple[Any, tuple[int, ...]]:
    """The number of each pixel's segment, integers (G, *S) from 0, and the numbers of segments of each of the G.

    G is B, or 1 if all images have the same segments. For `segments` see `ke.methods.perturbation`; a function gets
    images as a NumPy array.

    Raises:
        InputError: `segments` is none of these, there are more than `MOST`, or superpixels or a function are used
            inside a traced program.
    """
    if isinstance(segments, (int, np.integer)) or (isinstance(segments, tuple) and len(segments) == view.rank):
        cells = sizes("segments", segments, view.size)
        _check_number(math.prod(cells), segments)
        labels, number = grid(view.size, cells)
        return ops.convert_to_tensor(labels[None]), (number,)
    if isinstance(segments, str) or registry.accepts(segments, "images"):
        if backend.is_traced(view.x):
            raise InputError("Superpixels are found on the host: call the method outside of tf.function and jax.jit.")
        images = backend.to_host(view.x)
        if isinstance(segments, str) and segments != "slic":
            raise InputError(
                f"segments={segments!r} came, and a number of cells, 'slic', labels or a function was expected."
            )
        segments = np.stack([slic(image) for image in images]) if isinstance(segments, str) else segments(images)
    try:
        labels = np.asarray(backend.to_host(segments) if ops.is_tensor(segments) else segments)
    except ValueError:  # lists of unequal lengths
        labels = np.asarray(None)
    size = tuple(view.size)
    labels = labels[None] if labels.shape == size else labels
    if labels.dtype.kind not in "iu" or labels.shape not in ((1, *size), (view.batch, *size)):
        raise InputError(
            f"Segments of shape {labels.shape} and type {labels.dtype} came for {view.batch} images of size {size}: "
            "integer labels of one image, or of each image of the batch, were expected. If images come in several "
            "batches, give a function from images to labels."
        )
    numbered = [np.unique(image, return_inverse=True)[1].reshape(size) for image in labels]
    counts = tuple(1 + int(image.max()) for image in numbered)
    _check_number(max(counts), "labels")
    return ops.convert_to_tensor(np.stack(numbered).astype("int32")), counts


def _check_number(number: int, segments: Any) -> None:
    if number > MOST:
        raise InputError(
            f"segments={shortly(segments)} makes {number:,} segments of an image, and at most {MOST:,} are possible: "
            "give fewer, such as segments=7 for a grid of 7 by 7."
        )


def sizes(name: str, value: Any, size: tuple) -> tuple[int, ...]:
    """A number for each spatial axis, from one number or one for each axis, limited to the size of the axis."""
    if not all(isinstance(s, int) for s in size):
        raise InputError("The size of the images is not known, and masks need it: give images of a known size.")
    given = tuple(value) if isinstance(value, (tuple, list)) else (value,) * len(size)
    if len(given) != len(size) or not all(isinstance(v, (int, np.integer)) and v > 0 for v in given):
        raise InputError(
            f"{name}={value!r} came, and a whole number of 1 or more, or {len(size)} of them, was expected."
        )
    return tuple(min(int(v), s) for v, s in zip(given, size, strict=True))


def grid(size: tuple, cells: tuple) -> tuple[np.ndarray, int]:
    """Labels (*S) of a grid, numbered row by row, and the number of cells. Sizes of cells differ by at most a pixel."""
    axes = [np.arange(n) * g // n for n, g in zip(size, cells, strict=True)]
    return np.ravel_multi_index(np.meshgrid(*axes, indexing="ij"), cells).astype("int32"), int(np.prod(cells))


def slic(image: np.ndarray) -> np.ndarray:
    """About 50 superpixels of an image (*S, C), by scikit-image."""
    skimage = scikit_image("segments='slic'", "Or use a grid, as in segments=7.")
    if image.ndim not in (3, 4):
        raise InputError(f"segments='slic' is for images of 2 or 3 dimensions, and {image.ndim - 1} came: use a grid.")
    superpixels = skimage.segmentation.slic
    return superpixels(scaled(image), n_segments=50, compactness=10, start_label=0, channel_axis=-1, convert2lab=None)


def scikit_image(user: str, instead: str) -> Any:
    """The package skimage, which finds segments.

    Raises:
        InputError: it is not installed. The message ends with `instead`.
    """
    try:
        import skimage.segmentation
    except ModuleNotFoundError as error:
        raise InputError(
            f"{user} needs scikit-image, which is not installed. Run: pip install scikit-image. {instead}"
        ) from error
    return skimage


def scaled(image: np.ndarray) -> np.ndarray:
    """An image scaled to values from 0 to 1, and zeros if all its values are equal."""
    low, high = image.min(), image.max()
    return (image - low) / (high - low + (high == low))


def each_image(counts: Sequence[int], drawn: Callable) -> Rows:
    """The rows (M, G, n) of all images, from `drawn(n)`, the rows of arrays (M, n) for an image of n segments.

    They are padded with zeros. The rows of an image depend only on its own number of segments, and not on the other
    images of the batch."""
    of = {n: drawn(n) for n in set(counts)}
    most = max(counts)

    def all_drawn(start, stop):
        def filled(array):
            return np.pad(array.astype("float32"), [(0, stop - start - len(array)), (0, most - array.shape[1])])

        parts = {n: rows.drawn(min(start, rows.number), min(stop, rows.number)) for n, rows in of.items()}
        return [
            np.stack([filled(a) for a in arrays], axis=1) for arrays in zip(*(parts[n] for n in counts), strict=True)
        ]

    return Rows(max(rows.number for rows in of.values()), all_drawn)


def seen(z: Any, labels: Any) -> Any:
    """Masks (G, P, *S) from rows z (P, G, n) of the visibility of each segment."""
    groups, n = z.shape[1:]
    first = ops.reshape(n * ops.arange(groups, dtype="int32"), (-1, *(1,) * (len(labels.shape) - 1)))
    return ops.moveaxis(ops.take(ops.reshape(z, (-1, groups * n)), first + labels, axis=1), 1, 0)


def spread(values: Any, labels: Any) -> Any:
    """Values of segments (B, n, K) as maps (B, *S, K)."""
    shape = ops.shape(labels)
    flat = ops.reshape(labels, (shape[0], -1, 1))
    flat = ops.broadcast_to(flat, (ops.shape(values)[0], flat.shape[1], 1))
    maps = ops.take_along_axis(values, ops.broadcast_to(flat, (*ops.shape(flat)[:2], values.shape[-1])), axis=1)
    return ops.reshape(maps, (-1, *shape[1:], values.shape[-1]))
