"""A step that takes smaller batches when memory runs out."""

import functools
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras

from keras_explainable import backend, data, models
from keras_explainable.errors import BackendError, ChangedError
from keras_explainable.explaining.blame import outside
from keras_explainable.models.recording import each
from keras_explainable.runtime.compile_cache import Program, compiled


class Frugal:
    """A step on batches; on halves of them from the first one on for which the device has too little memory."""

    def __init__(self, step: Program, whole: bool, model: Any) -> None:
        self.step, self.whole, self.model, self.halved = step, whole, model, False
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
        images = tensor(images)
        if self.ready is None or model is not self.model:  # what else is fed to the model changes with each batch
            plain = functools.partial(self.step, model)
            self.ready = compiled(self.step, model, spread=True) if self.whole else plain
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
    choose, black_box = Chosen(units), models.adapter(model).black_box  # a function is no program
    return (functools.partial(choose, model) if black_box else compiled(choose, model))(images)


@dataclass(frozen=True)
class Chosen(Program):
    """The units that are chosen by their scores."""

    by: Any

    def __call__(self, model: Any, images: Any) -> Any:
        return models.units(model, images, None, self.by)


def tensor(images: Any) -> Any:
    """Images as a tensor of the backend."""
    return keras.ops.convert_to_tensor(images, "float32")
