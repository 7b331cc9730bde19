"""What can be asked of a model: `view(model, inputs, indices, score)` is all that a method needs."""

from typing import Any

from keras_explainable.errors import InputError
from keras_explainable.models.taps import INPUT as INPUT
from keras_explainable.models.taps import Point as Point
from keras_explainable.models.taps import Taps
from keras_explainable.models.view import View
from keras_explainable.models.view import check_units as check_units
from keras_explainable.models.view import unit_indices as unit_indices


def taps(model: Any) -> Taps:
    """The adapter for a model, by its type."""
    import keras

    if isinstance(model, keras.Model):
        from keras_explainable.models.keras import KerasTaps

        return KerasTaps(model)
    raise InputError(f"A {type(model).__module__}.{type(model).__name__} came, and a keras.Model was expected.")


def view(model: Any, inputs: Any, indices: Any = None, score: Any = None) -> View:
    """A model on a batch of images, for chosen units (see `View`)."""
    return View(taps(model), inputs, indices, score)
