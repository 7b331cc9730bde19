"""Class activation maps from the first principal component of a signal: what most of its channels agree on."""

from typing import Any

from keras import ops

from keras_explainable import filters
from keras_explainable.methods.cams.weighting import CANCELS, at_signal
from keras_explainable.methods.explainer import explainer
from keras_explainable.methods.gradient.reduction import units_last
from keras_explainable.models import View


@explainer(
    "cam",
    "hidden signal",
    "1 forward",
    "arXiv:2008.00299",
    postprocessing=filters.positive_normalize,
    caveat="It shows the same for every unit.",
)
def eigencam(view: View, layer: Any = None) -> tuple:
    """What the channels of a signal have in common, for any class: it uses no score and no gradient.

    maps = (A - mean_s A) v, v the first right singular vector of the centred channels (S', C), of the sign with which
    the map goes with the mean over channels. Every unit has the same map.

    Reference: Muhammad & Yeasin, Eigen-CAM, arXiv:2008.00299 (who do not centre the channels).
    """
    point = view.signal(layer)
    scores, seen = view.evaluate([point])
    maps = first_component(seen[point])[..., None]
    units = ops.reshape(ops.ones_like(scores), (-1, *(1,) * (len(maps.shape) - 2), scores.shape[-1]))
    return scores, maps * units


@explainer("cam", "hidden signal, gradient", "1 forward", "arXiv:2008.00299", postprocessing=filters.positive_normalize)
def eigengradcam(view: View, layer: Any = None) -> tuple:
    """What the channels of a signal, each place weighted by its gradient, have in common: Eigen-CAM for a class.

    maps = (P - mean_s P) v, P = A dscore/dA, v the first right singular vector of the centred P (S', C), of the sign
    with which the map goes with the mean of P over channels.

    Reference: Eigen-CAM, arXiv:2008.00299, of the products that HiResCAM sums.
    """
    scores, a, g = at_signal(view, layer)
    return scores, units_last(first_component(g * a[:, None], 2))


def first_component(values: Any, first: int = 1) -> Any:
    """The projection (..., *S') of values (..., *S', C) on their first principal component; `first` is the first
    spatial axis."""
    shape = ops.shape(values)
    x = ops.reshape(values, (*shape[:first], -1, shape[-1]))
    largest = ops.max(ops.abs(x), axis=(-2, -1), keepdims=True)
    x = x - ops.mean(x, axis=-2, keepdims=True)
    size = ops.max(ops.abs(x), axis=(-2, -1), keepdims=True)
    size = ops.where(size > CANCELS * largest, size, ops.zeros_like(size))
    x = x / ops.where(size > 0, size, ops.ones_like(size))  # squares of small gradients would vanish
    pixels, channels = x.shape[-2:]
    if pixels is not None and pixels < channels:  # the smaller of the two matrices of products
        values, vectors = ops.eigh(ops.einsum("...sc,...tc->...st", x, x))
        along = vectors[..., -1] * ops.sqrt(ops.relu(values[..., -1:]))
    else:
        _, vectors = ops.eigh(ops.einsum("...sc,...sd->...cd", x, x))
        along = ops.einsum("...sc,...c->...s", x, vectors[..., -1])
    goes = ops.sum(along * ops.mean(x, axis=-1), axis=-1, keepdims=True)
    along = ops.where(goes < 0, -along, along) * size[..., 0]
    return ops.reshape(along, shape[:-1])
