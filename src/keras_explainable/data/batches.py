"""Turn every source of images into one iterator of batches. The kind of source is recognised by its attributes."""

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from keras_explainable import backend, models
from keras_explainable.data.arrays import check_dense, host, native
from keras_explainable.data.checks import check_positive, unit_array
from keras_explainable.data.prefetch import ahead
from keras_explainable.errors import InputError
from keras_explainable.models.inputs import ONE_IMAGE

AT_ONCE = 32  # images of a batch, as in Keras
SOURCES = (
    "an array or tensor (N, *space, channels), a list of images of one size, a tf.data.Dataset, a torch DataLoader, "
    "a keras.utils.PyDataset, or a generator of batches"
)


class Batches(NamedTuple):
    """What `batches` returns.

    `iterator` yields `(images, indices)`: a native tensor or NumPy array, and int32 (B, K) or None. `number` is the
    number of batches (at most), None if unknown. `kind` is one of "array", "list", "dataset", "loader", "pydataset",
    "generator"."""

    iterator: Iterator[tuple[Any, np.ndarray | None]]
    number: int | None
    kind: str


def several(x: Any, leaf: Any) -> Any:
    """Wrap `x`, a structure of arrays of which the one at `leaf` is the images (see `models.Several`). A source of
    batches, or any `x` without `leaf`, is returned as it is.

    Raises:
        InputError: `x` is an array, or has no such leaf.
    """
    if leaf is None or not (isinstance(x, (tuple, list, Mapping)) or kind_of(x) == "array"):
        return x
    return models.Several.of(x, leaf)


