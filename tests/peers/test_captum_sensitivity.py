"""Captum's `sensitivity_max`, on the same noisy copies."""

import keras
import pytest

if keras.backend.backend() != "torch":
    pytest.skip("modules are explained on the torch backend", allow_module_level=True)
import torch
from torch import nn

import keras_explainable as ke
from keras_explainable.numerics.random import on_host
from support.compare import close

metrics = pytest.importorskip("captum.metrics", reason="Captum, to compare with, is not installed: pip install captum")
attr = pytest.importorskip("captum.attr")
UNITS, DRAWS, NOISE = [1, 4, 2], 6, 0.02


def small():
    torch.manual_seed(5)
    stack = [nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 6, 3, stride=2), nn.SiLU()]
    return nn.Sequential(*stack, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5)).eval()


@pytest.mark.parametrize("method", ["input_x_gradient", "gradients"])
def test_the_largest_relative_change_is_captums(method):
    module, x = small(), torch.randn(3, 1, 18, 22, generator=torch.Generator().manual_seed(1))
    reach = NOISE * (x.amax((1, 2, 3), keepdim=True) - x.amin((1, 2, 3), keepdim=True))
    uniform = [torch.from_numpy(on_host((1, 18, 22, 1), 0, j, 31)).permute(0, 3, 1, 2) for j in range(DRAWS)]
    copies = torch.stack([x + reach * (2 * u - 1) for u in uniform], dim=1).flatten(0, 1)  # draws of an image together
    # Captum counts every draw: none of these changes the prediction.
    assert torch.equal(module(copies).argmax(1), module(x).argmax(1).repeat_interleave(DRAWS))
    theirs = {"input_x_gradient": attr.InputXGradient, "gradients": attr.Saliency}[method](module)
    expected = metrics.sensitivity_max(
        theirs.attribute,
        x.clone().requires_grad_(),
        perturb_func=lambda inputs: (copies.clone().requires_grad_(),),
        n_perturb_samples=DRAWS,
        target=UNITS,
    )
    found = ke.metrics.max_sensitivity(module, x, UNITS, explain=method, repetitions=DRAWS, noise=NOISE)
    assert found.about["kept"] == 1
    close(found.values[:, 0], expected.detach().numpy(), rtol=1e-4)
