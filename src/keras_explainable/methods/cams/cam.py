"""CAM: class activation maps by the weights of a model's last linear layer."""

from typing import Any

from keras import ops

from keras_explainable import filters, models
from keras_explainable.errors import InputError, LayerError
from keras_explainable.methods.cams.weighting import weighted
from keras_explainable.methods.explainer import explainer
from keras_explainable.models import View


@explainer("cam", "linear head", "1 forward", "arXiv:1512.04150", postprocessing=filters.positive_normalize)
def cam(view: View, layer: Any = None) -> tuple:
    """The channels before global pooling, weighted by the weights of the model's linear head for the unit.

    maps[b, s, k] = sum_c W[c, k] A[b, s, c]

    W is the kernel of the linear layer after the pooling, and the identity if the model ends with the pooling.

    Args:
        layer: see `ke.methods.cams`.
        score: a score that is linear in the units: `ke.scores.unit`, `top_k`, or `margin` with `other`. W is then the
            score of each row of the kernel.

    Raises:
        LayerError: the model has no linear head with one weight for each channel, or it has a class token.
        InputError: the score is not known to be linear in the units.

    Reference: Zhou et al., Learning Deep Features for Discriminative Localization, arXiv:1512.04150.
    """
    if not models.score_traits(view.score).linear:
        raise InputError(
            f"score={view.user_score!r} came, and CAM explains only scores that are linear in the units, because it "
            "uses the head's weights: ke.scores.unit, top_k, or margin with other=. Use `gradcam` for any other."
        )
    point = view.signal(layer)
    scores, seen = view.evaluate([point])
    a, kernel = seen[point], view.head()
    if kernel is None and view.pools():
        kernel = ops.eye(a.shape[-1])
    if kernel is None or kernel.shape[0] != a.shape[-1]:
        rows = (
            "no linear layer right after a global pooling"
            if kernel is None
            else f"a linear layer with {kernel.shape[0]} inputs"
        )
        raise LayerError(
            f"CAM multiplies the {a.shape[-1]} channels of {point} by the weights of a linear head, and the model has "
            f"{rows}. Use `gradcam`, which needs no such head."
        )
    reading = getattr(point, "reading", None)
    beside = view.call(point).shape[1] - reading.number if reading and reading.grid else 0
    if beside:
        raise LayerError(
            f"CAM needs channels that are pooled over space, and {point} has {beside} tokens beside its grid, which "
            "the scores may use. Use `gradcam`, which needs no pooling."
        )
    kernel = ops.cast(kernel, "float32")
    weights = ops.transpose(kernel if view.score is None else view.score(kernel))  # (units, C)
    if view.indices is None:
        return scores, ops.einsum("b...c,kc->b...k", a, weights)
    chosen = models.unit_indices(view.indices, ops.shape(a)[0], weights.shape[0])
    return scores, weighted(a, ops.take(weights, chosen, axis=0))