def batches(
    x: Any, y: Any = None, batch_size: int | None = None, steps: int | None = None, leaf: Any = None
) -> Batches:
    """Cut arrays into batches, or take the batches of a dataset, loader or generator, prepared one thread ahead.

    Args:
        x: one of the sources in `SOURCES`. A source of batches yields `x`, `(x, y)` or `(x, y, sample_weight)`. Weights
            are dropped, and `batch_size` does not apply.
        batch_size: None for 32, or fewer images if that is faster.
        y: an int, (N,) or (N, K) unit indices, in the order of the images; not for sources that yield their own. Or an
            object that chooses units by their scores, such as `ke.scores.top_k()`: it is passed on unchanged with each
            batch, and replaces the source's own units.
        steps: the largest number of batches to take.
        leaf: where the images are in the batches of a source (see `several`).

    Raises:
        InputError: `x` is not such a source or is empty, `y` does not fit it, or an endless source came without
            `steps`. Errors that only a batch can show, such as wrong labels of a generator, are raised when that batch
            is requested.
    """
    if batch_size is not None:
        check_positive("batch_size", batch_size)
    if steps is not None:
        check_positive("steps", steps)
    kind = kind_of(x)
    if kind in ("array", "list"):
        x = x if kind == "array" else _stack(x)
        _length(x, None)
    indices = y if y is None or models.chooses(y) else unit_array(y)
    if kind in ("array", "list"):
        length, size = _length(x, indices), batch_size or backend.at_once(x, AT_ONCE)
        return Batches(itertools.islice(_cut(x, indices, size), steps), _least(-(-length // size), steps), kind)
    twice = isinstance(getattr(x, "element_spec", None), tuple) and len(x.element_spec) > 1
    if twice and indices is not None and not models.chooses(indices):
        raise _two_labels()
    total = _total(x, kind)
    if total == math.inf and steps is None:
        raise InputError("x has no end: give the number of batches to take, as in steps=10.")
    number = _least(total, steps)
    source = map(x.__getitem__, itertools.islice(itertools.count(), number)) if kind == "pydataset" else x
    return Batches(ahead(_labelled(source, indices, steps, leaf)), number, kind)


def kind_of(x: Any) -> str:
    """The kind of source: array, list, dataset, loader, pydataset or generator."""
    check_dense(x)
    if hasattr(x, "shape") and hasattr(x, "dtype") and hasattr(x, "__getitem__"):
        return "array"
    if isinstance(x, (list, tuple)):
        return "list"
    if hasattr(x, "element_spec") and hasattr(x, "cardinality"):
        return "dataset"
    if hasattr(x, "dataset") and hasattr(x, "batch_size"):
        return "loader"
    if hasattr(x, "num_batches") and hasattr(x, "__getitem__"):
        return "pydataset"
    if isinstance(x, Mapping):
        raise InputError(
            f"x of type {type(x).__name__} came, and {SOURCES} was expected. For a model of several inputs, name by "
            f"leaf= the one that holds the images: {models.alternatives(x)}."
        )
    if isinstance(x, (str, bytes)) or not hasattr(x, "__iter__"):
        single = " A dataset of single images needs a DataLoader around it." if hasattr(x, "__getitem__") else ""
        raise InputError(f"x of type {type(x).__name__} came, and {SOURCES} was expected.{single}")
    return "generator"


def _stack(images: Iterable[Any]) -> np.ndarray:
    arrays = [host(image) for image in images]
    shapes = sorted({a.shape for a in arrays})
    if not arrays:
        raise InputError("x is an empty list: there is nothing to explain.")
    if len(shapes) > 1:
        raise InputError(
            f"x lists images of shapes {', '.join(map(str, shapes))}: resize them to one, or explain them one by one. "
            "For a model of several inputs, name by leaf= the one that holds the images."
        )
    return np.stack(arrays)


def _length(images: Any, indices: Any) -> int:
    """The number of images. Raise if there is none, or if the number of units differs."""
    shape = tuple(images.shape)
    if not shape or shape[0] == 0:
        raise InputError(f"x of shape {shape} came: it holds no image.")
    if _each(indices) and len(indices) != shape[0]:
        raise InputError(f"{shape[0]} images and units for {len(indices)} came: give one row of y for each image.")
    return shape[0]


def _total(x: Any, kind: str) -> float | None:
    """The number of batches of a source: infinity if it has no end, None if it does not say."""
    if kind == "pydataset":
        return math.inf if x.num_batches is None else x.num_batches
    if kind == "dataset":
        return {-1: math.inf, -2: None}.get(cardinality := int(x.cardinality()), cardinality)
    try:
        return len(x)
    except TypeError:
        return None


def _least(*numbers: float | None) -> int | None:
    """The smallest of the known numbers; None if none is known."""
    known = [number for number in numbers if number is not None]
    return int(min(known)) if known else None


def _each(indices: Any) -> bool:
    """Whether there are units for each image."""
    return indices is not None and not models.chooses(indices) and indices.ndim > 0


def _cut(images: Any, indices: Any, size: int) -> Iterator[tuple]:
    for start in range(0, images.shape[0], size):
        part = native(images[start : start + size])
        yield part, _rows(indices, start, len(part))


def _rows(indices: Any, start: int, number: int) -> Any:
    """The units of images `start` to `start + number`."""
    if indices is None or models.chooses(indices):
        return indices
    return indices[start : start + number] if indices.ndim else np.full((number, 1), indices)


def _labelled(source: Iterable[Any], indices: Any, steps: int | None, leaf: Any) -> Iterator[tuple]:
    """Yield `(images, indices)` of each batch of a source, for at most `steps` batches."""
    start = 0
    for batch in itertools.islice(source, steps):
        images, own = _parts(batch, leaf, labelled=not models.chooses(indices))
        if own is not None and indices is not None:
            raise _two_labels()
        number = _length(images, own)
        if _each(indices) and len(indices) < start + number:
            raise InputError(
                f"y has units for {len(indices)} images, and x gave {start + number} so far, the last batch having "
                f"shape {tuple(images.shape)}: {ONE_IMAGE}."
            )
        yield images, _rows(indices, start, number) if own is None else _rows(own, 0, number)
        start += number
    if start == 0:
        raise InputError("x gave no batch: it is empty, or was already used up. Give it batches, or create it anew.")
    if steps is None and _each(indices) and len(indices) > start:
        raise InputError(
            f"y has units for {len(indices)} images, and x gave {start}: give one row of y for each image."
        )


def _parts(batch: Any, leaf: Any, labelled: bool) -> tuple[Any, np.ndarray | None]:
    """The images in a batch of a source, and its units if they count."""
    parts = batch if isinstance(batch, (tuple, list)) else (batch,)
    if not 1 <= len(parts) <= 3:
        raise InputError(f"A batch of {len(parts)} parts came, and x, (x, y) or (x, y, sample_weight) was expected.")
    if leaf is None and isinstance(parts[0], (Mapping, list, tuple)):
        raise InputError(
            f"Images came as a {type(parts[0]).__name__}, and one array per batch was expected: map it to (x, y). "
            "For a model of several inputs, name by leaf= the one that holds the images: "
            f"{models.alternatives(parts[0])}."
        )
    images = native(parts[0] if leaf is None else models.Several.of(parts[0], leaf))
    _length(images, None)  # without images there are no units
    return images, unit_array(parts[1]) if labelled and len(parts) > 1 and parts[1] is not None else None


def _two_labels() -> InputError:
    return InputError("x gives its own labels with each batch, and y came as well: drop y, or map x to images alone.")
