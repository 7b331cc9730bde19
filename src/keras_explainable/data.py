"""Every source of images as one iterator of batches, told apart by what the source can do; and checks of what came."""

import itertools
import math
import queue
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from keras_explainable import backend, models
from keras_explainable.errors import InputError, shortly
from keras_explainable.models.inputs import ONE_IMAGE

AHEAD = 2  # batches prepared while the device works
AT_ONCE = 32  # images of a batch, as in Keras
CHECKED_AT_ONCE = 64  # images of a host array: bounds the memory that the check takes
SOURCES = (
    "an array or tensor (N, *space, channels), a list of images of one size, a tf.data.Dataset, a torch DataLoader, "
    "a keras.utils.PyDataset, or a generator of batches"
)


class Batches(NamedTuple):
    """What `batches` returns.

    `iterator` gives `(images, units)`: a native tensor or NumPy array, and int32 (B, K) or None. `number` is how many
    there will be (at most), None where unknown. `kind` is one of "array", "list", "dataset", "loader", "pydataset",
    "generator".
    """

    iterator: Iterator[tuple[Any, np.ndarray | None]]
    number: int | None
    kind: str


def several(x: Any, leaf: Any) -> Any:
    """`x`, a structure of arrays being one of whose arrays that at `leaf` is the images (see `models.Several`).

    Raises:
        InputError: `x` is an array, or has no such leaf.
    """
    if leaf is None or not (isinstance(x, (tuple, list, Mapping)) or _kind(x) == "array"):
        return x
    return models.Several.of(x, leaf)


