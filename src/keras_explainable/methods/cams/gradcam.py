"""Class activation maps: sums of the channels A (B, *S', C) of a spatial signal, weighted by a head or by gradients."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from keras_explainable import filters, models
from keras_explainable.errors import InputError, LayerError
from keras_explainable.methods.cams_forward import ablationcam as ablationcam
from keras_explainable.methods.cams_forward import scorecam as scorecam
from keras_explainable.methods.channels import CANCELS, at_signal, weighted
from keras_explainable.methods.gradient import units_last
from keras_explainable.methods.loops import check_number
from keras_explainable.numerics.arithmetic import quotient
from keras_explainable.numerics.resize import resize
from keras_explainable.registry import explainer


@explainer("cam", "linear head", "1 forward", "arXiv:1512.04150", postprocessing=filters.positive_normalize)
def cam(model: Any, inputs: Any, indices: Any = None, layer: Any = None, score: Any = None) -> tuple:
    """The channels before global pooling, weighted by the head's weights for the unit.

    maps[b, s, k] = sum_c W[c, k] A[b, s, c], W the kernel of the linear layer behind the pooling (a model that
    ends in the pooling itself has the identity there).

    Args:
        score: one that is linear in the units, `ke.scores.unit`, `top_k`, or `margin` with `other`: W is then the score
            of each row of the kernel.

    Raises:
        LayerError: the model has no linear head with one weight for each channel, or a class token.
        InputError: the score is not known to be linear in the units.

    Reference: Zhou et al., Learning Deep Features for Discriminative Localization, arXiv:1512.04150.
    """
    view = models.view(model, inputs, indices, score)
    if view.score is not None and not getattr(view.score, "linear", False):
        raise InputError(
            f"score={score!r} came, and CAM, whose weights are the head's, explains scores that are linear in the "
            "units: ke.scores.unit, top_k, or margin with other=. Use `gradcam`, which explains any."
        )
    point = view.signal(layer)
    scores, seen = view.evaluate([point])
    a, kernel = seen[point], view.head()
    if kernel is None and view.pools():
        kernel = ops.eye(a.shape[-1])
    if kernel is None or kernel.shape[0] != a.shape[-1]:
        rows = (
            "no linear layer right behind a global pooling"
            if kernel is None
            else f"a linear layer with {kernel.shape[0]} inputs"
        )
        raise LayerError(
            f"CAM weighs the {a.shape[-1]} channels of {point} by the head's weights, and the model ends in {rows}. "
            "Use `gradcam`, which needs no such head."
        )
    reading = view.readings.get(point)
    beside = view.call(point).shape[1] - reading.number if reading and reading.grid else 0
    if beside:
        raise LayerError(
            f"CAM is for channels that are pooled over space, and {point} has {beside} tokens beside its grid that the "
            "scores may come from. Use `gradcam`, which needs no pooling."
        )
    kernel = ops.cast(kernel, "float32")
    weights = ops.transpose(kernel if view.score is None else view.score(kernel))  # (units, C)
    if view.indices is None:
        return scores, ops.einsum("b...c,kc->b...k", a, weights)
    chosen = models.unit_indices(view.indices, ops.shape(a)[0], weights.shape[0])
    return scores, weighted(a, ops.take(weights, chosen, axis=0))


@explainer("cam", "hidden signal, gradient", "1 forward", "arXiv:1610.02391", postprocessing=filters.positive_normalize)
def gradcam(model: Any, inputs: Any, indices: Any = None, layer: Any = None, score: Any = None) -> tuple:
    """The channels of a signal, weighted by the mean gradient of the score there.

    maps[b, s, k] = sum_c mean_s'(d score[b, k] / d A[b, s', c]) A[b, s, c]

    With `score=ke.scores.region(mask, unit)` on a network for segmentation it is Seg-Grad-CAM, arXiv:2002.11434.

    Reference: Selvaraju et al., Grad-CAM, arXiv:1610.02391.
    """
    view, scores, a, g = at_signal(model, inputs, indices, layer, score)
    return scores, weighted(a, ops.mean(g, axis=view.space))


@explainer("cam", "hidden signal, gradient", "1 forward", "arXiv:1710.11063", postprocessing=filters.positive_normalize)
def gradcampp(model: Any, inputs: Any, indices: Any = None, layer: Any = None, score: Any = None) -> tuple:
    """The channels of a signal, weighted by their positive gradients, each place in proportion to its share.

    maps = sum_c w_c A_c, w_c = sum_s alpha relu(g), alpha = g^2 / (2 g^2 + g^3 sum_s A), 0 where that is undefined.

    The paper's exp(score) is left out: it cancels in alpha and scales each map by a positive number.

    Reference: Chattopadhay et al., Grad-CAM++, arXiv:1710.11063.
    """
    view, scores, a, g = at_signal(model, inputs, indices, layer, score)
    total = ops.sum(a, axis=tuple(range(1, 1 + view.rank)), keepdims=True)[:, None]
    # g^2 cancels: alpha = 1 / (2 + g sum A). What is left cannot underflow for the small gradients of a last layer.
    below = 2 + g * total
    return scores, weighted(a, ops.sum(quotient(ops.relu(g), below), axis=view.space))


@explainer("cam", "hidden signal, gradient", "1 forward", "arXiv:2011.08891", postprocessing=filters.positive_normalize)
def hirescam(model: Any, inputs: Any, indices: Any = None, layer: Any = None, score: Any = None) -> tuple:
    """The channels of a signal, each place weighted by its own gradient: exact where only linear layers follow.

    maps[b, s, k] = sum_c d score[b, k] / d A[b, s, c] A[b, s, c]

    Reference: Draelos & Carin, HiResCAM, arXiv:2011.08891.
    """
    _, scores, a, g = at_signal(model, inputs, indices, layer, score)
    return scores, units_last(ops.sum(g * a[:, None], axis=-1))


@explainer("cam", "hidden signal, gradient", "1 forward", "arXiv:2008.02312", postprocessing=filters.positive_normalize)
def xgradcam(model: Any, inputs: Any, indices: Any = None, layer: Any = None, score: Any = None) -> tuple:
    """The channels of a signal, weighted by the mean gradient where they are active.

    maps = sum_c w_c A_c, w_c = sum_s A_c g_c / sum_s A_c, 0 for a channel whose values cancel.

    Reference: Fu et al., Axiom-based Grad-CAM, arXiv:2008.02312.
    """
    view, scores, a, g = at_signal(model, inputs, indices, layer, score)
    space = tuple(range(1, 1 + view.rank))
    total, size = ops.sum(a, axis=space), ops.sum(ops.abs(a), axis=space)
    total = ops.where(ops.abs(total) <= CANCELS * size, ops.zeros_like(total), total)
    return scores, weighted(a, quotient(ops.sum(g * a[:, None], axis=view.space), total[:, None]))


@explainer(
    "cam", "hidden signal, gradient", "1 forward", "10.1109/TIP.2021.3089943", postprocessing=filters.positive_normalize
)
def layercam(
    model: Any,
    inputs: Any,
    indices: Any = None,
    layer: Any = None,
    score: Any = None,
    *,
    layers: Sequence | None = None,
) -> tuple:
    """The channels of a signal, each place weighted by its own gradient if that is positive: fine also in early layers.

    maps[b, s, k] = sum_c relu(d score[b, k] / d A[b, s, c]) A[b, s, c]

    Args:
        layers: several layers, in place of one. Their maps are put together: each is made positive, divided by its
            maximum, resized to the largest of them, and the maximum of all is taken. (The paper scales the maps M of
            early layers by tanh(2 M / max M), which lifts their small values.)

    Reference: Jiang et al., LayerCAM, IEEE TIP 2021, doi:10.1109/TIP.2021.3089943.
    """
    view = models.view(model, inputs, indices, score)
    if layers is not None and not (isinstance(layers, (list, tuple)) and layers):
        raise InputError(f"layers={layers!r} came, and a list of layers was expected; for a single one use layer=.")
    points = [view.signal(one) for one in ([layer] if layers is None else layers)]
    scores, a, g = view.jacobian(list(dict.fromkeys(points)))
    maps = [units_last(ops.sum(ops.relu(g[p]) * a[p][:, None], axis=-1)) for p in points]
    return scores, maps[0] if layers is None else fused(maps)


def fused(maps: Sequence) -> Any:
    """Maps (B, *S', K) of several sizes as one: positive, over their maxima, as large as the largest, their maximum."""
    space = tuple(range(1, len(maps[0].shape) - 1))
    size = [max(m.shape[axis] for m in maps) for axis in space]
    found = None
    for m in map(ops.relu, maps):
        high = ops.max(m, axis=space, keepdims=True)
        m = resize(m / ops.where(high > 0, high, ops.ones_like(high)), size)
        found = m if found is None else ops.maximum(found, m)
    return found


@explainer("cam", "hidden signal, gradient", "2 forward", "arXiv:2501.11309", postprocessing=filters.positive_normalize)
def finercam(
    model: Any,
    inputs: Any,
    indices: Any = None,
    layer: Any = None,
    score: Any = None,
    *,
    others: int | Sequence[int] = 3,
    gamma: float = 0.6,
) -> tuple:
    """What tells a class from those that look like it: Grad-CAM of its score less the mean of theirs.

    maps = sum_c mean_s(d(f_k - gamma mean_o f_o) / d A_c) A_c

    Args:
        others: the units to compare with, or how many of those whose scores are nearest to that of the explained unit,
            which is itself left out.
        gamma: how much they count; 0 is Grad-CAM. So is a model with nothing to compare with, of a single unit.
        score: its columns are compared with one another; of `ke.scores.unit` the units, as by `indices`, with all.

    Reference: Zhang et al., Finer-CAM, arXiv:2501.11309.
    """
    check_number("gamma", gamma, math.isfinite, "a number")
    if getattr(score, "units", None) is not None:
        indices, score = _units(score.units, indices, ops.shape(inputs)[0]), None
    view = models.view(model, inputs, indices, score)
    every = view.of(inputs).evaluate()[0]
    units, n = every.shape[-1], ops.shape(every)[0]
    chosen = ops.arange(units) if view.indices is None else models.unit_indices(view.indices, n, units)
    chosen = ops.broadcast_to(chosen, (n, chosen.shape[-1]))
    compared = nearest(every, chosen, others)  # (B, K, O)
    pairs = ops.concatenate([chosen[..., None], compared], axis=-1)
    wide = view.of(inputs, ops.reshape(pairs, (n, -1)))
    point = wide.signal(layer)
    _, a, means = wide.jacobian([point], lambda point, g: ops.mean(g, axis=tuple(range(1, 1 + view.rank))))
    means = ops.reshape(means[point], (n, *pairs.shape[1:], -1))
    share = ops.cast(compared != chosen[..., None], "float32")
    share = share / ops.maximum(1.0, ops.sum(share, axis=-1, keepdims=True))
    weights = means[:, :, 0] - gamma * ops.einsum("bkoc,bko->bkc", means[:, :, 1:], share)
    return ops.take_along_axis(every, chosen, axis=-1), weighted(a[point], weights)


def _units(units: Sequence[int], columns: Any, batch: Any) -> Any:
    """The units (B, K) that these columns of a choice of units are; None for all of them."""
    known = ops.convert_to_tensor(units)
    if columns is None:
        return ops.broadcast_to(known, (batch, len(units)))
    return ops.take(known, models.unit_indices(columns, batch, len(units)))


def nearest(scores: Any, chosen: Any, others: int | Sequence[int]) -> Any:
    """For each chosen unit (B, K) the units to compare it with (B, K, O): those given, or so many nearest in score."""
    units, n = scores.shape[-1], ops.shape(scores)[0]
    if isinstance(others, (int, np.integer)):
        if others < 1:
            raise InputError(f"others={others}: 1 or more units to compare with, or their indices, was expected.")
        distance = ops.abs(scores[:, None] - ops.take_along_axis(scores, chosen, axis=-1)[..., None])
        itself = ops.arange(units) == ops.cast(chosen, "int32")[..., None]
        distance = ops.where(itself, ops.full_like(distance, -1.0), distance)  # the first, and left out
        return ops.cast(ops.argsort(distance, axis=-1), "int32")[..., 1 : 1 + others]
    models.check_units(np.asarray(others), units)
    given = ops.convert_to_tensor(np.asarray(others, "int32").ravel())
    return ops.broadcast_to(given, (n, chosen.shape[-1], given.shape[0]))
