"""Class activation maps: sums of the channels A (B, *S', C) of a spatial signal, weighted by gradients."""

from typing import Any

from keras import ops

from keras_explainable import filters
from keras_explainable.methods.cams.weighting import CANCELS, at_signal, space_of, weighted
from keras_explainable.methods.explainer import explainer
from keras_explainable.methods.gradient.reduction import units_last
from keras_explainable.models import View
from keras_explainable.numerics.arithmetic import quotient


@explainer("cam", "hidden signal, gradient", "1 forward", "arXiv:1610.02391", postprocessing=filters.positive_normalize)
def gradcam(view: View, layer: Any = None) -> tuple:
    """The channels of a layer, each weighted by the mean gradient of the score over space.

    maps[b, s, k] = sum_c mean_s'(d score[b, k] / d A[b, s', c]) A[b, s, c]

    With `score=ke.scores.region(mask, unit)` on a segmentation network this is Seg-Grad-CAM, arXiv:2002.11434.

    Args:
        layer: see `ke.methods.cams`.

    Reference: Selvaraju et al., Grad-CAM, arXiv:1610.02391.
    """
    scores, a, g = at_signal(view, layer)
    return scores, weighted(a, ops.mean(g, axis=space_of(g, 2)))


@explainer("cam", "hidden signal, gradient", "1 forward", "arXiv:1710.11063", postprocessing=filters.positive_normalize)
def gradcampp(view: View, layer: Any = None) -> tuple:
    """The channels of a layer, each weighted by a weighted sum of its positive gradients over space.

    maps = sum_c w_c A_c, w_c = sum_s alpha relu(g), alpha = g^2 / (2 g^2 + g^3 sum_s A), 0 where that is undefined

    The paper's exp(score) is left out: it cancels in alpha and scales each map by a positive number.

    Args:
        layer: see `ke.methods.cams`.

    Reference: Chattopadhay et al., Grad-CAM++, arXiv:1710.11063.
    """
    scores, a, g = at_signal(view, layer)
    total = ops.sum(a, axis=space_of(a), keepdims=True)[:, None]
    # g^2 cancels: alpha = 1 / (2 + g sum A). Without g^2, small gradients of a last layer cannot underflow.
    below = 2 + g * total
    return scores, weighted(a, ops.sum(quotient(ops.relu(g), below), axis=space_of(g, 2)))


@explainer("cam", "hidden signal, gradient", "1 forward", "arXiv:2011.08891", postprocessing=filters.positive_normalize)
def hirescam(view: View, layer: Any = None) -> tuple:
    """The channels of a layer, weighted by the gradient at each position; exact if only linear layers follow.

    maps[b, s, k] = sum_c d score[b, k] / d A[b, s, c] A[b, s, c]

    Args:
        layer: see `ke.methods.cams`.

    Reference: Draelos & Carin, HiResCAM, arXiv:2011.08891.
    """
    scores, a, g = at_signal(view, layer)
    return scores, units_last(ops.sum(g * a[:, None], axis=-1))


@explainer("cam", "hidden signal, gradient", "1 forward", "arXiv:2008.02312", postprocessing=filters.positive_normalize)
def xgradcam(view: View, layer: Any = None) -> tuple:
    """The channels of a layer, each weighted by the mean of its gradient weighted by its activation.

    maps = sum_c w_c A_c, w_c = sum_s A_c g_c / sum_s A_c, 0 for a channel whose values cancel

    Args:
        layer: see `ke.methods.cams`.

    Reference: Fu et al., Axiom-based Grad-CAM, arXiv:2008.02312.
    """
    scores, a, g = at_signal(view, layer)
    space = space_of(a)
    total, size = ops.sum(a, axis=space), ops.sum(ops.abs(a), axis=space)
    total = ops.where(ops.abs(total) <= CANCELS * size, ops.zeros_like(total), total)
    return scores, weighted(a, quotient(ops.sum(g * a[:, None], axis=space_of(g, 2)), total[:, None]))
