"""Modules whose weights are of several types, kept tensors that end the gradient, and weights shared among processes."""

import numpy as np
import pytest

import keras_explainable as ke
from keras_explainable.errors import InputError
from support.calls import raw
from support.compare import close
from support.selection import BACKEND

pytestmark = pytest.mark.skipif(BACKEND != "torch", reason="modules need Keras on PyTorch")
X = np.random.default_rng(0).random((2, 3, 16, 16)).astype("float32")


def net(lower=None):
    """As CLIP is: half the precision, but for the norms, whose layer casts, and a table that comes first."""
    import torch
    from torch import nn

    class Norm(nn.LayerNorm):
        def forward(self, x):
            return super().forward(x.float()).to(x.dtype)

    class Clip(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.scale = nn.Parameter(torch.ones(()))
            self.conv, self.norm, self.head = nn.Conv2d(3, 8, 4, 4), Norm(8), nn.Linear(8, 5)

        def forward(self, x):
            x = self.norm(self.conv(x).permute(0, 2, 3, 1)).relu().mean((1, 2))
            return self.head(x) * self.scale.to(x.dtype)

    module = Clip().eval()
    if lower:
        for part in (module.conv, module.head):
            part.to(getattr(torch, lower))
    return module


@pytest.mark.parametrize("lower", ["bfloat16", "float16"])
@pytest.mark.parametrize("images", ["their own", "float32"])
@pytest.mark.parametrize("method", ["gradients", "gradcam", "occlusion", "integrated_gradients", "full_gradients"])
def test_weights_of_several_types_get_the_images_that_they_take(method, images, lower):
    import torch

    x = torch.from_numpy(X)
    layer = {"layer": "conv"} if method == "gradcam" else {}
    ours = raw(method, net(lower), x.to(getattr(torch, lower)) if images == "their own" else x, 1, **layer)
    theirs = raw(method, net(), x, 1, **layer)
    assert np.corrcoef(ours.maps.ravel(), theirs.maps.ravel())[0, 1] > (0.98 if method == "occlusion" else 0.99)
    close(ours.scores, theirs.scores, atol=0.02)


def test_a_module_that_only_takes_the_users_type_gets_it():
    import torch
    from torch import nn

    class Strict(nn.Module):
        def __init__(self):
            super().__init__()
            self.wide, self.lower = nn.Linear(4, 4), nn.Linear(12, 3).to(torch.bfloat16)

        def forward(self, x):
            assert x.dtype == torch.bfloat16
            return self.lower(x.mean((2, 3)).repeat(1, 4))

    module = Strict()
    x = torch.from_numpy(X).to(torch.bfloat16)
    copy = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(module(copy)[:, 1].float().sum(), copy)
    found = raw("gradients", module, x, 1, reduce=None).maps[:, 0]
    expected = expected.float().permute(0, 2, 3, 1)
    close(found, expected, atol=0.02 * abs(expected).max())


def test_tensors_kept_from_inference_mode_are_named():
    import torch
    from torch import nn

    class Anchored(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 3)
            with torch.inference_mode():
                self.anchors = [torch.rand(4, 1, 1)]

        def forward(self, x):
            return self.head((self.conv(x) * self.anchors[0]).relu().mean((2, 3)))

    with pytest.raises(InputError, match=r"inference_mode\(\) \(anchors\).*clone them"):
        raw("gradients", Anchored().eval(), X, 1)
    assert raw("occlusion", Anchored().eval(), X, 1).maps.any()


def test_sharded_weights_are_refused_in_a_sentence():
    import torch
    from torch import nn

    class DTensor(nn.Parameter):
        pass

    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 14 * 14, 3))
    module[0].weight = DTensor(torch.rand(4, 3, 3, 3))
    with pytest.raises(InputError, match="sharded among processes .* explain a whole copy"):
        ke.gradients(module, X, 1, verbose=0)


@pytest.mark.parametrize("images", [1, 2])
@pytest.mark.parametrize("method", ["gradients", "gradcam"])
def test_one_image_has_its_gradient_through_a_batch_normalisation_before_tokens(method, images):
    """Where PyTorch itself sends a wrong one, on a CPU."""
    import torch
    from torch import nn

    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.conv, self.norm, self.head = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.Linear(6 * 20, 3)
            self.norm.running_var.uniform_(0.5, 2)

        def forward(self, x):
            return self.head((self.norm(self.conv(x)).flatten(2).transpose(1, 2) ** 2).flatten(1))

    module, x = Tokens().eval(), torch.randn(2, 3, 6, 7)
    kept = [] if method == "gradcam" else [x.requires_grad_()]
    handle = module.conv.register_forward_hook(lambda m, i, o: kept.append(o) if method == "gradcam" else None)
    score = module(x)[:, 1].sum()  # of two images, the gradient of each of which is right
    handle.remove()
    (g,) = torch.autograd.grad(score, kept[0])
    expected = g.abs().mean(1) if method == "gradients" else (g.mean((2, 3), keepdim=True) * kept[0]).sum(1)
    layer = {} if method == "gradients" else {"layer": "conv"}
    found = ke.explain(method, module, x[:images].detach(), 1, resizing=False, verbose=0, **layer)
    close(found.maps[..., 0], expected[:images].detach(), rtol=1e-4, atol=1e-6)
