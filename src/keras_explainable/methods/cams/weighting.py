"""Shared by class activation maps: a signal A (B, *S', C), its Jacobian, and weighted sums of its channels."""

from typing import Any

from keras import ops

from keras_explainable import models

CANCELS = 1e-6  # of the sum of absolute values: a smaller sum is due to rounding


def weighted(a: Any, weights: Any) -> Any:
    """sum over c of weights[b, k, c] A[b, s, c]."""
    return ops.einsum("b...c,bkc->b...k", a, weights)


def space_of(values: Any, first: int = 1) -> tuple[int, ...]:
    """The spatial axes of a signal (B, *S', C), or of a Jacobian (B, K, *S', C) if `first` is 2."""
    return tuple(range(first, len(values.shape) - 1))


def at_signal(view: models.View, layer: Any) -> tuple:
    """The scores, the signal A and its Jacobian (B, K, *S', C), for the spatial signal of a layer.

    If the model processes T frames one by one, the signal is (B T, *S', C) and its Jacobian (B T, K, *S', C): each
    frame is treated as an image.
    """
    point = view.signal(layer)
    scores, a, g = view.jacobian([point])
    if point == models.INPUT or not view.call(point).frames:
        return scores, a[point], g[point]
    rows, gradients = a[point], ops.moveaxis(g[point], 2, 1)
    rows, gradients = (ops.reshape(v, (-1, *v.shape[2:])) for v in (rows, gradients))
    return scores, rows, gradients
