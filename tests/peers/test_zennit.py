"""LRP is zennit's, where that is installed: on one module, the composites that both have."""

import keras
import pytest

if keras.backend.backend() != "torch":
    pytest.skip("zennit explains modules of PyTorch", allow_module_level=True)

import torch
from torch import nn

from keras_explainable.methods.propagation import rules
from keras_explainable.methods.propagation.composites import Composite
from keras_explainable.methods.propagation.lrp import lrp
from support import torch_models
from support.calls import raw
from support.compare import close

pytestmark = pytest.mark.peers
UNITS = torch.tensor([1, 3])


@pytest.fixture(scope="module")
def zennit(torchvision):  # which it imports
    return pytest.importorskip("zennit", reason="zennit is not installed: make test-peers", exc_type=ImportError)


def module():
    stack = [nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)]
    stack += [nn.Conv2d(8, 10, 3, stride=2), nn.ReLU(), nn.AvgPool2d(2), nn.ConvTranspose2d(10, 6, 2), nn.ReLU()]
    stack += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 7), nn.ReLU(), nn.Linear(7, 5)]
    return torch_models.drawn(nn.Sequential(*stack))


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
    from zennit.canonizers import SequentialMergeBatchNorm

    x, params, bounds = torch.as_tensor(torch_models.images(2, (20, 24))), {}, {}
    if composite == "EpsilonGammaBox":
        params = {"low": torch.full_like(x, -5), "high": torch.full_like(x, 4)}
        bounds = {"low": -5.0, "high": 4.0}
    used = getattr(composites, composite)(canonizers=[SequentialMergeBatchNorm()], **params)
    theirs = attributed(module(), x, used, lambda y: y * torch.eye(5)[UNITS])
    ours = raw(method, module(), x, UNITS.numpy(), **bounds).maps[..., 0]
    close(ours, theirs, atol=1e-4 * abs(theirs).max())


def attributed(net, x, composite, start):
    """What zennit gives to x (B, H, W), of what `start` makes of the outputs."""
    from zennit.attribution import Gradient

    with Gradient(model=net, composite=composite, attr_output=start) as attributor:
        _, relevance = attributor(x)
    return relevance.sum(1).detach().numpy()


# Ours and zennit's; in those of the weights alone it counts biases, and here it is told not to.
RULES = {
    "epsilon": (lambda: rules.epsilon(0.1), {"epsilon": 0.1}),
    "gamma": (lambda: rules.gamma(0.5), {"gamma": 0.5}),
    "alpha_beta": (lambda: rules.alpha_beta(3, 2), {"alpha": 3, "beta": 2}),
    "w_square": (lambda: rules.w_square, {"zero_params": ["bias"]}),
    "flat": (lambda: rules.flat, {}),
}


@pytest.mark.parametrize("where", ["first", "convolution", "dense"])
@pytest.mark.parametrize("name", RULES)
def test_each_rule_is_zennits(zennit, name, where):
    from zennit import composites
    from zennit import rules as peers
    from zennit.canonizers import SequentialMergeBatchNorm
    from zennit.types import Convolution, Linear

    make, params = RULES[name]
    peer = getattr(peers, {"w_square": "WSquare", "alpha_beta": "AlphaBeta"}.get(name, name.title()))(**params)
    others = {"convolution": peers.ZPlus(), "dense": peers.Epsilon()} | {where: peer}
    used = composites.SpecialFirstLayerMapComposite(
        layer_map=[
            *composites.layer_map_base(),
            (Convolution, others["convolution"]),
            (nn.Linear, others["dense"]),
        ],
        first_map=[(Linear, others["first"])] if "first" in others else [],
        canonizers=[SequentialMergeBatchNorm()],
    )
    own = Composite(rules.z_plus, rules.epsilon())._replace(**{where: make()})
    x = torch.as_tensor(torch_models.images(2, (20, 24)))
    theirs = attributed(module(), x, used, lambda y: y * torch.eye(5)[UNITS])
    ours = raw(lrp, module(), x, UNITS.numpy(), composite=own).maps[..., 0]
    close(ours, theirs, atol=1e-4 * abs(theirs).max())


@pytest.mark.parametrize("layer", [2, 5])
def test_excitation_is_zennits(zennit, layer):
    """Of signals that are not negative, as behind a ReLU: of others zennit counts the negative ones times negative
    weights, and it counts biases, which its composite is told to leave out here; the paper has neither."""
    from zennit import composites
    from zennit.canonizers import SequentialMergeBatchNorm

    x, net = torch.as_tensor(torch_models.images(2, (20, 24))), module()
    used = composites.ExcitationBackprop(zero_params=["bias"], canonizers=[SequentialMergeBatchNorm()])
    with torch.no_grad():
        signal = net[: layer + 1](x)
    theirs = attributed(net[layer + 1 :], signal, used, lambda y: torch.eye(5)[UNITS])
    ours = raw("excitation_backprop", module(), x, UNITS.numpy(), layer=str(layer)).maps[..., 0]
    close(ours, theirs, atol=1e-4 * abs(theirs).max())
