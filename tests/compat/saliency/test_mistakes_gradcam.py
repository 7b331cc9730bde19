"""What the reference's Grad-CAM gets wrong: the layer, and the shape of the map."""

import keras
import pytest

if keras.backend.backend() != "torch":
    pytest.skip("the package saliency explains modules of PyTorch: KERAS_BACKEND=torch", allow_module_level=True)

import torch
from torch import nn
from torch.nn import functional as F

from keras_explainable.errors import LayerError
from saliency.gradcam import GradCAM
from support.compare import close
from support.saliency import SIZE, images, randomized

# Grad-CAM took the first Linear layer for the head, and made squares of images that are none.


class Squeezed(nn.Module):
    """A gate of Linear layers in the middle, two convolutions after it, and a head that may be none."""

    def __init__(self, head=True):
        super().__init__()
        self.first, self.gate = nn.Conv2d(3, 6, 3), nn.Sequential(nn.Linear(6, 2), nn.ReLU(), nn.Linear(2, 6))
        self.middle, self.last = nn.Conv2d(6, 6, 3, stride=2), nn.Conv2d(6, 5, 3)
        self.head = nn.Linear(5, 4) if head else nn.Identity()

    def forward(self, x):
        x = self.first(x).relu()
        x = x * torch.sigmoid(self.gate(x.mean((2, 3))))[:, :, None, None]
        return self.head(self.last(self.middle(x).relu()).relu().mean((2, 3)))


@pytest.mark.parametrize("head", [True, False], ids=["linear head", "no head"])
def test_gradcam_looks_at_the_last_convolution_and_keeps_the_aspect(head):
    module, x, y = randomized(Squeezed(head)), images(), torch.tensor([3, 1])
    seen = []
    with module.last.register_forward_hook(lambda m, args, output: seen.append(output)):
        scores = module(x)
    (g,) = torch.autograd.grad(scores.gather(1, y[:, None]).sum(), seen)
    cam = (seen[0].detach().relu() * g.mean((2, 3), keepdim=True)).sum(1, keepdim=True).relu()
    assert float(cam.max()) > 0
    close(GradCAM(module).saliency(x, y), F.interpolate(cam, SIZE[1:], mode="bilinear", align_corners=True))


def test_gradcam_of_a_module_without_a_convolution_says_what_to_do():
    with pytest.raises(LayerError, match="layer="):
        GradCAM(nn.Sequential(nn.Flatten(), nn.Linear(3 * 12 * 18, 4))).saliency(images())
