"""Scores made of a model's units, the values before its last softmax or sigmoid."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from keras import ops

from keras_explainable import backend
from keras_explainable.errors import InputError, shortly
from keras_explainable.models import score_traits
from keras_explainable.numerics.arrays import Array
from keras_explainable.scores.maps import as_mask, covers, mean, on_grid
from keras_explainable.scores.score import Chosen, Labels, Score, as_float, as_rows, check_units, is_count, numbers
from keras_explainable.scores.score import unit as _unit


def unit(k: int | Sequence[int]) -> Score:
    """The score of unit k, as `y=k`; for several, a column for each.

    score[b, j] = f[b, k_j]"""
    chosen = numbers("k", k)
    return Score(_unit, (chosen,), before_activation=True, linear=True, units=chosen)


def top_k(k: int = 1) -> Chosen:
    """The k units that the model scores highest on each image, the highest first.

    score[b, j] = f[b, u_bj], u_b the units in falling order of f(x)[b]

    The units are chosen on the original images and stay the same on perturbed copies. If `y` is given, its units are
    explained instead."""
    if not is_count(k):
        raise InputError(f"top_k: k={shortly(k)} came, and a number of units, 1 or more, was expected.")
    return Chosen(_top_k, (int(k),), before_activation=True)


def margin(unit: int | Sequence[int], other: int | Sequence[int] | None = None) -> Score:
    """Why this unit rather than another: the difference of their scores.

    score[b, j] = f[b, unit_j] - f[b, other_j], or without `other`, f[b, unit_j] - max over all other units of f[b,
    .]"""
    units = numbers("unit", unit)
    others = None if other is None else numbers("other", other)
    if others is not None and len(others) == 1:
        others *= len(units)
    if others is not None and len(others) != len(units):
        raise InputError(f"margin: {len(units)} units and {len(others)} others came: give one other, or one for each.")
    return Score(_margin, (units, others), before_activation=True, linear=others is not None)


def negated(score: Callable | None = None) -> Score:
    """Evidence against a unit: minus its score. For a binary model with one unit, this explains the negative class.

    score[b, j] = -f[b, j], where f are the values before the last softmax or sigmoid, or those of `score`. With
    `top_k()` the units are those with the highest scores."""
    if isinstance(score, Chosen):
        other = _lowest if score.function is _top_k else _top_k
        return replace(score, function=other, of=negated(score.of))
    of = score_traits(score)
    return Score(_negated, (score,), before_activation=of.before_activation, linear=of.linear, which=of.which)


def binary(labels: Any = None) -> Any:
    """Both classes of a model with one unit, by their labels in a dataset: 0 and 1.

    score[b, 0] = -z[b], score[b, 1] = z[b], where z is the value before the sigmoid. So `score=ke.scores.binary(),
    y=labels` explains each image for its own class, as do batches that come with such labels.

    Args:
        labels: (N,) or (N, 1) of 0 and 1. With them the result is a complete `y`: `y=ke.scores.binary(labels)`.
    """
    score = Score(_binary, (), before_activation=True, linear=True)
    if labels is None:
        return score
    labels = backend.to_host(labels) if ops.is_tensor(labels) else np.asarray(labels)
    return Labels(labels.astype("int32") if labels.dtype.kind == "b" else labels, score)


def region(mask: Any, unit: int, axis: int | None = None) -> Score:
    """A unit of a segmentation map, averaged over a region.

    score[b, j] = sum over p of mask_j[p] f[b, p, unit] / sum over p of mask_j[p]

    Args:
        mask: (*S) of booleans or weights, at the resolution of the model's output; or (M, *S) for M scores. With `axis`
            it may be finer, such as the images'; the output is then resized linearly to it. None: the pixels where the
            model prefers this unit, on each image that it sees; for a model with one unit, the foreground, where the
            value before the sigmoid is above 0.
        unit: the channel.
        axis: the channels' axis in the model's output: -1 as in Keras, 1 as in PyTorch. It is inferred if the mask's
            shape determines it, and required without a mask.

    Raises:
        InputError: the mask is empty, or fits the output at neither end or at both; or there is neither mask nor axis.
    """
    weights = None if mask is None else as_mask("region", mask)
    if axis not in (None, -1, 1):
        raise InputError(f"region: axis={axis!r} came, and -1 (channels last) or 1 (channels first) was expected.")
    if mask is None and axis is None:
        raise InputError(
            "region: without a mask the channels' axis of the outputs is unknown: give axis=-1 (last, as in "
            "Keras) or axis=1 (first, as in PyTorch)."
        )
    return Score(_region, (weights, *numbers("unit", unit), axis), before_activation=True, channels=axis or -1)


def _top_k(outputs: Any, k: int) -> Any:
    values = as_rows(outputs)
    check_units((k - 1,), values.shape[-1])
    return ops.cast(ops.top_k(values, k)[1], "int32")


def _lowest(outputs: Any, k: int) -> Any:
    return _top_k(-as_rows(outputs), k)


def _negated(outputs: Any, score: Callable | None) -> Any:
    return -(as_rows(outputs) if score is None else as_float(score(outputs)))


def _binary(outputs: Any) -> Any:
    z = as_rows(outputs)
    if z.shape[-1] not in (1, None):
        raise InputError(
            f"binary: the model has {z.shape[-1]} units, and one was expected, whose class is 1: leave score= out."
        )
    return ops.concatenate([-z, z], axis=1)


def _margin(outputs: Any, units: tuple[int, ...], others: tuple[int, ...] | None) -> Any:
    values = as_rows(outputs)
    if others is not None:
        return _unit(values, units) - _unit(values, others)
    count = values.shape[-1]
    if count < 2:
        raise InputError(f"margin: the model has {count} unit, so there is no other to compare with.")
    rest = [ops.concatenate([values[:, :k], values[:, k + 1 :]], axis=1) for k in units]
    return _unit(values, units) - ops.stack([ops.max(r, axis=1) for r in rest], axis=1)


def _region(outputs: Any, mask: Array | None, unit: int, axis: int | None) -> Any:
    values = as_float(outputs)
    shape = tuple(values.shape)
    if mask is None:
        check_units((unit,), shape[axis])  # type: ignore[index]
        alone = shape[axis] == 1  # type: ignore[index]
        preferred = ops.take(values, 0, axis=axis) > 0 if alone else ops.argmax(values, axis=axis) == unit
        weights = ops.cast(preferred, "float32")[:, None]
    else:
        fits = [a for a, space in ((-1, shape[1:-1]), (1, shape[2:])) if mask.shape in (space, mask.shape[:1] + space)]
        if axis is None and len(fits) == 1:
            axis = fits[0]
        space = shape[1:-1] if axis == -1 else shape[2:]
        if axis is None or (fits and axis not in fits) or not covers(mask.shape, space):
            raise InputError(
                f"A mask of shape {mask.shape} came for outputs of shape {shape}: it must have their spatial shape, or "
                "with axis= a finer one; several masks are stacked on a first axis. If both ends of the outputs could "
                "be the channels, axis= must say which."
            )
        check_units((unit,), shape[axis])
        weights = on_grid(mask.tensor, space)
    return mean(ops.take(values, unit, axis=axis)[:, None], weights)
