"""Check images and units against the model, before any work."""

import re
from collections import deque
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import keras
import numpy as np

from keras_explainable import backend, data, models
from keras_explainable.errors import InputError, shortly
from keras_explainable.explaining.batch_step import tensor
from keras_explainable.models.inputs import IMAGE_CHANNELS, ONE_IMAGE
from keras_explainable.runtime import warning
from keras_explainable.runtime.memory import SOME, check_array_fits

WHOLE = ("array", "list")  # sources whose images are all known before any work


MANY = 50  # units: more than users may expect who left y= out


# Parameters that may have a row for each image: how many axes fewer than images they have, and what to give instead.
FOR_EACH_IMAGE = {"baseline": (0, "one baseline for all of them"), "segments": (1, "a function from images to labels")}


def open_batches(
    model: Any,
    x: Any,
    y: Any,
    batch_size: int | None,
    score: Any,
    leaf: Any,
    steps: int | None = None,
    resizing: Any = None,
    params: Mapping[str, Any] = MappingProxyType({}),
) -> tuple[data.Batches, int | None]:
    """Open a user's images and units as batches that fit the model. Also return the number of images, if it is known
    before any work.

    If all images are known, they are checked here as a whole. If maps are resized, this includes whether they fit into
    memory. All other batches are checked one by one, as they come.

    Args:
        params: the method's parameters, some of which may have a row for each image.

    Raises:
        ChangedError: another thread changed weights meanwhile, and so the model could not run.
    """
    with models.reporting_changes(model):
        x = data.several(x, leaf)
        with models.adapter(model).device():
            source = data.batches(x, y, batch_size, steps, leaf)
        total = None
        if source.kind in WHOLE:
            check(model, x, y, score)
            total = len(x) if steps is None else None
            number = min(len(x), (steps or len(x)) * (batch_size or data.AT_ONCE))
            _check_results(model, x, y, score, number, total, resizing)
        return source._replace(iterator=_checked(source, model, score, params)), total


def _check_results(model: Any, x: Any, y: Any, score: Any, number: int, total: int | None, resizing: Any) -> None:
    """Raise if the maps of so many images do not fit into memory. Warn if they are of very many units."""
    first = x[:1] if hasattr(x, "shape") else np.asarray(x[:1])
    units = number_of(y) if y is not None else counted_units(model, first, score)
    if resizing:
        check_memory(model, first, units or 1, number, None if resizing is True else tuple(resizing))
    if y is None:
        warn_of_many(model, first, units, total)


def _checked(source: data.Batches, model: Any, score: Any, params: Mapping[str, Any]) -> Iterator[tuple]:
    """The batches of a source. Those that were not checked before any work are checked as they come."""
    units = None
    for i, (images, indices) in enumerate(source.iterator):
        if i or source.number not in (None, 1):
            check_rows(params, len(images.shape))
        if source.kind not in WHOLE:
            units = check(model, images, indices, score, units)
            if i == 0 and indices is None:
                warn_of_many(model, images, counted_units(model, images, score))
        yield images, indices


def recorded(source: data.Batches) -> tuple[data.Batches, deque]:
    """The same batches, and a queue of those that were yielded. Outputs arrive in the same order."""
    kept: deque = deque()

    def batches():
        for batch in source.iterator:
            kept.append(batch)
            yield batch

    return source._replace(iterator=batches()), kept


def check(model: Any, x: Any, y: Any = None, score: Any = None, units: int | None = None) -> int | None:
    """Raise if images or units do not fit the model, before any work. Build the model if it was never called.

    Returns the number of units, or of columns of the score, if `y` asks for some; `units` if that is already known."""
    x = x if hasattr(x, "shape") else np.asarray(x)
    data.check_images(x)
    model, first = models.with_others(model, x[:1])
    adapter = models.adapter(model)
    expected, got = adapter.input_shape(), tuple(x.shape)
    if expected and not fits(got[1:], expected[1:]):
        raise InputError(
            f"Images of shape {got} came, and the model takes {expected}: {remedy(got, expected, adapter)}."
        )
    try:
        adapter.build(tensor(first))
        model, first = models.framed(model, first)
    except Exception as error:
        if not _of_layer(error):
            raise
        raise InputError(f"Images of shape {got} came, and the model cannot run on them: {error}") from error
    if y is not None:
        units = units or models.view(model, first, score=score).unit_count()
        of = "model" if score is None or models.chooses(score) else "score"
        if not models.chooses(y):
            models.check_units(data.unit_array(y), units, of)
        elif units is not None and y.count > units:
            raise InputError(f'y="top-{shortly(y.count)}" came, and the {of} has {units} units.')
    return units


