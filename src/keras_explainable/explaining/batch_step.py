"""Run a step on a batch: choose its units, compile it, and halve batches when the device runs out of memory."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras

from keras_explainable import backend, models
from keras_explainable.errors import BackendError, ChangedError
from keras_explainable.models.recording import each
from keras_explainable.runtime import warning
from keras_explainable.runtime.compile_cache import Program, compiled


class BatchStep:
    """A step on batches (images, indices, *rows). Once the device has run out of memory for a batch, this batch and all
    later ones are run in halves."""

    def __init__(self, step: Program, whole: bool, model: Any) -> None:
        self.step, self.whole, self.model, self.halved = step, whole, model, False
        self.ready: Callable | None = None  # compiled at the first batch, which may build the model

    def __call__(self, images: Any, indices: Any, *rows: Any) -> Any:
        try:
            return self.halves(images, indices, *rows) if self.halved else self.run(images, indices, *rows)
        except Exception as error:
            self.halve(error, len(images))
        return self.halves(images, indices, *rows)

    def fetched(self, fetch: Callable, batch: tuple, outputs: Any) -> tuple[Any, Any]:
        """The first image, and the fetched outputs."""
        first = batch[0][:1]
        try:
            return first, each(outputs, fetch)
        except Exception as error:  # work that was started before may fail only now
            self.halve(error, len(batch[0]))
        return first, each(self.halves(*batch), fetch)

    def run(self, images: Any, indices: Any, *rows: Any) -> Any:
        model, images = models.bind(self.model, images)
        images = tensor(images)
        if self.ready is None or model is not self.model:  # the model's other inputs change with each batch
            plain = functools.partial(self.step, model)
            self.ready = compiled(self.step, model, spread=True) if self.whole else plain
        with models.steady(model):
            try:
                return self.ready(images, unit_numbers(model, images, indices), *rows)
            except ChangedError:  # what was cached about the model has been dropped
                return self.ready(images, unit_numbers(model, images, indices), *rows)

    def halves(self, *batch: Any) -> Any:
        middle = -(-len(batch[0]) // 2)
        parts = (slice(0, middle), slice(middle, None)) if middle < len(batch[0]) else (slice(None),)
        done = [self.run(*keras.tree.map_structure(functools.partial(_part, part), batch)) for part in parts]
        if isinstance(done[0], dict):  # of several methods, of which one may have failed in the second half
            done = [{label: part[label] for label in done[-1]} for part in done]
        return keras.tree.map_structure(lambda *values: keras.ops.concatenate(values), *done)

    def halve(self, error: Exception, number: int) -> None:
        lacks = backend.missing(error)
        if lacks is not None:
            raise BackendError(lacks) from error
        if self.halved or number < 2 or not backend.is_out_of_memory(error):
            raise error
        self.halved, half = True, -(-number // 2)
        warning.warn(
            f"The device has too little memory for {number} images at once, and continues with {half}: "
            f"batch_size={half} would start with that."
        )


def _part(part: slice, rows: Any) -> Any:
    return rows[part] if hasattr(rows, "shape") else rows


def unit_numbers(model: Any, images: Any, indices: Any) -> Any:
    """The units to explain as a tensor, or None for all. If units are chosen by their scores, they are chosen here, on
    the original images."""
    if not models.chooses(indices):
        return None if indices is None else keras.ops.convert_to_tensor(indices)
    choose, black_box = ChosenUnits(indices), models.adapter(model).black_box  # a plain function is not compiled
    return (functools.partial(choose, model) if black_box else compiled(choose, model))(images)


@dataclass(frozen=True)
class ChosenUnits(Program):
    """The units that are chosen by their scores."""

    by: Any

    def __call__(self, model: Any, images: Any) -> Any:
        return models.units(model, images, None, self.by)


def tensor(images: Any) -> Any:
    """Images as a tensor of the backend."""
    return keras.ops.convert_to_tensor(images, "float32")
