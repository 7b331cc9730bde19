"""Checks of images and units before any work."""

import sys
from typing import Any

import numpy as np
from keras import ops

from keras_explainable import models
from keras_explainable.data.arrays import host
from keras_explainable.errors import InputError, shortly
from keras_explainable.runtime import warning

CHECKED_AT_ONCE = 64  # images of a host array; limits the memory of the check


def check_images(x: Any, first: int = 0) -> None:
    """Raise if this is not a batch of images: wrong rank or type, empty, NaN or infinite.

    Args:
        x: an array or tensor (B, *space, channels), or with the channels where the model takes them.
        first: the number of its first image, for the message.

    Raises:
        InputError: names what came; for NaN or infinity, the first such image and how many there are.
    """
    if isinstance(x, models.Several):
        check_images(x.images, first)
        for path, other in zip(x.inputs.paths[1:], x.inputs.others, strict=True):
            _check_finite(other, first, f"Leaf {models.path_text(path)} of image")
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
            f"{what} {first + bad[0]} has NaN or infinite values, as do {len(bad)} of these {len(finite)} images: "
            "find out where they come from, or replace them (np.nan_to_num)."
        )


def unit_array(y: Any) -> np.ndarray:
    """Unit indices as int32: (), or (N, K), with K = 1 for (N,). Floats that are whole numbers are accepted. One-hot
    rows of more than two classes are read as the class of each, with a warning.

    Raises:
        InputError: labels (fractions, booleans, rows of several classes) came, or anything else that is not an array of
            unit indices.
    """
    try:
        units = host(y)
        if hasattr(y, "ragged_rank"):
            raise ValueError(y)
    except ValueError as error:
        raise InputError("y is ragged: give every image the same number of units, as an array (N, K).") from error
    if _one_class_each(units):
        warning.warn(f"y of shape {units.shape} has one-hot rows: each image is explained for its class.")
        units = units.argmax(axis=-1)
    models.check_units(units, None)
    if _one_hot(units):
        raise models.one_hot(units)
    if max(abs(int(units.max())), abs(int(units.min()))) > np.iinfo(np.int32).max:
        raise InputError(f"y asks for unit {units.max()}: no model has that many.")
    return (units[:, None] if units.ndim == 1 else units).astype("int32")


def is_count(value: Any) -> bool:
    """Whether this is an integer of at least 1."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool) and 1 <= int(value) <= sys.maxsize


def check_positive(name: str, value: Any) -> None:
    """Raise `InputError` unless this is an integer of at least 1."""
    if not is_count(value):
        raise InputError(f"{name}={shortly(value)} came, and an integer of at least 1 was expected.")


def _one_hot(units: np.ndarray) -> bool:
    """Whether the rows are indicators of one or several classes. Read as unit indices, they would name the same unit
    more than once."""
    return units.ndim == 2 and units.shape[1] > 2 and bool(np.isin(units, (0, 1)).all())


def _one_class_each(units: np.ndarray) -> bool:
    """Whether each row is the indicator of one class."""
    return units.dtype.kind in "iuf" and units.size > 0 and _one_hot(units) and bool((units.sum(axis=1) == 1).all())


def _finite(x: Any) -> np.ndarray:
    """Whether each image has only finite values in single precision, as the model sees it. (B,) booleans."""
    if ops.is_tensor(x):
        zeros = ops.cast(x, "float32") * 0  # NaN where not finite: several times faster than testing each value
        return host(ops.sum(zeros, axis=tuple(range(1, len(x.shape)))) == 0)
    parts = (host(x[i : i + CHECKED_AT_ONCE]) for i in range(0, x.shape[0], CHECKED_AT_ONCE))
    with np.errstate(over="ignore"):
        seen = (part.astype("float32", copy=False) for part in parts)
        return np.concatenate([np.isfinite(part).all(axis=tuple(range(1, part.ndim))) for part in seen])
