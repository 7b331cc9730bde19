"""A spatial signal A (B, *S', C), its Jacobian, and its channels in weighted sums: what class activation maps share."""

import copy
from typing import Any

from keras import ops

from keras_explainable import models

CANCELS = 1e-6  # of the sum of absolute values: what is left of a sum by rounding alone


def weighted(a: Any, weights: Any) -> Any:
    """sum over c of weights[b, k, c] A[b, s, c]."""
    return ops.einsum("b...c,bkc->b...k", a, weights)


def at_signal(model: Any, inputs: Any, indices: Any, layer: Any, score: Any) -> tuple:
    """The view, and the scores, signal and Jacobian (B, K, *S', C) at its spatial signal; of a signal of T frames that
    the model sees one by one, (B T, *S', C) and (B T, K, *S', C)."""
    view = models.view(model, inputs, indices, score)
    point = view.signal(layer)
    scores, a, g = view.jacobian([point])
    if not view.frames(point):
        return view, scores, a[point], g[point]
    alone = copy.copy(view)  # in which each frame is an image of its own, with weights of its own
    alone.rank -= 1
    rows, gradients = a[point], ops.moveaxis(g[point], 2, 1)
    rows, gradients = (ops.reshape(v, (-1, *v.shape[2:])) for v in (rows, gradients))
    return alone, scores, rows, gradients
