"""The gradient of a score with respect to the image, and what is made of it."""

import functools
from typing import Any

from keras_explainable import filters, models
from keras_explainable.methods.fullgrad.full_gradients import full_gradients as full_gradients
from keras_explainable.methods.fullgrad.full_gradients import simple_full_gradients as simple_full_gradients
from keras_explainable.methods.gradient.reduction import channel_reducer, part_reducer
from keras_explainable.registry import explainer


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


signed_gradients = functools.partial(gradients, reduce=None)
