"""Baselines: images without information."""

from typing import Any

import numpy as np
from keras import ops

from keras_explainable import models
from keras_explainable.errors import InputError
from keras_explainable.methods.repetition import as_inputs


def references(view: models.View, baselines: Any) -> Any:
    """Baselines as (R, *S or 1s, C or 1), in the layout of the model's images."""
    given, fits = images_like(view, "baselines", baselines, "a number, a colour or reference images")
    if not fits:
        raise InputError(
            f"Baselines of shape {tuple(np.shape(baselines))} came for images of shape {tuple(view.inputs.shape)}: "
            "give a number, a colour with a value for each channel, or any number of reference images of the images' "
            "size, one at least."
        )
    return as_inputs(given, view.adapter.channels_first)


def baseline_images(view: models.View, baseline: Any) -> Any:
    """A baseline as images (B or 1, *S or 1s, C or 1), channels-last."""
    if isinstance(baseline, str) and baseline == "mean":
        return ops.mean(view.x, axis=tuple(range(1, len(view.x.shape) - 1)), keepdims=True)
    given, fits = images_like(view, "baseline", baseline, "a number, a colour, images or 'mean'")
    number, batch = given.shape[0], view.x.shape[0]
    if fits and (number in (1, batch) or None in (number, batch)):
        return given
    hint = (
        f" Images came in a batch of {batch}: give one baseline for all of them, or one for each and all images in one "
        f"batch, as by batch_size={number}."
    )
    raise InputError(
        f"A baseline of shape {tuple(np.shape(baseline))} came for images of shape {tuple(view.inputs.shape)}: give a "
        f"number, a colour with a value for each channel, or images of their shape.{hint if fits else ''}"
    )


def baseline_inputs(view: models.View, baseline: Any) -> Any:
    """`baseline_images` in the layout of the model's images."""
    return as_inputs(baseline_images(view, baseline), view.adapter.channels_first)


def images_like(view: models.View, name: str, value: Any, expected: str) -> tuple[Any, bool]:
    """A number, a colour (C,), an image or several in the model's layout, as (N, *S or 1s, C or 1), channels-last; and
    whether they have this shape."""
    try:
        given = value if ops.is_tensor(value) else np.asarray(value)
    except ValueError:  # lists of unequal lengths
        given = np.asarray(None)
    if not ops.is_tensor(given) and given.dtype.kind in "OSUmMc":
        raise InputError(f"{name}={value!r}: {expected} was expected.")
    if not ops.is_tensor(given) and given.dtype.kind == "u":  # of 64 bits, which not every framework has
        given = given.astype("float32")
    given, shape = ops.cast(ops.convert_to_tensor(given), "float32"), tuple(view.x.shape)
    front = view.adapter.inputs.front
    if front is not None and len(given.shape) in (front.rank - 1, front.rank):
        given = front.canonical(given if len(given.shape) == front.rank else given[None])
    if len(given.shape) <= 1:
        given = ops.reshape(given, (1,) * (len(shape) - 1) + (-1,))
    else:
        given = given[None] if len(given.shape) == len(shape) - 1 else given
        given = ops.moveaxis(given, 1, -1) if view.adapter.channels_first else given
    fits = len(given.shape) == len(shape) and given.shape[0] != 0
    return given, fits and all(g in (1, n) or None in (g, n) for g, n in zip(given.shape[1:], shape[1:], strict=True))
