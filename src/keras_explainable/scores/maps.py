"""Scores of maps: their mean over a region that may have a finer resolution than the map."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from keras import ops

from keras_explainable import backend
from keras_explainable.errors import InputError
from keras_explainable.numerics import resize
from keras_explainable.numerics.arrays import Array
from keras_explainable.scores.score import Score, as_float


def depth(mask: Any = None) -> Score:
    """How far away a region is: the mean of a depth map over it.

    score[b, j] = sum over p of mask_j[p] d[b, p] / sum over p of mask_j[p]

    d is the model's output (batch, H, W), with or without an axis of one channel, or its part "predicted_depth". It is
    used as it is, whether depth or inverse depth, and resized linearly to the mask.

    Args:
        mask: (H, W) of booleans or weights, at the resolution of d or a finer one, such as the images'; or (M, H, W)
            for M scores. None for the whole map.
    """
    return Score(_depth, (None if mask is None else as_mask("depth", mask),))


def as_mask(name: str, mask: Any) -> Array:
    """One or several masks as an array. Raise if it is empty."""
    array = Array.of(mask)
    if not np.any(backend.to_host(array.tensor)):
        raise InputError(f"{name}: the mask has no pixel in it.")
    return array


def covers(mask: tuple, space: tuple) -> bool:
    """Whether one or several masks of this shape have the resolution of a map's spatial axes or a finer one."""
    own = mask[len(mask) - len(space) :]
    return len(mask) - len(space) in (0, 1) and all(s is not None and m >= s for m, s in zip(own, space, strict=True))


def on_grid(mask: Any, space: tuple[int, ...]) -> Any:
    """The weights W (M, *space) on a map of masks (*S) or (M, *S), such that with the map resized linearly to the
    masks:

    sum_q W[q] map[q] = sum_p mask[p] resized[p]"""
    fine = mask.shape[len(mask.shape) - len(space) :]
    found = ops.reshape(mask, (-1, *fine))
    for axis, (old, new) in enumerate(zip(fine, space, strict=True), start=1):
        if old != new:
            shares = ops.convert_to_tensor(resize.weights(new, old))
            found = ops.moveaxis(ops.matmul(ops.moveaxis(found, axis, -1), shares), -1, axis)
    return found


def mean(values: Any, weights: Any) -> Any:
    """The weighted means (B, M) of (B, 1, *S) by (M, *S) or (B, 1, *S); 0 if all weights are 0."""
    pixels = tuple(range(2, len(values.shape)))
    weights = weights if len(weights.shape) == len(values.shape) else weights[None]
    weight = ops.sum(weights, axis=pixels)
    return ops.sum(values * weights, axis=pixels) / ops.where(weight != 0, weight, ops.ones_like(weight))


def _depth(outputs: Any, mask: Array | None) -> Any:
    if isinstance(outputs, Mapping):
        if "predicted_depth" not in outputs:
            raise InputError(
                f"depth: the outputs are {', '.join(map(repr, outputs))}, and 'predicted_depth' was expected: choose "
                "another by ke.scores.output(which, ke.scores.depth())."
            )
        outputs = outputs["predicted_depth"]
    values = as_float(outputs)
    axis = next((axis for axis in (1, -1) if len(values.shape) == 4 and values.shape[axis] == 1), None)
    values = values if axis is None else ops.squeeze(values, axis)
    if len(values.shape) != 3:
        raise InputError(f"depth: outputs of shape {tuple(values.shape)} came, and (batch, H, W) was expected.")
    if mask is None:
        return ops.mean(values, axis=(1, 2))[:, None]
    space = tuple(values.shape[1:])
    if not covers(mask.shape, space):
        raise InputError(
            f"depth: a mask of shape {mask.shape} came for a map of {space}, and one of its size or of more pixels was "
            "expected, such as the images'."
        )
    return mean(values[:, None], on_grid(mask.tensor, space))
