"""Reference maps of plain modules, computed with hooks. Only the random numbers come from this library."""

import copy

import numpy as np

from keras_explainable.numerics import random


def witness(method, module, layer, x, y, repetitions):
    """Return the maps (N, *S) that a method should compute, or None if there is nothing to compare with."""
    if method in CAMS and layer is not None:
        return _array(CAMS[method](*signal_and_gradient(module, layer, x, y)))
    if method == "cam" and layer is not None and hasattr(module, "fc"):  # a linear head after the pooled signal
        signal, _ = signal_and_gradient(module, layer, x, y)
        return _array((module.fc.weight.detach()[y[:, 0]].to(signal.device)[:, :, None, None] * signal).sum(1))
    if method == "ablationcam" and [part.__class__.__name__ for part in after(module, layer)] == LINEAR:
        signal, g = signal_and_gradient(module, layer, x, y)
        scores = units(module, _leaf(module, x), y).detach()[..., None, None]
        return _array(((g * signal).sum((2, 3), keepdim=True) / abs(scores) * signal).sum(1))
    if method in ("full_gradients", "simple_full_gradients"):
        return bare_full_gradients(module, x, y, simple=method == "simple_full_gradients")
    if method in SMOOTHED:
        spread = np.ptp(x, axis=(1, 2, 3), keepdims=True)
        size = (1, *x.shape[2:], x.shape[1])  # drawn as for channels last
        noise = (np.moveaxis(np.asarray(random.normal(size, 0, i).cpu()), -1, 1) for i in range(repetitions))
        g = np.stack([gradient(module, x + np.float32(0.15) * spread * e, y) for e in noise])
        return SMOOTHED[method](g).mean(1)
    if method == "integrated_gradients":  # from black
        nodes, weights = np.polynomial.legendre.leggauss(repetitions)
        at = zip((nodes + 1) / 2, weights / 2, strict=True)
        return (x * sum(w * gradient(module, np.float32(t) * x, y) for t, w in at)).sum(1)
    return (x * gradient(module, x, y)).sum(1) if method == "input_x_gradient" else None


def _gradcampp(signal, g):
    total = signal.double().sum((2, 3), keepdim=True)
    below = 2 * g.double() ** 2 + g.double() ** 3 * total
    alpha = (g.double() ** 2 / below).nan_to_num(0.0, 0.0, 0.0)
    return ((alpha * g.relu()).sum((2, 3), keepdim=True) * signal).sum(1)


LINEAR = ["AdaptiveAvgPool2d", "Linear"]  # between a signal and scores that are linear in it
CAMS = {
    "gradcam": lambda signal, g: (g.mean((2, 3), keepdim=True) * signal).sum(1),
    "gradcampp": _gradcampp,
    "hirescam": lambda signal, g: (g * signal).sum(1),
    "layercam": lambda signal, g: (g.relu() * signal).sum(1),
}
SMOOTHED = {
    "smoothgrad": lambda g: abs(g.mean(0)),
    "squaregrad": lambda g: (g**2).mean(0),
    "vargrad": lambda g: g.var(0),
}


def after(module, layer):
    """Return the parts of a module after a layer, if it is one of them."""
    parts = dict(module.named_children())
    return [*parts.values()][[*parts].index(layer) + 1 :] if layer in parts else []


def _array(maps):
    return maps.detach().cpu().numpy()


def _leaf(module, x):
    """Return images on the module's device that require a gradient."""
    import torch

    return torch.as_tensor(x, device=next(module.parameters()).device).clone().requires_grad_()


def of_units(run, leaf, y):
    """Return the sum of the scores of one unit of each image, by indices (B, 1)."""
    return units(run, leaf, y).sum()


def units(run, leaf, y):
    """Return the scores of these units."""
    import torch

    return run(leaf).gather(1, torch.as_tensor(y, device=leaf.device, dtype=torch.int64))


def signal_and_gradient(module, layer, x, y):
    """Return a layer's output (N, C, *S), and the gradient of the units' scores with respect to it, by a hook."""
    import torch

    seen = []

    def see(part, args, output):
        seen.append(output.detach().requires_grad_())
        return seen[0].clone()  # the next operation may be in-place

    hook = module.get_submodule(layer).register_forward_hook(see)
    score = of_units(module, _leaf(module, x), y)
    hook.remove()
    (g,) = torch.autograd.grad(score, seen)
    return seen[0].detach(), g


def gradient(module, x, y):
    """Return the gradient of the units' scores with respect to the images."""
    import torch

    leaf = _leaf(module, x)
    return _array(torch.autograd.grad(of_units(module, leaf, y), leaf)[0])


def bare_full_gradients(module, x, y, simple=False):
    """Return FullGrad, or if `simple`, FullGrad of the gradients alone."""
    from torch.nn import functional

    terms = full_gradient_terms(not_in_place(module), x, y, simple)
    first, *terms = (scaled(term).sum(1, keepdim=True) for term in terms)
    size = first.shape[2:]
    maps = sum((functional.interpolate(t, size=size, mode="bilinear", align_corners=True) for t in terms), first)
    return _array(maps[:, 0])


def not_in_place(module):
    """Copy a module without in-place operations, which would change the recorded gradients."""
    module = copy.deepcopy(module)
    for part in module.modules():
        part.inplace = False
    return module


def full_gradient_terms(module, x, y, simple=False):
    """Return gradient x image, and for every convolution and normalisation with a bias, gradient x bias.

    Each is (B, C, *S). With `simple`, the bias is left out."""
    import torch
    from torch import nn

    def bias(part):
        if not isinstance(part, nn.BatchNorm2d):
            return part.bias
        gamma, beta = (part.weight, part.bias) if part.affine else (1.0, 0.0)
        return beta - part.running_mean * gamma / torch.sqrt(part.running_var + part.eps)

    outputs, leaf = [], _leaf(module, x)
    known = nn.Conv2d | nn.Linear | nn.BatchNorm2d
    parts = [
        part
        for part in module.modules()
        if isinstance(part, known) and (hasattr(part, "running_mean") or part.bias is not None)
    ]
    hooks = [p.register_forward_hook(lambda p, _, out: outputs.append((p, out))) for p in parts]
    score = of_units(module, leaf, y)
    for hook in hooks:
        hook.remove()
    spatial = [(part, out) for part, out in outputs if out.ndim == 4]
    first, *grads = torch.autograd.grad(score, [leaf, *(out for _, out in spatial)])
    factors = [1 if simple else bias(part).detach()[None, :, None, None] for part, _ in spatial]
    return [first * leaf.detach(), *(grad * factor for grad, factor in zip(grads, factors, strict=True))]


def scaled(terms):
    """Scale |v| of each image to [0, 1]: subtract its minimum and divide by its maximum."""
    terms = terms.abs()
    terms = terms - terms.flatten(1).amin(1)[:, None, None, None]
    return terms / (terms.flatten(1).amax(1)[:, None, None, None] + 1e-6)
