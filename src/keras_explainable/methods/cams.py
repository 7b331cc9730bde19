"""Class activation maps: weighted sums of the channels A (B, *S', C) of one spatial signal."""

from typing import Any

from keras import ops

from keras_explainable import filters, models
from keras_explainable.errors import LayerError
from keras_explainable.registry import explainer
from keras_explainable.resize import resize


def weighted(a: Any, weights: Any) -> Any:
    """sum over c of weights[b, k, c] A[b, s, c]."""
    return ops.einsum("b...c,bkc->b...k", a, weights)


def _at(model: Any, inputs: Any, indices: Any, layer: Any, score: Any) -> tuple:
    """The view, and the scores, signal and Jacobian (B, K, *S', C) at its spatial signal."""
    view = models.view(model, inputs, indices, score)
    point = view.signal(layer)
    scores, a, g = view.jacobian([point])
    return view, scores, a[point], g[point]


@explainer("cam", "linear head", "1 forward", "arXiv:1512.04150", postprocessing=filters.positive_normalize)
def cam(model: Any, inputs: Any, indices: Any = None, layer: Any = None) -> tuple:
    """The channels before global pooling, weighted by the head's weights for the unit.

    maps[b, s, k] = sum_c W[c, k] A[b, s, c], W the kernel of the linear layer behind the pooling (a model that
    ends in the pooling itself has the identity there).

    Raises:
        LayerError: the model has no linear head with one weight for each channel.

    Reference: Zhou et al., Learning Deep Features for Discriminative Localization, arXiv:1512.04150.
    """
    view = models.view(model, inputs, indices)
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
    weights = ops.transpose(ops.cast(kernel, "float32"))[None]  # (1, units, C)
    if view.indices is not None:
        chosen = models.unit_indices(view.indices, ops.shape(a)[0], kernel.shape[-1])
        weights = ops.take(weights[0], chosen, axis=0)
        return scores, weighted(a, weights)
    return scores, ops.einsum("b...c,kc->b...k", a, weights[0])


@explainer("cam", "hidden signal, gradient", "1 forward", "arXiv:1610.02391", postprocessing=filters.positive_normalize)
def gradcam(model: Any, inputs: Any, indices: Any = None, layer: Any = None, score: Any = None) -> tuple:
    """The channels of a signal, weighted by the mean gradient of the score there.

    maps[b, s, k] = sum_c mean_s'(d score[b, k] / d A[b, s', c]) A[b, s, c]

    Reference: Selvaraju et al., Grad-CAM, arXiv:1610.02391.
    """
    view, scores, a, g = _at(model, inputs, indices, layer, score)
    return scores, weighted(a, ops.mean(g, axis=view.space))


@explainer("cam", "hidden signal, gradient", "1 forward", "arXiv:1710.11063", postprocessing=filters.positive_normalize)
def gradcampp(model: Any, inputs: Any, indices: Any = None, layer: Any = None, score: Any = None) -> tuple:
    """The channels of a signal, weighted by their positive gradients, each place in proportion to its share.

    maps = sum_c w_c A_c, w_c = sum_s alpha relu(g), alpha = g^2 / (2 g^2 + g^3 sum_s A), 0 where that is undefined.

    The paper's exp(score) is left out: it cancels in alpha and scales each map by a positive number.

    Reference: Chattopadhay et al., Grad-CAM++, arXiv:1710.11063.
    """
    view, scores, a, g = _at(model, inputs, indices, layer, score)
    total = ops.sum(a, axis=tuple(range(1, 1 + view.rank)), keepdims=True)[:, None]
    # g^2 cancels: alpha = 1 / (2 + g sum A). What is left cannot underflow for the small gradients of a last layer.
    below = 2 + g * total
    alpha = ops.where(
        (below != 0) & (g != 0), 1 / ops.where(below != 0, below, ops.ones_like(below)), ops.zeros_like(below)
    )
    return scores, weighted(a, ops.sum(alpha * ops.relu(g), axis=view.space))


@explainer("cam", "hidden signal", "1 + C forward", "arXiv:1910.01279", postprocessing=filters.positive_normalize)
def scorecam(
    model: Any, inputs: Any, indices: Any = None, layer: Any = None, score: Any = None, *, baseline: float = 0.0
) -> tuple:
    """The channels of a signal, weighted by the score of the image seen through each of them.

    maps = sum_c softmax_c(f(x o H_c + baseline (1 - H_c)) - f(baseline)) A_c, H_c = A_c resized to the image, min-max.

    Args:
        baseline: the colour behind the mask, in the model's input range.

    Reference: Wang et al., Score-CAM, arXiv:1910.01279.
    """
    view = models.view(model, inputs, indices, score)
    point = view.signal(layer)
    scores, seen = view.evaluate([point])
    a, space = seen[point], tuple(range(1, 1 + view.rank))

    def seen_through(c):
        mask = resize(ops.take(a, c, axis=-1)[..., None], view.size)
        mask = filters.normalize(mask, axis=space)
        if view.taps.channels_first:
            mask = ops.moveaxis(mask, -1, 1)
        return view.evaluate(inputs=baseline + (view.inputs - baseline) * mask)[0]

    background = view.evaluate(inputs=ops.full_like(view.inputs, baseline))[0]
    gains = ops.map(seen_through, ops.arange(a.shape[-1])) - background[None]
    return scores, weighted(a, ops.einsum("cbk->bkc", ops.softmax(gains, axis=0)))
