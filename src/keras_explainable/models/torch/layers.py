"""What the layers of a module compute (see `contract.LayerMath`), by their paths."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from keras_explainable.models.layer_roles import of_layer, of_operation
from keras_explainable.models.torch import layer_math
from keras_explainable.models.torch.hooks import evaluation_weights
from keras_explainable.models.torch.structure import Structure
from keras_explainable.models.trace import Call, Deviation


class TorchLayers:
    """The mathematics of the modules inside a module."""

    def __init__(self, structure: Structure) -> None:
        self.structure = structure

    def _of(self, path: str, function: Callable, *args: Any) -> Any:
        layer = self.structure.at(path)
        with evaluation_weights(layer):
            return function(layer, *args)

    def has_kernel(self, layer: Any) -> bool:
        return isinstance(layer, layer_math.KERNELS)

    def bias(self, path: str) -> torch.Tensor | None:
        return self._of(path, layer_math.effective_bias)

    def kernel(self, path: str) -> torch.Tensor | None:
        return self._of(path, layer_math.kernel)

    def role(self, call: Call) -> str | None:
        if call.path not in self.structure.paths():
            return "norm" if self.structure.normalisation(call.path) else of_operation(call.kind)
        found = of_layer(self.structure.at(call.path), "forward")
        return found if call.leaf or found != "other" else None

    def rectifies(self, call: Call) -> bool:
        return True

    def deviation(self, path: str) -> Deviation:
        return self._of(path, layer_math.deviation)

    def weight(self, path: str, scale: Any = None) -> torch.Tensor:
        return self._of(path, layer_math.weight, scale)

    def scale(self, path: str) -> torch.Tensor:
        return self._of(path, layer_math.scale)

    def apply(self, path: str, x: torch.Tensor, kernel: torch.Tensor | None = None) -> torch.Tensor:
        return self._of(path, layer_math.apply, x, kernel)

    def entry_axis(self, call: Call) -> int:
        return -1 if isinstance(self.structure.at(call.path), nn.Linear) else 1

    def reach(self, call: Call, axis: int) -> float:
        return layer_math.reach(self.structure.at(call.path), axis - 2)

    def geometry(self, call: Call, axis: int, old: int, new: int) -> tuple[float, float] | None:
        known = call.path in self.structure.paths()
        return layer_math.geometry(self.structure.at(call.path), axis) if known else None
