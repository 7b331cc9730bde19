"""The weights of Keras layers that are not normalisations."""

from typing import Any

import keras
from keras import ops

from keras_explainable import backend
from keras_explainable.models.contract import Parameter

NORMALISATIONS = tuple(
    layer for name, layer in vars(keras.layers).items() if name.endswith("Normalization") and isinstance(layer, type)
)


def parameters(layers: dict[str, Any]) -> list[Parameter]:
    """The floating-point weights that each layer has itself, not those of layers inside it, by its path."""
    owners: dict[int, str] = {}
    for path in sorted(layers, key=lambda path: -path.count("/") - bool(path)):  # layers inside others first
        for weight in getattr(layers[path], "weights", ()):
            owners.setdefault(id(weight), path)
    found = []
    for path, layer in layers.items():
        if isinstance(layer, NORMALISATIONS):
            continue
        for weight in getattr(layer, "weights", ()):
            if owners.get(id(weight)) == path and "float" in weight.dtype:
                del owners[id(weight)]
                value = backend.to_host(ops.cast(weight, "float32"))
                found.append(Parameter(path, weight, value, tuple(range(value.ndim))))
    return found
