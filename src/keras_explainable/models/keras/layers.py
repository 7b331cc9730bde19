"""What the layers of a Keras model compute (see `contract.LayerMath`), by their paths."""

from typing import Any

import keras

from keras_explainable import backend
from keras_explainable.models import layer_roles
from keras_explainable.models.keras import attention, layer_math, routing
from keras_explainable.models.keras.structure import Structure
from keras_explainable.models.trace import Call, Deviation


class KerasLayers:
    """The mathematics of the layers of a Keras model."""

    def __init__(self, structure: Structure) -> None:
        self.structure = structure

    def _at(self, path: str) -> Any:
        return self.structure.paths()[path]

    def has_kernel(self, layer: Any) -> bool:
        return layer_math.has_kernel(layer)

    def bias(self, path: str) -> Any:
        return layer_math.effective_bias(self._at(path))

    def kernel(self, path: str) -> Any:
        return layer_math.pointwise_kernel(self._at(path))

    def role(self, call: Call) -> str | None:
        layer = None if call.operation else self._at(call.path)
        if not isinstance(layer, keras.Layer):
            found = layer_roles.of_operation(call.kind)
            return None if found == "layernorm" else found  # its deviation cannot be seen
        if routing.is_activation_layer(layer):
            return layer_roles.of_name(routing.activation_name(layer))
        found = None if getattr(layer, "quantization_mode", None) else layer_roles.of_layer(layer, "call")
        if found == "attention" and not attention.is_plain(layer):
            return None
        return found if call.leaf or found != "other" else None

    def rectifies(self, call: Call) -> bool:
        layer = None if call.operation else self._at(call.path)
        if isinstance(layer, keras.layers.ReLU):
            return not layer.negative_slope
        return (call.kind if layer is None else routing.activation_name(layer)) in layer_roles.RECTIFIERS

    def deviation(self, path: str) -> Deviation:
        return layer_math.deviation(self._at(path))

    def weight(self, path: str, scale: Any = None) -> Any:
        return layer_math.weight(self._at(path), scale)

    def scale(self, path: str) -> Any:
        return layer_math.scale(self._at(path))

    def apply(self, path: str, x: Any, kernel: Any = None) -> Any:
        layer = self._at(path)
        if kernel is not None:
            return layer_math.linear(layer, x, kernel)
        with routing.routed([layer]), backend.read_only():
            return routing.alone(layer, layer.call, x)

    def entry_axis(self, call: Call) -> int:
        return 1 if getattr(self._at(call.path), "data_format", None) == "channels_first" else -1

    def reach(self, call: Call, axis: int) -> float:
        return layer_math.reach(self._at(call.path), axis)

    def geometry(self, call: Call, axis: int, old: int, new: int) -> tuple[float, float] | None:
        if call.path not in self.structure.paths():
            return None
        return layer_math.geometry(self._at(call.path), axis, old, new)
