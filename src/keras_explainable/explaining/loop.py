"""The loop: batches in, the compiled step, its results fetched while the next batch is computed."""

import functools
import inspect
import math
import os
import re
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from keras_explainable import backend, data, models, registry, scores
from keras_explainable.errors import BackendError, ChangedError, InputError
from keras_explainable.models.inputs import IMAGE_CHANNELS, ONE_IMAGE
from keras_explainable.models.recording import each
from keras_explainable.runtime.compile_cache import compiled, frozen
from keras_explainable.runtime.memory import SOME, check_fits
from keras_explainable.runtime.progress import shown

HOME = os.path.dirname(__file__)  # no line in here is to blame for a warning
WHOLE = ("array", "list")  # sources whose images are all there before any work
MANY = 50  # units: so many more than who left y= out may have thought of
# Parameters that may have a row for each image: how many axes fewer than images they have, and what else to give.
FOR_EACH_IMAGE = {"baseline": (0, "one baseline for all of them"), "segments": (1, "a function from images to labels")}


def run_steps(
    step: Callable,
    key: Any,
    model: Any,
    source: data.Batches,
    verbose: int | str = "auto",
    callbacks: Any = None,
    fetch: Callable = backend.to_host,
    score: Any = None,
    given: dict[str, Any] | None = None,
) -> Iterator[tuple[Any, Any]]:
    """For each batch its first image and `step(model, images, units)`, whose tensors are fetched while the next
    batch is computed: they have the images on their first axis. The step is compiled under `key`, or run as it is for
    None. When the device has too little memory, batches are halved from there on. `given`: the step's parameters."""
    frugal, number = _Frugal(step, key, model), None
    waiting: tuple | None = None
    failure: BaseException | None = None
    progress = _callbacks(callbacks, model, source.number, verbose)
    progress.on_predict_begin()
    try:
        for i, (images, units) in enumerate(source.iterator):
            progress.on_predict_batch_begin(i)
            if i or source.number not in (None, 1):
                _check_rows(given or {}, len(images.shape))
            if source.kind not in WHOLE:
                number = check(model, images, units, score, number)
                if i == 0 and units is None:
                    _warn_of_many(model, images, _counted(model, images, score))
            with shown(verbose in (1, "auto") and source.number == 1):
                outputs = frugal(images, units)
            if waiting is not None:
                yield frugal.fetched(fetch, *waiting)
            waiting = images, units, outputs
            progress.on_predict_batch_end(i, {"outputs": outputs})
    except (Exception, KeyboardInterrupt) as error:  # what was computed before is not lost
        failure = error
    if waiting is not None:
        yield frugal.fetched(fetch, *waiting)
    if failure is not None:
        try:
            raise failure
        finally:
            del failure  # whose traceback has this frame
    progress.on_predict_end()


