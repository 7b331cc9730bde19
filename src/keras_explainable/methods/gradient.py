"""The gradient of a score with respect to the image, and what is made of it."""

from collections.abc import Callable
from typing import Any

from keras import ops

from keras_explainable import filters, models
from keras_explainable.methods.fullgrad import full_gradients as full_gradients
from keras_explainable.methods.fullgrad import simple_full_gradients as simple_full_gradients
from keras_explainable.methods.loops import check_choice
from keras_explainable.registry import explainer

REDUCE = {
    "mean": lambda g: ops.mean(ops.abs(g), axis=-1),
    "max": lambda g: ops.max(ops.abs(g), axis=-1),
    "sum": lambda g: ops.sum(ops.abs(g), axis=-1),
}


def units_last(maps: Any) -> Any:
    """(B, K, *S) as (B, *S, K)."""
    return ops.moveaxis(maps, 1, -1)


def channel_reducer(reduce: str | None) -> Callable:
    """From gradients (B, K, *S, C) to maps (B, *S, K); with `reduce` None signs and channels stay: (B, K, *S, C)."""
    return _reducer(REDUCE, reduce, "for signed gradients")


PARTS = {
    "sum": lambda v: ops.sum(v, axis=-1),
    "absolute": lambda v: ops.sum(ops.abs(v), axis=-1),
}


def part_reducer(reduce: str | None) -> Callable:
    """From parts of a score (B, K, *S, C) to maps (B, *S, K); with `reduce` None channels stay: (B, K, *S, C)."""
    return _reducer(PARTS, reduce, "to keep channels")


def _reducer(kinds: dict[str, Callable], reduce: str | None, otherwise: str) -> Callable:
    if reduce is None:
        return lambda v: v
    check_choice("reduce", reduce, kinds, f", or None {otherwise}")
    return lambda v: units_last(kinds[reduce](v))


@explainer("gradient", "gradient", "1 forward + K backward", "arXiv:1312.6034", postprocessing=filters.normalize)
def gradients(model: Any, inputs: Any, indices: Any = None, score: Any = None, reduce: str | None = "mean") -> tuple:
    """How strongly each pixel moves the score: the size of its gradient.

    maps[b, s, k] = mean over c of |d score[b, k] / d x[b, s, c]|

    Args:
        reduce: over channels, "mean", "max" (Simonyan et al.) or "sum" of the absolute values; None keeps signs and
            channels, as (B, K, *S, C).

    Reference: Simonyan et al., Deep Inside Convolutional Networks, arXiv:1312.6034.
    """
    reduced = channel_reducer(reduce)
    view = models.view(model, inputs, indices, score)
    scores, _, g = view.jacobian([models.INPUT], keep=False)
    return scores, reduced(g[models.INPUT])


@explainer(
    "gradient", "gradient", "1 forward + K backward", "arXiv:1605.01713", postprocessing=filters.absolute_normalize
)
def input_x_gradient(
    model: Any, inputs: Any, indices: Any = None, score: Any = None, reduce: str | None = "sum"
) -> tuple:
    """What each pixel adds to the score if the model is taken as linear near the image, and 0 as nothing.

    maps[b, s, k] = sum over c of x[b, s, c] d score[b, k] / d x[b, s, c]

    The sum of a map is the score for networks of linear layers and ReLUs without biases.

    Args:
        reduce: over channels, the "sum" of the signed values, or of their "absolute" ones; None keeps channels, as
            (B, K, *S, C).

    Reference: Shrikumar et al., Not Just a Black Box, arXiv:1605.01713.
    """
    reduced = part_reducer(reduce)
    view = models.view(model, inputs, indices, score)
    scores, _, g = view.jacobian([models.INPUT], keep=False)
    return scores, reduced(view.x[:, None] * g[models.INPUT])
