"""The demo network written in PyTorch, with the layer names of the Keras model. Both have the same maps."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

BLOCKS = {"block1": (16, 16, 1), "block2": (16, 32, 2), "block3": (32, 56, 2), "block4": (56, 56, 1)}
NAMES = {  # Keras weight name -> PyTorch weight name
    "kernel": "weight",
    "gamma": "weight",
    "bias": "bias",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


class Network(nn.Module):
    """Images (B, 3, 96, 96) in 0..255 -> logits (B, classes)."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.rescale = nn.BatchNorm2d(3, eps=0.0, affine=False)  # x / 127.5 - 1: the offset is a bias like any other
        self.rescale.running_mean.fill_(127.5)
        self.rescale.running_var.fill_(127.5**2)
        self._convolution("stem", 3, 16, stride=2)
        self.stem_relu = nn.ReLU()
        for name, (inside, outside, stride) in BLOCKS.items():
            if stride > 1:
                self._convolution(f"{name}_short", inside, outside, stride, kernel=stride)
            self._convolution(f"{name}_first", inside, outside, stride)
            self.add_module(f"{name}_relu", nn.ReLU())
            self._convolution(f"{name}_second", outside, outside)
            self.add_module("features" if name == "block4" else f"{name}_output", nn.ReLU())
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.logits = nn.Linear(56, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem_relu(self._convolve(self.rescale(x), "stem"))
        for name, (_, _, stride) in BLOCKS.items():
            short = self._convolve(x, f"{name}_short") if stride > 1 else x
            x = getattr(self, f"{name}_relu")(self._convolve(x, f"{name}_first"))
            x = short + self._convolve(x, f"{name}_second")
            x = getattr(self, "features" if name == "block4" else f"{name}_output")(x)
        return self.logits(self.pool(x).flatten(1))

    def _convolution(self, name: str, inside: int, outside: int, stride: int = 1, kernel: int = 3) -> None:
        missing = kernel - stride  # Keras's padding, with the odd pixel at the end, for sizes that the stride divides
        self.add_module(f"{name}_pad", nn.ZeroPad2d((missing // 2, missing - missing // 2) * 2))
        self.add_module(f"{name}_conv", nn.Conv2d(inside, outside, kernel, stride, bias=False))
        self.add_module(f"{name}_norm", nn.BatchNorm2d(outside, eps=1e-3))

    def _convolve(self, x: torch.Tensor, name: str) -> torch.Tensor:
        for part in ("pad", "conv", "norm"):
            x = getattr(self, f"{name}_{part}")(x)
        return x


def with_weights(weights: Mapping[str, np.ndarray]) -> nn.Module:
    """Return the network with the weights of its Keras twin, named `layer/weight`, in evaluation mode."""
    module = Network(classes=len(weights["logits/bias"]))
    state = module.state_dict()
    for path, value in weights.items():
        layer, name = path.split("/")[-2:]
        if name == "kernel":
            value = np.moveaxis(value, (-1, -2), (0, 1))
        state[f"{layer}.{NAMES[name]}"] = torch.tensor(value)
    module.load_state_dict(state)
    return module.eval()
