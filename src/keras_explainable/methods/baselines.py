"""Baselines: what stands for images without information."""

from typing import Any

import numpy as np

from keras_explainable import models
from keras_explainable.errors import InputError
from keras_explainable.methods.loops import as_inputs
from keras_explainable.methods.perturbation import images_like


def references(view: models.View, baselines: Any) -> Any:
    """Baselines as (R, *S or 1s, C or 1), in the layout of the model's images."""
    given, fits = images_like(view, "baselines", baselines, "a number, a colour or reference images")
    if not fits:
        raise InputError(
            f"Baselines of shape {tuple(np.shape(baselines))} came for images of shape {tuple(view.inputs.shape)}: "
            "give a number, a colour with a value for each channel, or any number of reference images of the images' "
            "size, one at least."
        )
    return as_inputs(given, view.taps.channels_first)
