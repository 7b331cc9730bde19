"""The classes of the package saliency, and a module on which they are tried."""

import pytest
import torch
from torch import nn

from saliency.fullgrad import FullGrad
from saliency.grad import InputGradient
from saliency.gradcam import GradCAM
from saliency.simple_fullgrad import SimpleFullGrad
from saliency.smooth_fullgrad import SmoothFullGrad
from saliency.smoothgrad import SmoothGrad

EXPLAINERS = {
    "FullGrad": FullGrad,
    "SimpleFullGrad": SimpleFullGrad,
    "SmoothFullGrad": lambda module: SmoothFullGrad(module, num_samples=2),
    "GradCAM": GradCAM,
    "InputGradient": InputGradient,
    "SmoothGrad": lambda module: SmoothGrad(module, num_samples=2),
}


SIZE = (3, 12, 18)


class Winding(nn.Module):
    """Modules registered in another order than they run, one of them twice, one never, one ReLU in place for all."""

    def __init__(self, units=4):
        super().__init__()
        self.head = nn.Linear(8, units)
        self.unused = nn.Conv2d(8, 8, 3)
        self.relu = nn.ReLU(inplace=True)
        self.second, self.norm, self.first = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Conv2d(3, 8, 3)

    def forward(self, x):
        x = self.relu(self.norm(self.first(x)))
        x = self.relu(self.second(self.relu(self.second(x))))
        return self.head(x.mean((2, 3)))


def randomized(module, seed=0):
    """The module in evaluation mode, its weights, biases and statistics drawn from a seed."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in module.state_dict().items():
        if value.is_floating_point():
            drawn = torch.randn(value.shape, generator=generator) * (
                0.5 if value.ndim == 1 else (value[0].numel()) ** -0.5
            )
            value.copy_(drawn.abs() + 0.5 if name.endswith("running_var") else drawn)
    return module.eval()


def images(n=2, seed=0, size=SIZE):
    return torch.randn(n, *size, generator=torch.Generator().manual_seed(seed))


def plain_gradient(module, x, y):
    """d score / dx by plain automatic differentiation, of a module in evaluation mode."""
    leaf = x.detach().clone().requires_grad_()
    (gradient,) = torch.autograd.grad(module(leaf).gather(1, y.reshape(-1, 1)).sum(), leaf)
    return gradient


def every(test):
    return pytest.mark.parametrize("make", EXPLAINERS.values(), ids=EXPLAINERS)(test)


def hooks(module):
    names = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return sum(len(getattr(m, name)) for m in module.modules() for name in names)