class _Frugal:
    """A step on batches; on halves of them from the first one on for which the device has too little memory."""

    def __init__(self, step: Callable, key: Any, model: Any) -> None:
        self.step, self.key, self.model, self.halved = step, key, model, False
        self.ready: Callable | None = None  # compiled with the first batch, which may build the model

    def __call__(self, images: Any, units: Any) -> Any:
        try:
            return self.halves(images, units) if self.halved else self.run(images, units)
        except Exception as error:
            self.halve(error, len(images))
        return self.halves(images, units)

    def fetched(self, fetch: Callable, images: Any, units: Any, outputs: Any) -> tuple[Any, Any]:
        """The first image, and the outputs where they are wanted."""
        try:
            return images[:1], each(outputs, fetch)
        except Exception as error:  # of work that was only begun before
            self.halve(error, len(images))
        return images[:1], each(self.halves(images, units), fetch)

    def run(self, images: Any, units: Any) -> Any:
        model, images = models.bind(self.model, images)
        images = _tensor(images)
        if self.ready is None or model is not self.model:  # what else is fed to the model changes with each batch
            whole = self.key is not None
            self.ready = (
                compiled(self.step, self.key, model, spread=True) if whole else functools.partial(self.step, model)
            )
        with models.steady(model):
            try:
                return self.ready(images, unit_numbers(model, images, units))
            except ChangedError:  # what was known of the model is forgotten
                return self.ready(images, unit_numbers(model, images, units))

    def halves(self, images: Any, units: Any) -> Any:
        middle = -(-len(images) // 2)
        parts = (slice(0, middle), slice(middle, None)) if middle < len(images) else (slice(None),)
        done = [self.run(images[part], units[part] if hasattr(units, "shape") else units) for part in parts]
        return keras.tree.map_structure(lambda *values: keras.ops.concatenate(values), *done)

    def halve(self, error: Exception, number: int) -> None:
        lacks = backend.missing(error)
        if lacks is not None:
            raise BackendError(lacks) from error
        if self.halved or number < 2 or not backend.is_out_of_memory(error):
            raise error
        self.halved, half = True, -(-number // 2)
        warnings.warn(
            f"The device has too little memory for {number} images at once, and goes on with {half}: "
            f"batch_size={half} begins with that.",
            stacklevel=outside(),
        )


def unit_numbers(model: Any, images: Any, units: Any) -> Any:
    """The units to explain as a tensor, or None for all; chosen now, on the images as they came, where none are
    named."""
    if not data.chooses(units):
        return None if units is None else keras.ops.convert_to_tensor(units)

    def choose(model, images):
        return models.units(model, images, None, units)

    black_box = models.adapter(model).black_box  # a function is no program
    return (functools.partial(choose, model) if black_box else compiled(choose, ("y", frozen(units)), model))(images)


def asked(y: Any, score: Any) -> tuple[Any, Any]:
    """What a user's `y` and `score` ask for: unit numbers, what chooses them by their scores, or None; and the score.

    Raises:
        InputError: they are no such thing, or do not go together.
    """
    if isinstance(score, scores.Labels):
        raise InputError("score=ke.scores.binary(labels) came: labels choose what is explained, so give them as y=.")
    if not (score is None or registry.accepts(score, "outputs")):
        raise InputError(
            f"score={score!r} came, and a function from the model's outputs to (batch, units) scores was expected: "
            "ke.scores has some ready, such as ke.scores.margin(3, 5); for a unit give y=3."
        )
    if isinstance(y, scores.Labels):
        if score is not None:
            raise InputError(
                "y=ke.scores.binary(...) or detection(...) has a score of its own, and score= came as well: give one."
            )
        return y.y, y.score
    if not isinstance(y, str):
        return y, score
    found = re.fullmatch(r"predicted|top-([1-9][0-9]{0,8})", y)
    if not found:
        raise InputError(
            f'y={y!r} came, and numbers of units were expected, or "predicted" for the unit that the model scores '
            'highest on each image, or "top-3" for so many of the highest.'
        )
    columns = score.of if data.chooses(score) else score
    return replace(scores.top_k(int(found[1] or 1)), of=columns), score


def outside() -> int:
    """The `stacklevel` of a warning whose caller is the user's own line."""
    return next(i for i, frame in enumerate(inspect.stack(0)) if not frame.filename.startswith(HOME))


def opened(
    model: Any,
    x: Any,
    y: Any,
    batch_size: int | None,
    score: Any,
    leaf: Any,
    steps: int | None = None,
    resizing: Any = None,
) -> tuple[data.Batches, int | None]:
    """The batches of what a user gave, and how many images they have, where that is known before any work. What is all
    there is checked as a whole, also whether there is memory for its maps where they are resized."""
    x = data.several(x, leaf)
    with models.adapter(model).device():
        source = data.batches(x, y, batch_size, steps, leaf)
    if source.kind not in WHOLE:
        return source, None
    check(model, x, y, score)
    total = len(x) if steps is None else None
    first = x[:1] if hasattr(x, "shape") else np.asarray(x[:1])
    units = _number(y) if y is not None else _counted(model, first, score)
    if resizing:
        number = min(len(x), (steps or len(x)) * (batch_size or data.AT_ONCE))
        _check_memory(model, first, units or 1, number, None if resizing is True else tuple(resizing))
    if y is None:
        _warn_of_many(model, first, units, total)
    return source, total


def remembered(source: data.Batches) -> tuple[data.Batches, deque]:
    """The same batches, and those that were given and not yet taken off: outputs come in their order."""
    kept: deque = deque()

    def batches():
        for batch in source.iterator:
            kept.append(batch)
            yield batch

    return source._replace(iterator=batches()), kept


def check(model: Any, x: Any, y: Any = None, score: Any = None, units: int | None = None) -> int | None:
    """Refuse images and units that do not fit the model, before any work; build the model if it was never called.

    Returns how many units, or columns of the score, there are, where `y` asks for some; `units` if that is known."""
    x = x if hasattr(x, "shape") else np.asarray(x)
    data.check_images(x)
    model, first = models.with_others(model, x[:1])
    adapter = models.adapter(model)
    expected, got = adapter.input_shape(), tuple(x.shape)
    if expected and not _fits(got[1:], expected[1:]):
        raise InputError(
            f"Images of shape {got} came, and the model takes {expected}: {_mended(got, expected, adapter)}."
        )
    try:
        adapter.build(_tensor(first))
        model, first = models.framed(model, first)
    except Exception as error:
        if not _of_layer(error):
            raise
        raise InputError(f"Images of shape {got} came, and the model cannot run on them: {error}") from error
    if y is not None:
        units = units or models.view(model, first, score=score).unit_count()
        of = "model" if score is None or data.chooses(score) else "score"
        if not data.chooses(y):
            models.check_units(data.unit_array(y), units, of)
        elif units is not None and y.arguments[0] > units:
            raise InputError(f'y="top-{y.arguments[0]}" came, and the {of} has {units} units.')
    return units


def _of_layer(error: Exception) -> bool:
    """Whether a layer of Keras could not take what it got, and not the user's own code failed."""
    found = re.search(r"encountered when calling (\w+)\.call", str(error))
    return "incompatible with the layer" in str(error) or (found is not None and hasattr(keras.layers, found[1]))


def _warn_of_many(model: Any, x: Any, units: int | None, number: int | None = None) -> None:
    """Say so before the work where a unit that is not named would be one of very many, of so many images."""
    if units is None or units <= MANY:
        return
    size = models.size(*models.bind(model, x[:1]))
    maps, of = units * (number or 1), f"{number} images" if number else "each image"
    warnings.warn(
        f"y= was left out, which asks for every unit: {maps} maps of {of}, {units} each, or "
        f"{4e-6 * maps * np.prod(size):.0f} MB at the size of the images. For the unit that the model scores highest "
        'on each image give y="predicted", for several of them y="top-3".',
        stacklevel=outside(),
    )


def _check_memory(model: Any, x: Any, units: int, number: int, size: tuple | None) -> None:
    """Refuse, before the work, maps of so many images that memory cannot hold."""
    size = size or tuple(models.size(*models.bind(model, x[:1])))
    if all(isinstance(side, (int, np.integer)) for side in size):
        check_fits(
            f"{number * units:,} maps of size {size}, {units:,} for each of {number:,} images,",
            4.0 * number * units * math.prod(map(int, size)),
            f'ask for fewer units, as by y="predicted", or a smaller size by resizing=, {SOME}',
        )


def _number(y: Any) -> int:
    """How many units of each image are asked for."""
    return y.arguments[0] if data.chooses(y) else (data.unit_array(y).shape or (1, 1))[1]


def _counted(model: Any, x: Any, score: Any) -> int | None:
    """How many units, or columns of the score, there are; None where only the method can tell what is wrong, or the
    score chooses."""
    if data.chooses(score):
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


def _fits(shape: tuple, wanted: tuple) -> bool:
    """Whether a shape is one that was wanted, None being any size."""
    return len(shape) == len(wanted) and all(w in (None, s) for s, w in zip(shape, wanted, strict=True))


def _mended(got: tuple, expected: tuple, adapter: Any) -> str:
    """What to do with images of a shape that a model does not take."""
    first, last = adapter.channels_first, not adapter.channels_first
    space = expected[1 + first : len(expected) - last]
    if _fits(got, expected[1:]):
        return ONE_IMAGE
    if _fits(got, (None, *space)) and got[0 if first else -1] not in IMAGE_CHANNELS:
        return f"add the axis of channels, x[{':, ' if first else '..., '}None]"
    if len(got) < len(expected) - 1:
        return "add what is missing, as in x[None] for one image or x[..., None] for grey ones"
    if len(got) != len(expected):
        return ONE_IMAGE if len(got) < len(expected) else f"give an array with {len(expected)} axes"
    axis = 1 if first else -1
    if _fits(got[1 + first : len(got) - last], space):
        repeated = f", as by np.repeat(x, {expected[axis]}, axis={axis})" if got[axis] == 1 else ""
        return f"give images of {expected[axis]} channels, not {got[axis]}{repeated}"
    if sorted(map(str, got[1:])) == sorted(map(str, expected[1:])):
        return "transpose them first"
    return "resize them first"


def _check_rows(params: dict[str, Any], rank: int) -> None:
    """Refuse what has a row for each image where images come in several batches: each would get the same rows."""
    for name in FOR_EACH_IMAGE.keys() & params.keys():
        fewer, instead = FOR_EACH_IMAGE[name]
        try:
            shape = np.shape(params[name])
        except ValueError:  # lists of unequal lengths, which the method refuses
            continue
        if len(shape) == rank - fewer and shape[0] > 1:
            raise InputError(
                f"{name}= has {shape[0]} rows, one for each image, and the images come in several batches: give "
                f"{instead}, or all images in one batch, as by batch_size={shape[0]}."
            )


def _tensor(images: Any) -> Any:
    return keras.ops.convert_to_tensor(images, "float32")


class _Nobody:
    """Callbacks where there are none: a list of Keras's would start a thread for them."""

    def __getattr__(self, name: str) -> Callable:
        return lambda *args: None


def _callbacks(callbacks: Any, model: Any, steps: int | None, verbose: int | str) -> Any:
    if isinstance(callbacks, keras.callbacks.CallbackList):
        return callbacks
    try:
        verbose = 1 if isinstance(verbose, str) and verbose == "auto" else int(verbose)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f'verbose={verbose!r} came, and "auto", 0, 1 or 2 was expected.') from error
    callbacks = [] if callbacks is None else keras.tree.flatten(callbacks)
    if not all(hasattr(callback, "set_model") and hasattr(callback, "on_predict_begin") for callback in callbacks):
        raise InputError(f"callbacks={callbacks!r} came, and a list of keras.callbacks.Callback was expected.")
    if not callbacks and not verbose:
        return _Nobody()
    # No history callback: it would be written to the model.
    listed = keras.callbacks.CallbackList(
        callbacks, add_history=False, add_progbar=verbose != 0, verbose=verbose, epochs=1, steps=steps
    )
    for (
        callback
    ) in listed.callbacks:  # each by itself: the list asks whether the model is true, which modules may not be
        callback.set_model(models.parted(model)[0])
    return listed