def batches(
    x: Any, y: Any = None, batch_size: int | None = None, steps: int | None = None, leaf: Any = None
) -> Batches:
    """Cut arrays into batches, or take those that a dataset, loader or generator gives, prepared one thread ahead.

    Args:
        x: one of the sources named in `SOURCES`. Sources of batches give `x`, `(x, y)` or `(x, y, sample_weight)`;
            weights are dropped, and `batch_size` does not apply.
        batch_size: None is 32, and fewer images where that is faster.
        y: an int, (N,) or (N, K) unit indices, in the order of the images; not for sources that give their own. Or what
            chooses units by their scores, as `ke.scores.top_k()` does: it comes with each batch as it is, and in the
            place of the source's own.
        steps: batches to take at most.
        leaf: where the images are in what a source of batches gives (see `several`).

    Raises:
        InputError: `x` is no such source or is empty, `y` does not fit it, or a source without an end came without
            `steps`. What only a batch can show (as the labels of a generator) is raised when that batch is asked for.
    """
    if batch_size is not None:
        _positive("batch_size", batch_size)
    if steps is not None:
        _positive("steps", steps)
    kind = _kind(x)
    if kind in ("array", "list"):
        x = x if kind == "array" else _stack(x)
        _length(x, None)
    units = y if y is None or chooses(y) else unit_array(y)
    if kind in ("array", "list"):
        length, size = _length(x, units), batch_size or backend.at_once(x, AT_ONCE)
        return Batches(itertools.islice(_cut(x, units, size), steps), _least(-(-length // size), steps), kind)
    twice = isinstance(getattr(x, "element_spec", None), tuple) and len(x.element_spec) > 1
    if twice and units is not None and not chooses(units):
        raise _two_labels()
    total = _total(x, kind)
    if total == math.inf and steps is None:
        raise InputError("x has no end: say how many batches to take, as in steps=10.")
    number = _least(total, steps)
    source = map(x.__getitem__, itertools.islice(itertools.count(), number)) if kind == "pydataset" else x
    return Batches(_ahead(_labelled(source, units, steps, leaf)), number, kind)


def check_images(x: Any, first: int = 0) -> None:
    """Refuse what is no batch of images: wrong rank or type, nothing in it, NaN or infinity.

    Args:
        x: (B, *space, channels), or where the model takes its channels elsewhere as it does, an array or tensor.
        first: the number of its first image, for the message.

    Raises:
        InputError: names what came; for NaN or infinity, the first such image and how many there are.
    """
    if isinstance(x, models.Several):
        check_images(x.images, first)
        for path, other in zip(x.inputs.paths[1:], x.inputs.others, strict=True):
            _check_finite(other, first, f"Leaf {models.spelt(path)} of image")
        return
    shape = tuple(getattr(x, "shape", ()))
    if len(shape) < 2:
        raise InputError(
            f"Images of shape {shape} came, and (batch, *space, channels), or features (batch, F), were expected: "
            "add what is missing, as in x[None] for one image or x[..., None] for grey ones."
        )
    if 0 in shape:
        raise InputError(f"Images of shape {shape} came: there is nothing in them to explain.")
    dtype = str(getattr(x.dtype, "name", x.dtype)).removeprefix("torch.")
    if dtype.startswith(("int", "uint", "bool")):
        return
    if not dtype.startswith(("float", "bfloat")):
        raise InputError(
            f"Images of type {dtype} came, and real numbers were expected: convert them, as in x.astype('float32')."
        )
    _check_finite(x, first, "Image")


def _check_finite(x: Any, first: int, what: str) -> None:
    finite = _finite(x)
    if not finite.all():
        bad = np.flatnonzero(~finite)
        raise InputError(
            f"{what} {first + bad[0]} has NaN or infinite values, as have {len(bad)} of these {len(finite)} images: "
            "find out where they come from, or replace them (np.nan_to_num)."
        )


def unit_array(y: Any) -> np.ndarray:
    """Unit indices as int32: (), or (N, K) with K = 1 for (N,). Floats that are whole numbers count as these.

    Raises:
        InputError: labels (fractions, booleans, one-hot rows) or anything else that is no array of unit indices came.
    """
    try:
        units = _host(y)
        if hasattr(y, "ragged_rank"):
            raise ValueError(y)
    except ValueError as error:
        raise InputError("y is ragged: give every image the same number of units, as an array (N, K).") from error
    models.check_units(units, None)
    if _one_hot(units):
        raise models.one_hot(units)
    if max(abs(int(units.max())), abs(int(units.min()))) > np.iinfo(np.int32).max:
        raise InputError(f"y asks for unit {units.max()}: no model has so many.")
    return (units[:, None] if units.ndim == 1 else units).astype("int32")


def chooses(units: Any) -> bool:
    """Whether these are no numbers of units, but what chooses them by their scores (arrays choose something else)."""
    return callable(units) and hasattr(units, "choose")


def _check_dense(x: Any) -> None:
    """Refuse what holds images of several sizes."""
    if hasattr(x, "ragged_rank"):
        raise InputError(
            f"A {type(x).__name__} of shape {tuple(x.shape)} came, and images of one size were expected: resize them "
            "to one, or explain those of each size by themselves."
        )


def _kind(x: Any) -> str:
    _check_dense(x)
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
            f"x of type {type(x).__name__} came, and {SOURCES} was expected. For a model of several inputs say by "
            f"leaf= which of them is the images, {models.alternatives(x)}."
        )
    if isinstance(x, (str, bytes)) or not hasattr(x, "__iter__"):
        single = " A dataset of single images needs a DataLoader around it." if hasattr(x, "__getitem__") else ""
        raise InputError(f"x of type {type(x).__name__} came, and {SOURCES} was expected.{single}")
    return "generator"


def is_count(value: Any) -> bool:
    """Whether this is an integer of at least 1."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool) and 1 <= int(value) <= sys.maxsize


def _positive(name: str, value: Any) -> None:
    if not is_count(value):
        raise InputError(f"{name}={shortly(value)} came, and an integer of at least 1 was expected.")


def _stack(images: Iterable[Any]) -> np.ndarray:
    arrays = [_host(image) for image in images]
    shapes = sorted({a.shape for a in arrays})
    if not arrays:
        raise InputError("x is an empty list: there is nothing to explain.")
    if len(shapes) > 1:
        raise InputError(
            f"x lists images of shapes {', '.join(map(str, shapes))}: resize them to one, or explain them one by one. "
            "For a model of several inputs say by leaf= which of them is the images."
        )
    return np.stack(arrays)


def _length(images: Any, units: Any) -> int:
    """The number of images, with as many units as images."""
    shape = tuple(images.shape)
    if not shape or shape[0] == 0:
        raise InputError(f"x of shape {shape} came: there is no image in it.")
    if _each(units) and len(units) != shape[0]:
        raise InputError(f"{shape[0]} images and units for {len(units)} came: give one row of y for each image.")
    return shape[0]


def _total(x: Any, kind: str) -> float | None:
    """How many batches a source has: infinity for one without an end, None where it cannot say."""
    if kind == "pydataset":
        return math.inf if x.num_batches is None else x.num_batches
    if kind == "dataset":
        return {-1: math.inf, -2: None}.get(cardinality := int(x.cardinality()), cardinality)
    try:
        return len(x)
    except TypeError:
        return None


def _least(*numbers: float | None) -> int | None:
    """The smallest of those that are known."""
    known = [number for number in numbers if number is not None]
    return int(min(known)) if known else None


def _each(units: Any) -> bool:
    """Whether there are numbers for each image."""
    return units is not None and not chooses(units) and units.ndim > 0


def _cut(images: Any, units: Any, size: int) -> Iterator[tuple]:
    for start in range(0, images.shape[0], size):
        part = _native(images[start : start + size])
        yield part, _rows(units, start, len(part))


def _rows(units: Any, start: int, number: int) -> Any:
    """The rows of units for images `start` to `start + number`."""
    if units is None or chooses(units):
        return units
    return units[start : start + number] if units.ndim else np.full((number, 1), units)


def _labelled(source: Iterable[Any], units: Any, steps: int | None, leaf: Any) -> Iterator[tuple]:
    """`(images, units)` of each batch that a source gives, for at most `steps` batches."""
    start = 0
    for batch in itertools.islice(source, steps):
        images, own = _parts(batch, leaf, labelled=not chooses(units))
        if own is not None and units is not None:
            raise _two_labels()
        number = _length(images, own)
        if _each(units) and len(units) < start + number:
            raise InputError(
                f"y has units for {len(units)} images, and x gave {start + number} so far, at last a batch of shape "
                f"{tuple(images.shape)}: {ONE_IMAGE}."
            )
        yield images, _rows(units, start, number) if own is None else _rows(own, 0, number)
        start += number
    if start == 0:
        raise InputError("x gave no batch: it is empty, or has been used up before.")
    if steps is None and _each(units) and len(units) > start:
        raise InputError(f"y has units for {len(units)} images, and x gave {start}: give one row of y for each image.")


def _parts(batch: Any, leaf: Any, labelled: bool) -> tuple[Any, np.ndarray | None]:
    """Images of what a source calls a batch, and its units where they count."""
    parts = batch if isinstance(batch, (tuple, list)) else (batch,)
    if not 1 <= len(parts) <= 3:
        raise InputError(f"A batch of {len(parts)} parts came, and x, (x, y) or (x, y, sample_weight) was expected.")
    if leaf is None and isinstance(parts[0], (Mapping, list, tuple)):
        raise InputError(
            f"Images came as a {type(parts[0]).__name__}, and one array per batch was expected: map it to (x, y). "
            f"For a model of several inputs say by leaf= which of them is the images, {models.alternatives(parts[0])}."
        )
    images = _native(parts[0] if leaf is None else models.Several.of(parts[0], leaf))
    _length(images, None)  # where there is no image there is no unit either
    return images, unit_array(parts[1]) if labelled and len(parts) > 1 and parts[1] is not None else None


def _two_labels() -> InputError:
    return InputError("x gives its own labels with each batch, and y came as well: drop y, or map x to images alone.")


def _ahead(items: Iterator[Any]) -> Iterator[Any]:
    """The items of an iterator, prepared by a thread that stays at most `AHEAD` in front and ends with this one."""
    ready: queue.SimpleQueue = queue.SimpleQueue()
    room = threading.Semaphore(AHEAD)
    stopped = threading.Event()

    def prepare() -> None:
        try:
            while room.acquire() and not stopped.is_set():
                ready.put((next(items), None))
        except StopIteration:
            ready.put((None, StopIteration()))
        except BaseException as error:  # whatever it is, it is raised where the batches are used
            ready.put((None, error))

    thread = threading.Thread(target=prepare, name="keras-explainable-batches", daemon=True)
    thread.start()
    try:
        while True:
            item, error = ready.get()
            room.release()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item
    finally:
        stopped.set()
        room.release()
        if thread is not threading.current_thread():  # in which a generator may be collected
            thread.join(timeout=5)  # a source that hangs must not hang its user; the thread is a daemon


def _native(value: Any) -> Any:
    """A tensor of the backend as it is; anything else, another framework's tensor too, as a NumPy array."""
    if isinstance(value, models.Several):
        return value.map(_native)
    _check_dense(value)
    return value if ops.is_tensor(value) else _host(value)


def _host(value: Any) -> np.ndarray:
    if hasattr(value, "detach"):  # a torch tensor, on whatever device
        value = value.detach().cpu()
    return np.asarray(value)


def _one_hot(units: np.ndarray) -> bool:
    """Whether rows are indicators, of one class or several: as units they would ask for one of them twice or more."""
    return units.ndim == 2 and units.shape[1] > 2 and bool(np.isin(units, (0, 1)).all())


def _finite(x: Any) -> np.ndarray:
    """Whether each image has finite values only, as the model sees them: in single precision. (B,) booleans."""
    if ops.is_tensor(x):
        zeros = ops.cast(x, "float32") * 0  # and NaN for what is not finite: several times as fast as asking each value
        return _host(ops.sum(zeros, axis=tuple(range(1, len(x.shape)))) == 0)
    parts = (_host(x[i : i + CHECKED_AT_ONCE]) for i in range(0, x.shape[0], CHECKED_AT_ONCE))
    with np.errstate(over="ignore"):
        seen = (part.astype("float32", copy=False) for part in parts)
        return np.concatenate([np.isfinite(part).all(axis=tuple(range(1, part.ndim))) for part in seen])
