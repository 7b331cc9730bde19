"""LRP is zennit's, where that is installed: on one module, the composites that both have."""

import keras
import numpy as np
import pytest

if keras.backend.backend() != "torch":
    pytest.skip("zennit explains modules of PyTorch", allow_module_level=True)

import torch
from torch import nn

import torch_nets
from helpers import raw

pytestmark = pytest.mark.peers
UNITS = torch.tensor([1, 3])


@pytest.fixture(scope="module")
def zennit(torchvision):  # which it imports
    return pytest.importorskip("zennit", reason="zennit is not installed: make test-peers", exc_type=ImportError)


def module():
    stack = [nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)]
    stack += [nn.Conv2d(8, 10, 3, stride=2), nn.ReLU(), nn.AvgPool2d(2), nn.ConvTranspose2d(10, 6, 2), nn.ReLU()]
    stack += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 7), nn.ReLU(), nn.Linear(7, 5)]
    return torch_nets.drawn(nn.Sequential(*stack))


@pytest.mark.parametrize(
    ("method", "composite"),
    [
        ("lrp_epsilon_plus", "EpsilonPlus"),
        ("lrp_epsilon_plus_flat", "EpsilonPlusFlat"),
        ("lrp_epsilon_gamma_box", "EpsilonGammaBox"),
        ("lrp_epsilon_alpha2_beta1", "EpsilonAlpha2Beta1"),
    ],
)
def test_lrp_is_zennits(zennit, method, composite):
    from zennit import composites
    from zennit.attribution import Gradient
    from zennit.canonizers import SequentialMergeBatchNorm

    x, params, bounds = torch.as_tensor(torch_nets.images(2, (20, 24))), {}, {}
    if composite == "EpsilonGammaBox":
        params = {"low": torch.full_like(x, -5), "high": torch.full_like(x, 4)}
        bounds = {"low": -5.0, "high": 4.0}
    used = getattr(composites, composite)(canonizers=[SequentialMergeBatchNorm()], **params)
    with Gradient(model=module(), composite=used, attr_output=lambda y: y * torch.eye(5)[UNITS]) as attributor:
        _, relevance = attributor(x)
    theirs = relevance.sum(1).detach().numpy()
    ours = raw(method, module(), x, UNITS.numpy(), **bounds).maps[..., 0]
    np.testing.assert_allclose(ours, theirs, atol=1e-4 * abs(theirs).max())
