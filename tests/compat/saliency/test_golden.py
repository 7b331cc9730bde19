"""Equal to what the published reference computed, in its own interface."""

import keras
import numpy as np
import pytest

if keras.backend.backend() != "torch":
    pytest.skip("the package saliency explains modules of PyTorch: KERAS_BACKEND=torch", allow_module_level=True)

import torch
from torch import nn
from torch.nn import functional as F

from saliency.fullGrad import FullGrad
from saliency.grad import InputGradient
from saliency.gradcam import GradCAM
from saliency.simple_fullgrad import SimpleFullGrad
from saliency.smooth_fullgrad import SmoothFullGrad
from saliency.smoothgrad import SmoothGrad
from saliency.tensor_extractor import FullGradExtractor
from support.compare import close


class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.conv2, self.bn2 = nn.Conv2d(8, 12, 3, 2, 1, bias=False), nn.BatchNorm2d(12, eps=1e-3)
        self.conv3, self.fc = nn.Conv2d(12, 16, 3), nn.Linear(16, 5)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.max_pool2d(F.relu(self.bn2(self.conv2(x))), 2)
        return self.fc(F.relu(self.conv3(x)).mean((2, 3)))


def tiny(folder):
    module = Tiny().eval()
    module.load_state_dict({k: torch.from_numpy(v) for k, v in np.load(folder / "golden" / "tiny_weights.npz").items()})
    return module


@pytest.fixture(params=["tiny", "tiny_square", "resnet20_cifar10", "squeezenet_v1_1"])
def case(request, real_data):
    """A module and its golden values, as tensors."""
    name = request.param
    values = {k: torch.from_numpy(v) for k, v in np.load(real_data / "golden" / f"{name}.npz").items()}
    if name.startswith("tiny"):
        return tiny(real_data), values
    import networks_torch

    return networks_torch.load(name), values


def test_maps(case):
    module, golden = case
    x, y = golden["input"], golden["classes"]
    close(FullGrad(module).saliency(x, y), golden["fullgrad"])
    close(FullGrad(module).saliency(x), golden["fullgrad_argmax"])
    close(SimpleFullGrad(module).saliency(x, y), golden["simple_fullgrad"])
    close(InputGradient(module).saliency(x, y), golden["input_gradient_map"])


def test_gradcam(case):
    module, golden = case
    if "gradcam" not in golden:
        pytest.skip("the reference makes Grad-CAM maps of square images and before a Linear layer only")
    close(GradCAM(module).saliency(golden["input"], golden["classes"]), golden["gradcam"])


def test_decomposition(case):
    module, golden = case
    x, y = golden["input"], golden["classes"]
    gradient, parts = FullGrad(module).fullGradientDecompose(x, y)
    close(gradient, golden["input_gradient"])
    expected = [golden[name] for name in sorted(golden) if name.startswith("bias_gradient")]
    for part, value in zip(parts, expected or parts, strict=True):
        close(part, value)
    logits = golden["logits"].gather(1, y[:, None]).flatten()
    close((gradient * x).sum((1, 2, 3)) + sum(part.flatten(1).sum(1) for part in parts), logits)


def test_biases_times_their_gradients(case):
    module, golden = case
    x, y = golden["input"], golden["classes"]
    extractor = FullGradExtractor(module, tuple(x.shape[1:]))
    gradient, at_biases = extractor.getFeatureGrads(x, y)
    close(gradient, golden["input_gradient"])
    parts = FullGrad(module).fullGradientDecompose(x, y)[1]
    for bias, g, part in zip(extractor.getBiases(), at_biases, parts, strict=True):
        close(g * bias.reshape(-1, *[1] * (g.ndim - 2)), part)


def test_without_noise_smoothing_changes_nothing(real_data):
    golden = {k: torch.from_numpy(v) for k, v in np.load(real_data / "golden" / "tiny.npz").items()}
    module, x, y = tiny(real_data), golden["input"], golden["classes"]
    close(SmoothFullGrad(module, num_samples=2, std_spread=0.0).saliency(x, y), golden["fullgrad"])
    close(SmoothGrad(module, num_samples=2, std_spread=0.0).saliency(x, y), golden["input_gradient_map"])


def test_the_report_of_completeness(case, capsys):
    module, golden = case
    x = golden["input"]
    report = FullGrad(module, tuple(x.shape[1:])).checkCompleteness()
    assert report.relative_gap.shape == (1, 1) and report.relative_gap.max() < 1e-5
    assert "FullGrad is complete here" in capsys.readouterr().out
    report = FullGrad(module).checkCompleteness(x, golden["classes"])
    close(report.scores[:, 0], golden["logits"].numpy()[range(len(x)), golden["classes"]], rtol=1e-5)
    assert report.relative_gap.max() < 1e-5
