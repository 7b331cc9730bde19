"""Class activation maps from the first principal component of a layer's channels."""

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
    caveat="Every unit has the same map.",
)
def eigencam(view: View, layer: Any = None) -> tuple:
    """The projection of a layer's channels on their first principal component.

    maps = (A - mean_s A) v

    v is the first right singular vector of the centred channels (S', C). Its sign is chosen so that the map correlates
    positively with the mean over channels. No score and no gradient is used, so every unit has the same map.

    Args:
        layer: see `ke.methods.cams`.

    Reference: Muhammad & Yeasin, Eigen-CAM, arXiv:2008.00299 (who do not centre the channels).
    """
    point = view.signal(layer)
    scores, seen = view.evaluate([point])
    maps = first_component(seen[point])[..., None]
    units = ops.reshape(ops.ones_like(scores), (-1, *(1,) * (len(maps.shape) - 2), scores.shape[-1]))
    return scores, maps * units


@explainer("cam", "hidden signal, gradient", "1 forward", "arXiv:2008.00299", postprocessing=filters.positive_normalize)
def eigengradcam(view: View, layer: Any = None) -> tuple:
    """Eigen-CAM for a unit: the first principal component of the channels times their gradients.

    maps = (P - mean_s P) v, P = A dscore/dA

    v is the first right singular vector of the centred P (S', C). Its sign is chosen so that the map correlates
    positively with the mean of P over channels.

    Args:
        layer: see `ke.methods.cams`.

    Reference: Eigen-CAM, arXiv:2008.00299, applied to the products that HiResCAM sums.
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
    x = x / ops.where(size > 0, size, ops.ones_like(size))  # so that squares of small gradients do not underflow
    pixels, channels = x.shape[-2:]
    if pixels is not None and pixels < channels:  # decompose the smaller of the two product matrices
        values, vectors = _eigh(ops.einsum("...sc,...tc->...st", x, x))
        along = vectors[..., -1] * ops.sqrt(ops.relu(values[..., -1:]))
    else:
        _, vectors = _eigh(ops.einsum("...sc,...sd->...cd", x, x))
        along = ops.einsum("...sc,...c->...s", x, vectors[..., -1])
    goes = ops.sum(along * ops.mean(x, axis=-1), axis=-1, keepdims=True)
    along = ops.where(goes < 0, -along, along) * size[..., 0]
    return ops.reshape(along, shape[:-1])


def _eigh(matrices: Any) -> Any:
    """Eigenvalues and eigenvectors of symmetric matrices (..., n, n), one matrix at a time. (Two batches of matrices in
    one program of JAX can deadlock if the CPU has two cores.)"""
    shape = ops.shape(matrices)
    values, vectors = ops.map(ops.eigh, ops.reshape(matrices, (-1, *shape[-2:])))
    return ops.reshape(values, shape[:-1]), ops.reshape(vectors, shape)
