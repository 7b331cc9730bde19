"""A spatial signal A (B, *S', C), its Jacobian, and its channels in weighted sums: what class activation maps share."""

from typing import Any

from keras import ops

from keras_explainable import models

CANCELS = 1e-6  # of the sum of absolute values: what is left of a sum by rounding alone


def weighted(a: Any, weights: Any) -> Any:
    """sum over c of weights[b, k, c] A[b, s, c]."""
    return ops.einsum("b...c,bkc->b...k", a, weights)


def quotient(a: Any, b: Any) -> Any:
    """a / b, 0 where b is."""
    defined = b != 0
    return ops.where(defined, a / ops.where(defined, b, ops.ones_like(b)), ops.zeros_like(b))


def at_signal(model: Any, inputs: Any, indices: Any, layer: Any, score: Any) -> tuple:
    """The view, and the scores, signal and Jacobian (B, K, *S', C) at its spatial signal."""
    view = models.view(model, inputs, indices, score)
    point = view.signal(layer)
    scores, a, g = view.jacobian([point])
    return view, scores, a[point], g[point]
