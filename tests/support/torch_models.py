"""Small PyTorch modules of the kinds that users have, and explanations of them in bare PyTorch, for comparison."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

SIZE, UNITS = (14, 18), 5


def drawn(module, seed=0):
    """The module with weights and statistics drawn anew, and in evaluation mode."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in [*module.named_parameters(), *module.named_buffers()]:
            if not value.is_floating_point():
                continue
            spread = torch.randn(value.shape, generator=g)
            if name.endswith("running_var") or (name.endswith("weight") and value.ndim == 1):
                value.copy_(0.5 + torch.rand(value.shape, generator=g))
            elif value.ndim > 1:
                value.copy_(spread * (2 / value[0].numel()) ** 0.5)
            else:
                value.copy_(spread * 0.2)
    return module.eval()


def images(n=3, size=SIZE, channels=3, seed=0):
    return np.random.default_rng(seed).normal(size=(n, channels, *size)).astype("float32")


class Plain(nn.Module):
    """Convolutions, batch normalisation, ReLUs (one module or function for all of them, as `relu` says), and a head."""

    def __init__(self, relu="function", head=None):
        super().__init__()
        self.fc = nn.Linear(12, UNITS)  # registered first, called last
        self.unused = nn.Conv2d(3, 4, 1)
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.conv2, self.bn2 = nn.Conv2d(8, 8, 3, stride=2, bias=False), nn.BatchNorm2d(8, eps=1e-3)
        self.conv3 = nn.Conv2d(8, 12, 3)
        kinds = {"module": nn.ReLU(), "module_in_place": nn.ReLU(inplace=True)}
        self.relu = kinds.get(
            relu, {"function": F.relu, "function_in_place": F.relu_, "method": lambda x: x.relu_()}.get(relu)
        )
        self.drop = nn.Dropout(0.5)
        self.head = head or nn.Identity()

    def forward(self, x):
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        x = self.relu(self.conv3(x))
        return self.head(self.fc(self.drop(x.mean((2, 3)))))


class Twice(nn.Module):
    """One convolution and one in-place activation, called twice; `twins` has copies in their place."""

    def __init__(self, twins=False):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3)
        self.conv, self.act = nn.Conv2d(6, 6, 3, padding=1), nn.ReLU(inplace=True)
        self.conv_b, self.act_b = (nn.Conv2d(6, 6, 3, padding=1), nn.ReLU()) if twins else (self.conv, self.act)
        self.fc = nn.Linear(6, UNITS)

    def forward(self, x):
        x = F.relu(self.stem(x))
        x = self.act(self.conv(x))
        x = self.act_b(self.conv_b(x) + x)
        return self.fc(x.mean((2, 3)))


class ChannelsLastInside(nn.Module):
    """A linear layer on (B, H, W, C), as ConvNeXt and Swin have them; H = C, so that shapes do not tell them apart."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 7, 2, stride=2)
        self.norm = nn.LayerNorm(7)
        self.mix, self.act = nn.Linear(7, 7), nn.ReLU()
        self.last = nn.Conv2d(7, 8, 1)
        self.fc = nn.Linear(8, UNITS)

    def forward(self, x):
        x = self.stem(x).permute(0, 2, 3, 1)
        x = self.act(self.mix(x)).permute(0, 3, 1, 2)
        return self.fc(F.relu(self.last(x)).mean((2, 3)))


class Tokens(nn.Module):
    """Linear layers on tokens, whose outputs are views, changed in place afterwards."""

    def __init__(self, in_place=True):
        super().__init__()
        self.patch, self.relu = nn.Conv2d(3, 6, 2, stride=2), F.relu_ if in_place else F.relu
        self.mlp, self.fc = nn.Linear(6, 10), nn.Linear(10, UNITS)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        return self.fc(self.relu(self.mlp(x)).mean(1))


class NormAct(nn.BatchNorm2d):
    """Normalisation with its own activation inside."""

    def __init__(self, channels):
        super().__init__(channels)
        self.drop, self.act = nn.Identity(), nn.ReLU(inplace=True)

    def forward(self, x):
        return self.act(self.drop(super().forward(x)))


class WithNormAct(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 8, 3, bias=False), NormAct(8)
        self.fc = nn.Linear(8, UNITS)

    def forward(self, x):
        return self.fc(self.bn(self.conv(x)).mean((2, 3)))


class Sized(nn.Module):
    """Convolutions in 1, 2 or 3 dimensions, and a transposed one."""

    def __init__(self, rank):
        super().__init__()
        conv, norm, up = (getattr(nn, f"{name}{rank}d") for name in ("Conv", "BatchNorm", "ConvTranspose"))
        self.conv, self.norm, self.up = conv(2, 6, 3), norm(6), up(6, 5, 2, stride=2)
        self.pool, self.flat = getattr(nn, f"AdaptiveAvgPool{rank}d")(1), nn.Flatten()
        self.fc = nn.Linear(5, UNITS)

    def forward(self, x):
        return self.fc(self.flat(self.pool(F.relu(self.up(F.relu(self.norm(self.conv(x))))))))


def score(module, x, units):
    return module(x).gather(1, torch.as_tensor(units)[:, None])[:, 0].sum()


def gradcam(module, tapped, x, units):
    """(B, H, W) Grad-CAM maps, unprocessed, at a module's only call."""
    seen = []
    handle = tapped.register_forward_hook(lambda _, args, output: seen.append(output) or output.clone())
    (g,) = torch.autograd.grad(score(module, torch.as_tensor(x), units), seen)
    handle.remove()
    axes = tuple(range(2, seen[0].ndim))
    return (seen[0] * g.mean(axes, keepdim=True)).sum(1).detach().numpy()


def saliency(module, x, units):
    """(B, *S, C) gradients at the images."""
    leaf = torch.as_tensor(x).requires_grad_()
    (g,) = torch.autograd.grad(score(module, leaf, units), leaf)
    return g.movedim(1, -1).numpy()
