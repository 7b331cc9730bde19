"""Baselines: images that stand for missing information."""

from typing import Any

import numpy as np
from keras import ops

from keras_explainable import models
from keras_explainable.errors import InputError
from keras_explainable.masking.segments import sizes
from keras_explainable.numerics import random
from keras_explainable.numerics.blur import blur
from keras_explainable.runtime.repetition import as_inputs

EXPECTED = "a number, a colour, images, 'mean', 'blur' or 'noise'"


def references(view: models.View, baselines: Any) -> Any:
    """Reference images as (R, *S or 1s, C or 1), in the layout of the model's images.

    Raises:
        InputError: they do not fit the images.
    """
    given, fits = images_like(view, "baselines", baselines, "a number, a colour or reference images")
    if not fits:
        raise InputError(
            f"Baselines of shape {tuple(np.shape(baselines))} came for images of shape {tuple(view.inputs.shape)}: "
            "give a number, a colour with a value for each channel, or one or more reference images of the size of the "
            "images."
        )
    return as_inputs(given, view.adapter.channels_first)


def baseline_images(
    view: models.View, baseline: Any, seed: int = 0, name: str = "baseline", expected: str = EXPECTED
) -> Any:
    """A baseline as images (B or 1, *S or 1s, C or 1), channels-last.

    Args:
        baseline: "mean" (each image's mean colour), "blur" (a Gaussian blur of a 22nd of the shortest side), "noise"
            (uniform over each image's range), a number, a colour, or images.
        seed: of the noise.
        name, expected: of the parameter, for messages.

    Raises:
        InputError: it is none of these, does not fit the images, or needs the size of the images, which is not known.
    """
    if isinstance(baseline, str) and baseline in NAMED:
        return NAMED[baseline](view, seed)
    given, fits = images_like(view, name, baseline, expected)
    number, batch = given.shape[0], view.x.shape[0]
    if fits and (number in (1, batch) or None in (number, batch)):
        return given
    hint = (
        f" The batch has {batch} images: give one {name} for all images, or one for each image with all images in "
        f"one batch, for example by batch_size={number}."
    )
    raise InputError(
        f"A {name} of shape {tuple(np.shape(baseline))} came for images of shape {tuple(view.inputs.shape)}: give a "
        f"number, a colour with a value for each channel, or images of their shape.{hint if fits else ''}"
    )


def _mean(view: models.View, seed: int) -> Any:
    return ops.mean(view.x, axis=tuple(range(1, len(view.x.shape) - 1)), keepdims=True)


def _blurred(view: models.View, seed: int) -> Any:
    size = sizes("size", view.size, view.size)
    return blur(view.x, min(size) / 22, tuple(range(1, 1 + len(size))))[0]


def _noise(view: models.View, seed: int) -> Any:
    shape = (*sizes("size", view.size, view.size), view.x.shape[-1])
    axes = tuple(range(1, len(view.x.shape)))
    low, high = (extreme(view.x, axis=axes, keepdims=True) for extreme in (ops.min, ops.max))
    return low + (high - low) * random.on_host(shape, seed, 0, 8)


NAMED = {"mean": _mean, "blur": _blurred, "noise": _noise}


def baseline_inputs(view: models.View, baseline: Any) -> Any:
    """`baseline_images` in the layout of the model's images."""
    return as_inputs(baseline_images(view, baseline), view.adapter.channels_first)


def images_like(view: models.View, name: str, value: Any, expected: str) -> tuple[Any, bool]:
    """A number, a colour (C,), or one or more images in the model's layout, as (N, *S or 1s, C or 1), channels-last;
    and whether it has such a shape."""
    try:
        given = value if ops.is_tensor(value) else np.asarray(value)
    except ValueError:  # lists of unequal lengths
        given = np.asarray(None)
    if not ops.is_tensor(given) and given.dtype.kind in "OSUmMc":
        raise InputError(f"{name}={value!r} came, and {expected} was expected.")
    if not ops.is_tensor(given) and given.dtype.kind == "u":  # unsigned: not every framework has 64 bits of it
        given = given.astype("float32")
    given, shape = ops.cast(ops.convert_to_tensor(given), "float32"), tuple(view.x.shape)
    layout = view.adapter.inputs.layout
    if layout is not None and len(given.shape) in (layout.rank - 1, layout.rank):
        given = layout.canonical(given if len(given.shape) == layout.rank else given[None])
    if len(given.shape) <= 1:
        given = ops.reshape(given, (1,) * (len(shape) - 1) + (-1,))
    else:
        given = given[None] if len(given.shape) == len(shape) - 1 else given
        given = ops.moveaxis(given, 1, -1) if view.adapter.channels_first else given
    fits = len(given.shape) == len(shape) and given.shape[0] != 0
    return given, fits and all(g in (1, n) or None in (g, n) for g, n in zip(given.shape[1:], shape[1:], strict=True))
