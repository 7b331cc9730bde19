"""Signals and volumes: a convolution along one axis is one of images of a single row, and its maps are that row."""

import keras
import pytest

if keras.backend.backend() != "torch":
    pytest.skip("the package saliency explains modules of PyTorch: KERAS_BACKEND=torch", allow_module_level=True)

import torch
from torch import nn

from keras_explainable.errors import InputError
from saliency.fullgrad import FullGrad
from saliency.grad import InputGradient
from saliency.gradcam import GradCAM
from saliency.simple_fullgrad import SimpleFullGrad
from saliency.smooth_fullgrad import SmoothFullGrad
from saliency.smoothgrad import SmoothGrad
from saliency.tensor_extractor import FullGradExtractor

EXPLAINERS = [FullGrad, SimpleFullGrad, SmoothFullGrad, GradCAM, InputGradient, SmoothGrad]
LAYERS = {1: (nn.Conv1d, nn.BatchNorm1d), 2: (nn.Conv2d, nn.BatchNorm2d), 3: (nn.Conv3d, nn.BatchNorm3d)}


class Along(nn.Module):
    """Two convolutions along the last of so many axes, batch normalisation, ReLUs, a mean over space and a head."""

    def __init__(self, axes):
        super().__init__()
        convolution, norm = LAYERS[axes]
        self.first = convolution(3, 6, (1,) * (axes - 1) + (5,), stride=(1,) * (axes - 1) + (2,))
        self.norm, self.second = norm(6), convolution(6, 5, (1,) * (axes - 1) + (3,))
        self.head = nn.Linear(5, 4)

    def forward(self, x):
        x = self.second(self.norm(self.first(x)).relu()).relu()
        return self.head(x.flatten(2).mean(2))


@pytest.fixture
def modules():
    """The same weights in one, two and three dimensions."""
    generator = torch.Generator().manual_seed(0)
    found = {axes: Along(axes).eval() for axes in LAYERS}
    for name, value in found[1].state_dict().items():
        if value.is_floating_point():
            drawn = torch.randn(value.shape, generator=generator) * 0.5
            value.copy_(drawn.abs() + 0.5 if name.endswith("running_var") else drawn)
    for axes in (2, 3):
        flat = {k: v.reshape(found[axes].state_dict()[k].shape) for k, v in found[1].state_dict().items()}
        found[axes].load_state_dict(flat)
    return found


@pytest.fixture
def x():
    return torch.randn(3, 3, 41, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kind", EXPLAINERS)
def test_maps_of_signals_are_those_of_images_of_one_row(kind, modules, x):
    y = torch.tensor([2, 0, 3])
    signals, rows = kind(modules[1]).saliency(x, y), kind(modules[2]).saliency(x[:, :, None], y)
    assert signals.shape == (3, 1, 41) and float(signals.abs().max()) > 0
    torch.testing.assert_close(signals, rows[:, :, 0], rtol=1e-4, atol=1e-4 * float(rows.abs().max()))
    torch.testing.assert_close(kind(modules[1]).saliency(x), kind(modules[1]).saliency(x, modules[1](x).argmax(1)))


def test_volumes_of_one_slice_are_images(modules, x):
    volumes = FullGrad(modules[3]).saliency(x[:, :, None, None], 1)
    assert volumes.shape == (3, 1, 1, 1, 41)
    torch.testing.assert_close(volumes[:, :, 0, 0], FullGrad(modules[1]).saliency(x, 1), rtol=1e-4, atol=1e-4)


def test_signals_are_taken_apart(modules, x, capsys):
    gradient, parts = FullGrad(modules[1]).fullGradientDecompose(x, 1)
    assert [tuple(p.shape) for p in parts] == [(3, 6, 19), (3, 6, 19), (3, 5, 17), (3, 4)]
    total = (gradient * x).sum((1, 2)) + sum(part.flatten(1).sum(1) for part in parts)
    torch.testing.assert_close(total, modules[1](x)[:, 1].detach(), rtol=1e-4, atol=1e-5)
    report = FullGrad(modules[1], (3, 41)).checkCompleteness()
    assert report.relative_gap.max() < 1e-5 and "is complete here" in capsys.readouterr().out
    biases = FullGradExtractor(modules[1], (3, 41)).getBiases()
    torch.testing.assert_close(biases[0], modules[1].first.bias.detach())


def test_a_single_signal_or_image_is_told_to_need_the_axis_of_the_batch(modules, x):
    with pytest.raises(InputError, match=r"shape \(3, 41\) came.*signals \(N, C, T\).*image\[None\]"):
        FullGrad(modules[1]).saliency(x[0])
    with pytest.raises(InputError, match=r"add the batch axis, x\[None\]"):
        FullGrad(modules[2]).saliency(x[:, None, :].reshape(3, 3, 41))
