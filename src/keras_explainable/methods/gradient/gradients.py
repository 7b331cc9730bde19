"""Gradients of a score with respect to the image."""

from keras_explainable import filters
from keras_explainable.methods.explainer import explainer
from keras_explainable.methods.fullgrad.full_gradients import full_gradients as full_gradients
from keras_explainable.methods.fullgrad.full_gradients import simple_full_gradients as simple_full_gradients
from keras_explainable.methods.gradient.reduction import channel_reducer, part_reducer
from keras_explainable.models import INPUT, View, on_view, opens_view


@explainer("gradient", "gradient", "1 forward + K backward", "arXiv:1312.6034", postprocessing=filters.normalize)
def gradients(view: View, reduce: str | None = "mean") -> tuple:
    """The absolute gradient of the score with respect to each pixel.

    maps[b, s, k] = mean over c of |d score[b, k] / d x[b, s, c]|

    Args:
        reduce: over channels, "mean", "max" (Simonyan et al.) or "sum" of the absolute values; None keeps signs and
            channels: maps are (B, K, *S, C).

    Reference: Simonyan et al., Deep Inside Convolutional Networks, arXiv:1312.6034.
    """
    reduced = channel_reducer(reduce)
    scores, _, g = view.jacobian([INPUT], keep=False)
    return scores, reduced(g[INPUT])


@explainer(
    "gradient", "gradient", "1 forward + K backward", "arXiv:1605.01713", postprocessing=filters.absolute_normalize
)
def input_x_gradient(view: View, reduce: str | None = "sum") -> tuple:
    """Each pixel times its gradient: what it adds to the score if the model is linear from 0 to the image.

    maps[b, s, k] = sum over c of x[b, s, c] d score[b, k] / d x[b, s, c]

    For networks of linear layers and ReLUs without biases, the sum of a map is the score.

    Args:
        reduce: over channels, the "sum" of the signed values or of their "absolute" values; None keeps channels: maps
            are (B, K, *S, C).

    Reference: Shrikumar et al., Not Just a Black Box, arXiv:1605.01713.
    """
    reduced = part_reducer(reduce)
    scores, _, g = view.jacobian([INPUT], keep=False)
    return scores, reduced(view.x[:, None] * g[INPUT])


@opens_view
def signed_gradients(view: View) -> tuple:
    """The scores and the gradients (B, K, *S, C)."""
    return on_view(gradients, view, reduce=None)
