"""Implicit biases of plain PyTorch modules: work in place, shared signals, attention, and torchvision's networks."""

import keras
import pytest

if keras.backend.backend() != "torch":
    pytest.skip("modules of PyTorch need KERAS_BACKEND=torch", allow_module_level=True)

import torch
from torch import nn

import keras_explainable as ke
from support.compare import close


def randomized(module, seed=0):
    """The module in evaluation mode, with weights that keep signals at their size, and biases and statistics drawn."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in module.state_dict().items():
            if not value.is_floating_point():
                continue
            drawn = torch.randn(value.shape, generator=generator)
            if value.ndim > 1:
                value.copy_(drawn * (2 / value[0].numel()) ** 0.5)
            elif name.endswith(("weight", "running_var")):
                value.copy_(drawn.abs() * 0.2 + 0.8)
            else:
                value.copy_(drawn * 0.2)
    return module.eval()


def images(n=2, size=(3, 12, 18)):
    return torch.randn(n, *size, generator=torch.Generator().manual_seed(1))


def decomposed(module, x, y=1):
    explicit = ke.full_gradient_decomposition(module, x, y).completeness
    measured = ke.full_gradient_decomposition(module, x, y, implicit=True).completeness
    largest = max(abs(v).max() for v in measured.contributions.values())
    assert measured.relative_gap.max() <= 1e-4
    close(sum(measured.unexplained.values()), explicit.scores - explicit.total, atol=1e-4 * largest)
    return explicit, measured, largest


class InPlace(nn.Module):
    """One signal goes to several consumers, and is then worked on in place, where its first value was seen."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6)
        self.left, self.right = nn.Upsample(scale_factor=1), nn.Upsample(scale_factor=1)
        self.relu, self.head = nn.ReLU(inplace=True), nn.Linear(6, 4)

    def forward(self, x):
        x = self.norm(self.stem(x))
        left = self.left(x)
        left += self.right(x)
        x += left
        left.mul_(0)
        return self.head(self.relu(x.mul_(2)).mean((2, 3)))


def test_work_in_place_and_shared_signals():
    module, x = randomized(InPlace()), images()
    explicit, measured, largest = decomposed(module, x)
    close(measured.scores[:, 0], module(x)[:, 1].detach(), rtol=1e-5)
    assert explicit.relative_gap.max() <= 1e-4
    for key, value in measured.contributions.items():
        close(value, explicit.contributions.get(key, 0 * value), atol=1e-4 * largest)


class Attending(nn.Module):
    def __init__(self):
        super().__init__()
        self.patches, self.norm = nn.Conv2d(3, 8, 3, 3), nn.LayerNorm(8)
        self.attention, self.mlp = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, 8)
        self.curve, self.head = nn.GELU(), nn.Linear(8, 4)

    def forward(self, x):
        x = self.norm(self.patches(x).flatten(2).mT)
        x = x + self.attention(x, x, x, need_weights=False)[0]
        return self.head(self.curve(self.mlp(x)).mean(1))


def test_layers_against_plain_differentiation():
    module, x = randomized(Attending()), images(1)
    explicit, measured, largest = decomposed(module, x)
    assert explicit.relative_gap.max() > 1e-2
    assert abs(measured.contributions["operations"]).max() <= 1e-4 * largest  # sums and means: nothing of their own

    def after(name, *inputs):  # what is left of the network after a layer
        y = getattr(module, name)(*inputs)
        y = (y[0] if isinstance(y, tuple) else y).detach().requires_grad_()
        z = {"norm": lambda y: y + module.attention(y, y, y)[0], "attention": lambda y: y + inputs[0].detach()}
        h = y if name == "curve" else module.curve(module.mlp(z[name](y)))
        return y, torch.autograd.grad(module.head(h.mean(1))[0, 1], y)[0]

    def contribution(name, *inputs):
        inputs = [i.detach().clone().requires_grad_() for i in inputs]
        y, g = after(name, *inputs)
        out = getattr(module, name)(*inputs)
        grads = torch.autograd.grad(out[0] if isinstance(out, tuple) else out, inputs, g)
        return float(((g * y).sum() - sum((d * i).sum() for d, i in zip(grads, inputs, strict=True))).detach())

    tokens = module.patches(x).flatten(2).mT
    normal = module.norm(tokens)
    mixed = normal + module.attention(normal, normal, normal)[0]
    values = {"norm": [tokens], "attention": [normal] * 3, "curve": [module.mlp(mixed)]}
    for name, inputs in values.items():
        expected = contribution(name, *inputs)
        assert measured.contributions[name, 0].item() == pytest.approx(expected, rel=1e-4, abs=1e-5 * float(largest)), (
            name
        )
        assert abs(expected) > 1e-3


class Swapped(Attending):
    """Tokens first, then images."""

    def forward(self, x):
        x = self.norm(self.patches(x).flatten(2).mT).swapaxes(0, 1)
        self.attention.batch_first = False
        x = x + self.attention(x, x, x, need_weights=False)[0]
        return self.head(self.curve(x).mean(0))


def test_signals_that_do_not_have_the_images_first_are_left_to_operations():
    _, measured, largest = decomposed(randomized(Swapped()), images(2))
    assert {key[0] for key in measured.contributions if key != "input"} == {"patches", "norm", "head", "o"}
    assert abs(measured.contributions["operations"]).max() > 1e-3 * largest


CURVED = {  # by kind of network, what is among the largest causes: gates, layer normalisation
    "mobilenet_v3_small": "scale_activation",
    "efficientnet_b0": "scale_activation",
    "convnext_tiny": "block.2",
    "vit_b_16": ".ln",
}


@pytest.mark.peers
@pytest.mark.parametrize("name", [*CURVED, "resnet18"])
def test_torchvision(torchvision, name):
    options = {"image_size": 32} if name == "vit_b_16" else {}
    module = randomized(getattr(torchvision.models, name)(weights=None, num_classes=5, **options))
    explicit, measured, largest = decomposed(module, images(2, (3, 32, 32)))
    assert (explicit.relative_gap.max() > 1e-4) == (name in CURVED)
    if name in CURVED:
        shares = {key[0]: abs(v).max() for key, v in measured.unexplained.items() if key != "operations"}
        top = sorted(shares, key=shares.get)[-3:]
        assert any(CURVED[name] in path for path in top), top
    else:
        assert all(abs(v).max() <= 1e-4 * largest for v in measured.unexplained.values())
