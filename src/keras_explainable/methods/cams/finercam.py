"""Finer-CAM: what distinguishes a unit from similar ones."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from keras_explainable import filters, models
from keras_explainable.errors import InputError
from keras_explainable.methods.cams.weighting import space_of, weighted
from keras_explainable.methods.explainer import explainer
from keras_explainable.models import View
from keras_explainable.runtime.validation import check_number


@explainer("cam", "hidden signal, gradient", "2 forward", "arXiv:2501.11309", postprocessing=filters.positive_normalize)
def finercam(
    view: View,
    layer: Any = None,
    *,
    others: int | Sequence[int] = 3,
    gamma: float = 0.6,
) -> tuple:
    """Grad-CAM of the score of a unit minus the mean score of similar units.

    maps = sum_c mean_s(d(f_k - gamma mean_o f_o) / d A_c) A_c

    Args:
        layer: see `ke.methods.cams`.
        others: the units o to compare with. Or their number: then the units whose scores are nearest to the score of
            the explained unit, without that unit itself.
        gamma: the weight of the other units. 0 is Grad-CAM, and so is a model with a single unit.
        score: the columns of the score are compared with one another. `ke.scores.unit` selects units as `indices`
            does, and these are compared with all units.

    Reference: Zhang et al., Finer-CAM, arXiv:2501.11309.
    """
    check_number("gamma", gamma, math.isfinite, "a number")
    units_of = models.score_traits(view.user_score).units
    if units_of is not None:
        view = models.view(view.model, view.inputs, _units(units_of, view.indices, view.batch))
    every = view.of(view.inputs).evaluate()[0]
    units, n = every.shape[-1], ops.shape(every)[0]
    chosen = ops.arange(units) if view.indices is None else models.unit_indices(view.indices, n, units)
    chosen = ops.broadcast_to(chosen, (n, chosen.shape[-1]))
    compared = nearest(every, chosen, others)  # (B, K, O)
    pairs = ops.concatenate([chosen[..., None], compared], axis=-1)
    wide = view.of(view.inputs, ops.reshape(pairs, (n, -1)))
    point = wide.signal(layer)
    _, a, means = wide.jacobian([point], lambda point, g: ops.mean(g, axis=space_of(g)))
    means = ops.reshape(means[point], (n, *pairs.shape[1:], -1))
    share = ops.cast(compared != chosen[..., None], "float32")
    share = share / ops.maximum(1.0, ops.sum(share, axis=-1, keepdims=True))
    weights = means[:, :, 0] - gamma * ops.einsum("bkoc,bko->bkc", means[:, :, 1:], share)
    return ops.take_along_axis(every, chosen, axis=-1), weighted(a[point], weights)


def _units(units: Sequence[int], columns: Any, batch: Any) -> Any:
    """The units (B, K) at these columns of the selected `units`; None for all of them."""
    known = ops.convert_to_tensor(units)
    if columns is None:
        return ops.broadcast_to(known, (batch, len(units)))
    return ops.take(known, models.unit_indices(columns, batch, len(units)))


def nearest(scores: Any, chosen: Any, others: int | Sequence[int]) -> Any:
    """The units (B, K, O) to compare each chosen unit (B, K) with: the given ones, or the nearest ones in score."""
    units, n = scores.shape[-1], ops.shape(scores)[0]
    if isinstance(others, (int, np.integer)):
        if others < 1:
            raise InputError(
                f"others={others} came, and a number of units to compare with, 1 or more, or indices was expected."
            )
        distance = ops.abs(scores[:, None] - ops.take_along_axis(scores, chosen, axis=-1)[..., None])
        itself = ops.arange(units) == ops.cast(chosen, "int32")[..., None]
        distance = ops.where(itself, ops.full_like(distance, -1.0), distance)  # comes first, and is left out
        return ops.cast(ops.argsort(distance, axis=-1), "int32")[..., 1 : 1 + others]
    models.check_units(np.asarray(others), units)
    given = ops.convert_to_tensor(np.asarray(others, "int32").ravel())
    return ops.broadcast_to(given, (n, chosen.shape[-1], given.shape[0]))
