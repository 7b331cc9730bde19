"""What the reference's SmoothGrad and Smooth-FullGrad get wrong: the scale of the noise, the class, the size of the mean."""

import keras
import pytest

if keras.backend.backend() != "torch":
    pytest.skip("the package saliency explains modules of PyTorch: KERAS_BACKEND=torch", allow_module_level=True)

import torch
from torch import nn
from torch.nn import functional as F

from keras_explainable.numerics import random
from saliency.fullgrad import FullGrad
from saliency.smooth_fullgrad import SmoothFullGrad
from saliency.smoothgrad import SmoothGrad
from support.compare import close
from support.saliency import SIZE, Winding, images, plain_gradient, randomized

# Noise was scaled by the whole batch, and the class chosen anew for each noisy image.


class Torn(nn.Module):
    """Two classes of which the first barely leads on an image of ones, and noise turns them round."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 1)

    def forward(self, x):
        first, second = self.conv(x).relu().mean((2, 3)).T
        return torch.stack([first + 1e-3, second], 1)


def draw(size, seed, step):
    """Noise for images (C, H, W): drawn as for (H, W, C)."""
    return random.normal((1, *size[1:], size[0]), seed, step).movedim(-1, 1)


@pytest.mark.parametrize("make", [SmoothGrad, SmoothFullGrad])
def test_the_class_stays_that_of_the_clean_image(make):
    module = randomized(Torn())
    with torch.no_grad():
        module.conv.weight[1], module.conv.bias[1] = module.conv.weight[0].flip(0), module.conv.bias[0]
    x = images(1).abs()
    x = (x + x.flip(1)) / 2  # both classes see the same
    drawn = torch.stack([module(x + draw(SIZE, 0, i) * 0.5)[0].argmax() for i in range(8)])
    assert module(x).argmax() == 0 and len(drawn.unique()) == 2
    explainer = make(module, num_samples=8, std_spread=0.5)
    close(explainer.saliency(x), explainer.saliency(x, 0))
    assert float((explainer.saliency(x) - explainer.saliency(x, 1)).abs().max()) > 1e-3 * float(
        explainer.saliency(x).max()
    )


@pytest.mark.parametrize("make", [SmoothGrad, SmoothFullGrad])
def test_an_image_is_explained_alike_in_every_company(make):
    module, x = randomized(Winding()), images()
    x[1] *= 10
    explainer = make(module, num_samples=4)
    together = explainer.saliency(x, 1)
    close(together, torch.cat([explainer.saliency(x[i : i + 1], 1) for i in range(2)]))
    close(explainer.saliency(x, 1), together, 0)
    assert float((make(module, num_samples=4, seed=1).saliency(x, 1) - together).abs().max()) > 0


def noisy(x, n, spread, seed=0):
    ranges = x.amax((1, 2, 3), keepdim=True) - x.amin((1, 2, 3), keepdim=True)
    return [x + spread * ranges * draw(x.shape[1:], seed, i) for i in range(n)]


def test_smoothgrad_is_the_size_of_the_mean_gradient():
    module, x, y = randomized(Winding()), images(), torch.tensor([0, 2])
    mean = sum(plain_gradient(module, copy, y) for copy in noisy(x, 5, 0.3, seed=3)) / 5
    maps = SmoothGrad(module, num_samples=5, std_spread=0.3, seed=3).saliency(x, y)
    close(maps, mean.abs().sum(1, keepdim=True))


def test_smooth_fullgrad_is_fullgrad_of_the_mean_contributions():
    module, x, y = randomized(Winding()), images(), torch.tensor([0, 2])
    terms = []
    for copy in noisy(x, 5, 0.3):
        gradient, parts = FullGrad(module).fullGradientDecompose(copy, y)
        terms.append([gradient * copy, *parts[:-1]])  # the last one is the head's, which has no place
    expected = torch.zeros(2, 1, *SIZE[1:])
    for draws in zip(*terms, strict=True):
        size = (sum(draws) / 5).abs()
        low, high = size.amin((1, 2, 3), keepdim=True), size.amax((1, 2, 3), keepdim=True)
        psi = (size - low) / (high - low + 1e-6)
        expected += F.interpolate(psi, size=SIZE[1:], mode="bilinear", align_corners=True).sum(1, keepdim=True)
    close(SmoothFullGrad(module, num_samples=5, std_spread=0.3).saliency(x, y), expected)