def _of_layer(error: Exception) -> bool:
    """Whether a Keras layer rejected its input, rather than the user's own code failing."""
    found = re.search(r"encountered when calling (\w+)\.call", str(error))
    return "incompatible with the layer" in str(error) or (found is not None and hasattr(keras.layers, found[1]))


def warn_of_many(model: Any, x: Any, units: int | None, number: int | None = None) -> None:
    """Warn before the work if `y` was left out and the model has very many units."""
    if units is None or units <= MANY:
        return
    size = models.size(*models.bind(model, x[:1]))
    maps, of = units * (number or 1), f"{number} images" if number else "each image"
    warning.warn(
        f"y= was left out, so every unit is explained: {maps} maps of {of}, {units} each, or "
        f"{4e-6 * maps * np.prod(size):.0f} MB at the size of the images. For the unit that the model scores highest "
        'on each image, give y="predicted"; for the three highest, y="top-3".'
    )


def check_memory(model: Any, x: Any, units: int, number: int, size: tuple | None) -> None:
    """Raise, before the work, if the maps of so many images do not fit into memory."""
    size = size or tuple(models.size(*models.bind(model, x[:1])))
    check_array_fits(
        f"{number * units:,} maps of size {size}, {units:,} for each of {number:,} images,",
        (number, units, *size),
        f'ask for fewer units, as in y="predicted", or a smaller size by resizing=, {SOME}',
    )


def number_of(y: Any) -> int:
    """The number of units asked for, for each image."""
    return y.count if models.chooses(y) else (data.unit_array(y).shape or (1, 1))[1]


def counted_units(model: Any, x: Any, score: Any) -> int | None:
    """The number of units, or of columns of the score. None if the score chooses units, or if the model cannot be run
    here; the method then reports what is wrong."""
    if models.chooses(score):
        return None
    found: list = []
    try:
        model, first = models.bind(model, x[:1])
        if score is None or models.adapter(model).black_box:
            return models.view(model, first, score=score).unit_count()

        def run(images):
            found.append(models.view(model, images, score=score).evaluate()[0].shape[-1])

        backend.trace(run, tuple(first.shape), "float32")
    except Exception:
        return None
    return found[-1]


def fits(shape: tuple, expected: tuple) -> bool:
    """Whether a shape matches the expected one, where None is any size."""
    return len(shape) == len(expected) and all(w in (None, s) for s, w in zip(shape, expected, strict=True))


def remedy(got: tuple, expected: tuple, adapter: Any) -> str:
    """What to do about images of a shape that the model does not take."""
    first, last = adapter.channels_first, not adapter.channels_first
    space = expected[1 + first : len(expected) - last]
    if fits(got, expected[1:]):
        return ONE_IMAGE
    if fits(got, (None, *space)) and got[0 if first else -1] not in IMAGE_CHANNELS:
        return f"add the axis of channels, x[{':, ' if first else '..., '}None]"
    if len(got) < len(expected) - 1:
        return "add the missing axis, as in x[None] for one image or x[..., None] for grey ones"
    if len(got) != len(expected):
        return ONE_IMAGE if len(got) < len(expected) else f"give an array with {len(expected)} axes"
    axis = 1 if first else -1
    if fits(got[1 + first : len(got) - last], space):
        repeated = f", as in np.repeat(x, {expected[axis]}, axis={axis})" if got[axis] == 1 else ""
        return f"give images of {expected[axis]} channels, not {got[axis]}{repeated}"
    if sorted(map(str, got[1:])) == sorted(map(str, expected[1:])):
        return "transpose them first"
    return "resize them first"


def check_rows(params: Mapping[str, Any], rank: int) -> None:
    """Raise if a parameter has a row for each image but images come in several batches: each batch would get the same
    rows."""
    for name in FOR_EACH_IMAGE.keys() & params.keys():
        fewer, instead = FOR_EACH_IMAGE[name]
        try:
            shape = np.shape(params[name])
        except ValueError:  # lists of unequal lengths: the method raises
            continue
        if len(shape) == rank - fewer and shape[0] > 1:
            raise InputError(
                f"{name}= has {shape[0]} rows, one for each image, and the images come in several batches: give "
                f"{instead}, or all images in one batch, as in batch_size={shape[0]}."
            )
