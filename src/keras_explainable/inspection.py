"""Inspect a model: its logits layer, its biases, a nested layer, a model that exposes its signals."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from keras_explainable import models, registry
from keras_explainable.errors import LayerError
from keras_explainable.filters import SPATIAL_AXIS as SPATIAL_AXIS
from keras_explainable.models import addresses, choosing
from keras_explainable.models.choosing import Signal as Signal
from keras_explainable.models.keras.adapter import POOLING_LAYERS as POOLING_LAYERS
from keras_explainable.models.trace import Point, Trace

KERNEL_AXIS = -1


def expose(model: Any, arguments: Any = None, outputs: Any = None) -> Any:
    """Make a model that returns `[score, *signals]` of `model`; methods then explain these signals.

    An address of a signal or of the output is a layer's name, a path ("resnet50/conv1" or with dots), a tuple of names,
    an index, the layer itself, or a dictionary with `name` or `layer`, `link` ("output" or "input") and `index` (the
    number of the call; by default the last). `model` is not changed. It may be nested to any depth, subclassed, or not
    built.

    Args:
        arguments: one address or a list of them; None for the last spatial signal in execution order.
        outputs: the address of the score, which is then used as it is; None for the model's output before its last
            softmax or sigmoid.

    Raises:
        LayerError: there is no such layer; the message names the nearest ones.
    """
    adapter = models.adapter(model)
    outputs = _only(outputs)
    signals = None if arguments is None else tuple(arguments) if isinstance(arguments, list) else (arguments,)
    for address in (*(signals or ()), *([] if outputs is None else [outputs])):
        if not isinstance(address, Point):
            addresses.find_path(adapter, addresses.parts(address)[0])
    return adapter.expose(outputs, signals)


def endpoints(model: Any, endpoints: Sequence[Any], x: Any = None, leaf: Any = None) -> list[Point]:
    """The points of a model at some addresses (see `expose` for addresses, `signals` for `x` and `leaf`)."""
    return [addresses.resolve(trace_of(model, x, leaf), models.adapter(model), address) for address in endpoints]


def signals(model: Any, x: Any = None, leaf: Any = None) -> list[Signal]:
    """All calls of the model's layers in execution order.

    Each has `.path`, `.call`, `.kind` and the `.shape` of its output. It also has what was measured of the output, or
    None where that was not possible. `.reading`: the best way to map the output to positions in the image.
    `.evidence`: how well it shows these positions, as the probability that the output changes more where the image is
    changed than elsewhere (0.5 is chance, 1 perfect). `.reaches`: whether the score depends on these positions.

    The first call runs nine images forward through the model, and one backward.

    Args:
        x: images, or their shape; needed unless the model was built for one shape. For a model with several inputs, all
            of them.
        leaf: which of the inputs is the images, as in `ke.explain`.
    """
    model, shape = _shaped(model, x, leaf)
    return choosing.signals(models.view(model, ops.zeros(shape)))


def default_signal(model: Any, x: Any = None, leaf: Any = None) -> Point:
    """The point that methods explain if no layer is named (see `signals` for `x` and `leaf`).

    Raises:
        LayerError: no signal of the model shows the image.
    """
    model, shape = _shaped(model, x, leaf)
    return models.view(model, ops.zeros(shape)).signal()


def resizing(
    method: Any,
    model: Any,
    x: Any,
    size: Sequence[int],
    layer: Any = None,
    layers: Sequence[Any] | None = None,
    channels: Any = None,
    placement: str = "measured",
) -> list[np.ndarray]:
    """The matrices by which `ke.explain` resizes maps of a size to the size of the images `x`, one for each axis.

    A map (h, w) becomes rows @ map @ columns.T. So maps can be kept small, and be resized when they are read.

    Args:
        method: the method that makes the maps, or its name.
        layer, layers, channels, placement: as they are given to `ke.explain`.
    """
    model = models.with_channels(model, channels, placement == "stretch")
    with models.unchanging(), models.adapter(model).device():
        view = models.view(*models.bind(model, ops.convert_to_tensor(x[:1], "float32")))
        windows = view.windows_of(layer, layers) if registry.of_layer(registry.method_of(method)) else None
        found = []
        for axis, cells in enumerate(size):
            one = np.eye(cells, dtype="float32").reshape(*(cells if a == axis else 1 for a in range(len(size))), cells)
            maps = ops.convert_to_tensor(np.broadcast_to(one, (1, *size, cells)).copy())
            made = ops.convert_to_numpy(view.to_image_size(maps, None, 1, windows))[0]
            found.append(made.max(axis=tuple(a for a in range(len(size)) if a != axis)))
    return found


def trace_of(model: Any, x: Any = None, leaf: Any = None) -> Trace:
    """The trace of the model on images like `x`, or of the size that it was built for."""
    model, shape = _shaped(model, x, leaf)
    return models.adapter(model).trace(shape)


def _shaped(model: Any, x: Any, leaf: Any) -> tuple[Any, tuple]:
    """Build the model. Return it, and the shape of one image like `x`, or of the size that it was built for."""
    if leaf is not None:
        model, x = models.bind(model, models.Several.of(x, leaf)[:1])
    adapter = models.adapter(model)
    shape = tuple(x) if isinstance(x, (tuple, list)) else tuple(x.shape) if x is not None else adapter.input_shape()
    if shape is None:
        raise LayerError("This model does not declare its input shape: pass some images, or their shape, as x=.")
    shape = (1, *(64 if size is None else size for size in shape[1:]))
    adapter.build(ops.zeros(shape))
    return model, shape


def get_nested_layer(model: Any, name: Any) -> Any:
    """The layer at a name, path, or tuple of names."""
    adapter = models.adapter(model)
    return adapter.layer(addresses.find_path(adapter, name))


def get_logits_layer(model: Any, name: Any = None, x: Any = None, leaf: Any = None) -> Any:
    """The last layer with a kernel, which computes the scores. "Last" is in execution order if images `x` or their
    shape are given, else in the order in which layers were built.

    Raises:
        LayerError: no layer has a kernel.
    """
    if name is not None:
        return get_nested_layer(model, name)
    adapter = models.adapter(model)
    ran = adapter.paths() if x is None else [call.path for call in trace_of(model, x, leaf).calls]
    layers = [layer for layer in map(adapter.layer, ran) if adapter.layers.has_kernel(layer)]
    if not layers:
        raise LayerError("No layer of this model has a kernel: name the one that computes the scores.")
    return layers[-1]


def get_global_pooling_layer(model: Any, name: Any = None) -> Any:
    """The last global pooling (or flattening) layer."""
    return find_layer_with(model, name, klass=models.adapter(model).pooling)


def find_layer_with(
    model: Any,
    name: Any = None,
    properties: Sequence[str] | None = None,
    klass: Any = None,
    search_reversed: bool = True,
) -> Any:
    """The last (or first) layer of a class that has all the properties. A container comes after the layers that it
    holds.

    Raises:
        LayerError: there is no such layer.
    """
    if name is None and properties is None and klass is None:
        raise LayerError("No criterion came, and one was expected: give name=, properties= or klass=.")
    if name is not None:
        return get_nested_layer(model, name)
    layers = list(models.adapter(model).paths().values())
    for layer in reversed(layers) if search_reversed else layers:
        if (klass is None or isinstance(layer, klass)) and all(
            getattr(layer, p, None) is not None for p in properties or ()
        ):
            return layer
    raise LayerError(f"No layer of this model is of class {klass} with properties {properties}.")


def layers_with_biases(model: Any, exclude: Sequence[Any] = (), return_biases: bool = True) -> Any:
    """The layers that add a bias (including batch normalisation), and those biases."""
    excluded = {id(layer) for layer in exclude}
    every = dict.fromkeys(models.adapter(model).paths().values())
    layers = [layer for layer in every if id(layer) not in excluded and models.bias(layer) is not None]
    return (layers, biases(layers)) if return_biases else layers


def biases(layers: Sequence[Any]) -> list:
    """What each layer adds to its channels. For batch normalisation this is beta - mean gamma / sqrt(var + epsilon)."""
    return [models.bias(layer) for layer in layers]


def gather_units(tensor: Any, indices: Any, axis: int = KERNEL_AXIS) -> Any:
    """Take the chosen units of (B, units) values. For an int, (B,) or (B, K) indices, the result is (B, K); for None,
    all units."""
    tensor = ops.convert_to_tensor(tensor)
    if indices is None:
        return tensor
    return ops.take_along_axis(
        tensor, models.unit_indices(indices, ops.shape(tensor)[0], tensor.shape[axis]), axis=axis
    )


def _only(outputs: Any) -> Any:
    if isinstance(outputs, list):
        if len(outputs) != 1:
            raise LayerError(
                f"{len(outputs)} outputs came, and one is explained at a time: give one as outputs=, and the rest as "
                "arguments=."
            )
        return outputs[0]
    return outputs
