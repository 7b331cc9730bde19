"""The mathematics of one Keras layer: its bias and factor per channel, its weights, its standard deviation, its
geometry, and the layer with another kernel."""

import inspect
from types import FunctionType, MethodType
from typing import Any

import keras
from keras import ops, tree

from keras_explainable.errors import LayerError
from keras_explainable.models.trace import Deviation


def effective_bias(layer: Any) -> Any:
    """What a layer adds to each channel of its output, from its current weights, or None.

    For batch normalisation this is beta - mean gamma / sqrt(variance + epsilon), where gamma and beta are optional."""
    if isinstance(layer, keras.layers.BatchNormalization):
        shift = -layer.moving_mean / ops.sqrt(layer.moving_variance + layer.epsilon)
        shift = shift if layer.gamma is None else shift * layer.gamma
        return shift if layer.beta is None else shift + layer.beta
    if isinstance(layer, keras.layers.Normalization):
        mean, spread = ops.reshape(layer.mean, (-1,)), ops.sqrt(ops.reshape(layer.variance, (-1,)))
        return mean if layer.invert else -mean / ops.maximum(spread, keras.config.epsilon())
    if isinstance(layer, keras.layers.Rescaling):
        offset = ops.convert_to_tensor(layer.offset, "float32")
        return ops.reshape(offset, (-1,))
    if isinstance(layer, (keras.layers.LayerNormalization, keras.layers.GroupNormalization)):
        return None if layer.beta is None else ops.convert_to_tensor(layer.beta)
    bias = getattr(layer, "bias", None)
    return ops.convert_to_tensor(bias) if _is_weight(bias) else None


def has_bias(layer: Any) -> bool:
    """Whether a layer adds a bias, without computing it."""
    if isinstance(layer, keras.layers.Rescaling):
        return bool(tree.flatten(layer.offset)) and any(o != 0 for o in tree.flatten(layer.offset))
    if isinstance(layer, (keras.layers.BatchNormalization, keras.layers.Normalization)):
        return True
    if isinstance(layer, (keras.layers.LayerNormalization, keras.layers.GroupNormalization)):
        return layer.beta is not None
    return _is_weight(getattr(layer, "bias", None))


def has_kernel(layer: Any) -> bool:
    """Whether a layer multiplies by weights: it is linear, or a convolution."""
    return getattr(layer, "kernel", None) is not None


def pointwise_kernel(layer: Any) -> Any:
    """The weights (channels, units) of a linear layer or a 1 x 1 convolution, else None."""
    kernel = getattr(layer, "kernel", None)
    if kernel is None:
        return None
    kernel = ops.convert_to_tensor(kernel)
    return ops.reshape(kernel, (-1, kernel.shape[-1])) if all(s == 1 for s in kernel.shape[:-2]) else None


def weight(layer: Any, factor: Any = None) -> Any:
    """The kernel of a linear layer or convolution as float32, with its outputs scaled by `factor`."""
    kernel = ops.cast(ops.convert_to_tensor(layer.kernel), "float32")
    if factor is None:
        return kernel
    name = type(layer).__name__
    if "Depthwise" in name:
        return kernel * ops.reshape(factor, kernel.shape[-2:])
    return kernel * (factor[:, None] if "Transpose" in name else factor)


def scale(layer: Any) -> Any:
    """The factor of a batch normalisation for each channel: gamma / sqrt(variance + epsilon)."""
    factor = 1 / ops.sqrt(ops.cast(layer.moving_variance, "float32") + layer.epsilon)
    return factor if layer.gamma is None else factor * layer.gamma


def _is_weight(value: Any) -> bool:
    """Whether this is a variable, or computed from variables."""
    return isinstance(value, keras.Variable) or ops.is_tensor(value)


def linear(layer: Any, x: Any, kernel: Any) -> Any:
    """A linear layer with another kernel, without its bias and its fused activation. Its own `call` runs on a stand-in
    for the layer, so nothing is written to the layer, even if its kernel is computed (LoRA)."""
    kind, own = type(layer), {"kernel": kernel, "bias": None, "use_bias": False, "activation": None}

    def get(stand_in, name):
        if name in own:
            return own[name]
        method = inspect.getattr_static(kind, name, None)
        return MethodType(method, stand_in) if isinstance(method, FunctionType) else getattr(layer, name)

    call = getattr(kind.call, "python_function", kind.call)
    return call(object.__new__(type(kind.__name__, (kind,), {"__getattribute__": get})), x)


def reach(layer: Any, axis: int) -> float:
    """By how many positions a convolution shrinks its input at each end of an input axis."""
    if getattr(layer, "padding", None) != "valid":
        return 0.0
    axis -= 2 if layer.data_format == "channels_first" else 1
    return (layer.kernel_size[axis] - 1) * layer.dilation_rate[axis] / 2


def geometry(layer: Any, axis: int, old: int, new: int) -> tuple[float, float] | None:
    """For a spatial axis of size `old`, the distance between the centres of a layer's output cells, and the centre of
    the first one, both in input cells; None if unknown."""
    kind = type(layer).__name__
    if kind.startswith("ZeroPadding"):
        return 1.0, -float(_ends(layer.padding, axis))
    if kind.startswith("Cropping"):
        return 1.0, float(_ends(layer.cropping, axis))
    width = getattr(layer, "pool_size", getattr(layer, "kernel_size", None))
    if width is None or "Transpose" in kind or not hasattr(layer, "strides"):
        return None
    step, spread = layer.strides[axis], getattr(layer, "dilation_rate", (1,) * (axis + 1))[axis]
    reach = (width[axis] - 1) * spread
    before = max((new - 1) * step + reach + 1 - old, 0) // 2 if layer.padding == "same" else 0
    return float(step), reach / 2 - before


def _ends(sizes: Any, axis: int) -> int:
    """What is added or cut at the beginning of an axis."""
    one = sizes[axis]
    return one[0] if isinstance(one, (tuple, list)) else sizes[0]  # (begin, end) of the only axis


def deviation(layer: Any) -> Deviation:
    """The deviation that a layer normalisation divides by."""
    if getattr(layer, "rms_scaling", False):
        raise LayerError(f"{layer.name} divides by a variance (rms_scaling=True): use keras.layers.RMSNormalization.")
    if isinstance(layer, keras.layers.GroupNormalization):
        return _of_groups(layer)
    centred = isinstance(layer, keras.layers.LayerNormalization)
    gain = layer.gamma if centred else layer.scale
    axes = tuple(layer.axis)

    def spread(rank):
        shape = [1] * rank
        for axis, size in zip(axes, gain.shape, strict=True):
            shape[axis] = size
        return ops.reshape(ops.cast(ops.convert_to_tensor(gain), "float32"), shape)

    return Deviation(axes, layer.epsilon, centred, (lambda rank: 1.0) if gain is None else spread)


def _of_groups(layer: Any) -> Deviation:
    gain = layer.gamma if layer.scale else None

    def spread(rank):
        shape = [1] * rank
        shape[layer.axis] = -1
        return ops.reshape(ops.cast(ops.convert_to_tensor(gain), "float32"), shape)

    return Deviation(
        (-1,), layer.epsilon, True, (lambda rank: 1.0) if gain is None else spread, layer.groups, layer.axis
    )
