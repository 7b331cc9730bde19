"""Images, and random weights that make a network neither dead nor linear. Nothing is downloaded."""

import numpy as np
import torch
from torch.nn.modules.batchnorm import _BatchNorm

UP = 1.2
TINY = 1e-4  # the largest weight of a layer that is initialized to do nothing
KERNELS = (torch.nn.Linear, torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d)


def images(size, number=2, channels=3, seed=0):
    """Return smooth patches with noise, (number, channels, *size)."""
    size = tuple(size) if isinstance(size, (tuple, list)) else (size, size)
    rng = np.random.default_rng(seed)
    coarse = rng.normal(size=(number, channels, *(-(-s // 8) for s in size)))
    for axis in range(len(size)):
        coarse = coarse.repeat(8, axis + 2)
    cut = (slice(None), slice(None), *(slice(s) for s in size))
    return (coarse[cut] + 0.3 * rng.normal(size=(number, channels, *size)) + 0.2).astype("float32")


def prepare(module, x, call=None):
    """Return the module in evaluation mode, with random weights and calibrated statistics. `call(images)` runs it."""
    randomise(module)
    calibrate(module, x, call or module)
    return module.eval()


@torch.no_grad()
def randomise(module, seed=0):
    """Draw random weights.

    Normalisations get scales and shifts. Constant biases, layer scales and layers get values. Kernels become so large
    that the output of a layer varies as much as its input, not a thousandth of it. Batch normalisations shift upwards:
    if half of the inputs of each ReLU were negative, a deep random network would be chaotic, and a small change of the
    image would change every cell of its last map alike.
    """
    generator = torch.Generator().manual_seed(seed)
    done = set()
    for part in module.modules():
        name = type(part).__name__.lower()
        if "norm" in name or "bn" in name:
            for key in ("weight", "bias"):
                parameter = part._parameters.get(key)
                if parameter is not None:
                    draw(parameter, generator, 0.8 if key == "weight" else 0.0)
                    if key == "bias" and isinstance(part, _BatchNorm):
                        parameter.mul_(4).add_(UP)
                    done.add(id(parameter))
    for name, parameter in module.named_parameters():
        if id(parameter) in done or not parameter.is_floating_point() or not parameter.numel():
            continue
        constant = parameter.max() == parameter.min()
        if constant and parameter.max() != 0 and not name.endswith("bias"):
            draw(parameter, generator, 0.6)  # a scale
        elif constant or (parameter.ndim > 1 and abs(parameter).max() < TINY):
            draw(parameter, generator, 0.0)
    for part in module.modules():
        if isinstance(part, KERNELS) and part.weight.numel() > 1:
            wanted = part.weight[0].numel() ** -0.5
            part.weight.mul_(max(1.0, 0.5 * wanted / part.weight.std().item()))


def draw(parameter, generator, least):
    """Fill with uniform numbers from `least` upwards, or, if `least` is 0, with small normal ones."""
    if least:
        parameter.copy_(torch.rand(parameter.shape, generator=generator) * 0.5 + least)
    else:
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.07)


def calibrate(module, x, call):
    """Set the statistics of batch normalisations to those of images like x, slightly shifted."""
    norms = [part for part in module.modules() if isinstance(part, _BatchNorm) and part.running_mean is not None]
    if not norms:
        return
    were = [norm.momentum for norm in norms]
    module.eval()
    for norm in norms:
        norm.momentum, norm.training = 1.0, True
    try:
        with torch.no_grad():
            call(torch.as_tensor(several(x)))
    except ValueError:  # a map of one pixel has no variance in a small batch
        pass
    generator = torch.Generator().manual_seed(5)
    for norm, momentum in zip(norms, were, strict=True):
        norm.momentum, norm.training = momentum, False
        if not (norm.running_var.isfinite().all() and norm.running_mean.isfinite().all()):
            norm.reset_running_stats()
        norm.running_var.clamp_(min=1e-2)
        norm.running_mean.add_(
            0.1 * norm.running_var.sqrt() * torch.randn(norm.running_mean.shape, generator=generator)
        )
        norm.running_var.mul_(0.8 + 0.4 * torch.rand(norm.running_var.shape, generator=generator))


def several(x):
    """Return three times as many images: also moved ones, and ones of another contrast."""
    noise = np.random.default_rng(6).normal(size=x.shape) * 0.1
    return np.concatenate([x, 0.7 * np.roll(x[::-1], 7, -1), np.roll(x, 11, -2) + noise]).astype("float32")
