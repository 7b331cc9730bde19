"""Statistics of gradients of noisy copies, and guided Grad-CAM, beside Captum's on the same draws."""

import keras
import numpy as np
import pytest

if keras.backend.backend() != "torch":
    pytest.skip("modules are explained on the torch backend", allow_module_level=True)
import torch
from torch import nn

from keras_explainable.methods.gradient.expected_gradients import draws as baseline_draws
from keras_explainable.numerics import random
from support import torch_models
from support.calls import raw
from support.compare import close

attr = pytest.importorskip("captum.attr", reason="Captum, to compare with, is not installed: pip install captum")
UNITS, DRAWS, NOISE, SEED = [1, 4, 2], 5, 0.3, 7
OPTIONS = {"repetitions": DRAWS, "noise": NOISE, "noise_kind": "absolute", "seed": SEED, "reduce": None}


@pytest.fixture
def module():
    stack = [nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 6, 3, stride=2), nn.ReLU()]
    return torch_models.drawn(nn.Sequential(*stack, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5)))


@pytest.fixture
def x():
    return torch.randn(3, 3, 18, 22, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def our_noise(monkeypatch, x):
    """Theirs draws for each image by itself: here every image sees the draws that ours shows it."""
    size = (1, *x.shape[2:], x.shape[1])  # drawn as for channels last
    draws = torch.cat([random.normal(size, SEED, i).movedim(-1, 1) for i in range(DRAWS)]).repeat(len(x), 1, 1, 1)
    monkeypatch.setattr(torch, "normal", lambda mean, deviation: mean + deviation * draws)


def channels_last(theirs):
    theirs = np.moveaxis(theirs.detach().numpy(), 1, -1)
    assert np.ptp(theirs) > 0
    return theirs


@pytest.mark.parametrize(
    ("method", "kind"), [("smoothgrad", "smoothgrad"), ("vargrad", "vargrad"), ("squaregrad", "smoothgrad_sq")]
)
def test_noise_tunnels(module, x, our_noise, method, kind):
    tunnel = attr.NoiseTunnel(attr.Saliency(module))
    theirs = tunnel.attribute(x, nt_type=kind, nt_samples=DRAWS, stdevs=NOISE, target=UNITS, abs=False)
    ours = raw(method, module, x, UNITS, **OPTIONS).maps[:, 0]
    close([ours], [channels_last(theirs)], 1e-4)


def test_gradient_shap_with_noise(module, x, our_noise, monkeypatch):
    origins = x.flip(0).clone() * 0.4
    t, which = baseline_draws(DRAWS, len(origins), SEED)
    monkeypatch.setattr(np.random, "uniform", lambda low, high, size: np.tile(t, len(x)).astype("float64"))
    monkeypatch.setattr(np.random, "choice", lambda number, size: np.tile(which, len(x)))
    theirs = attr.GradientShap(module).attribute(x, origins, n_samples=DRAWS, stdevs=NOISE, target=UNITS)
    ours = raw("gradient_shap", module, x, UNITS, baselines=origins, **OPTIONS).maps[:, 0]
    close([ours], [channels_last(theirs)], 1e-4)


@pytest.mark.parametrize("layer", ["2", "3"])
def test_guided_gradcam(module, x, layer):
    guided = attr.GuidedGradCam(module, module.get_submodule(layer))
    theirs = guided.attribute(x.clone().requires_grad_(), UNITS, interpolate_mode="bilinear")
    ours = raw("guided_gradcam", module, x, UNITS, layer=layer).maps[..., 0]
    close([ours], [abs(channels_last(theirs)).mean(-1)], 1e-4)
