"""Maps of plain modules by hooks and nothing of this library: what its own are compared with."""

import copy


def bare_gradcam(module, layer, x, y):
    """Grad-CAM of a plain module, by a hook: what the library's maps are compared with."""
    import torch

    seen, device = [], next(module.parameters()).device

    def see(part, args, output):
        seen.append(output.detach().requires_grad_())
        return seen[0].clone()  # what follows may work in place

    hook = module.get_submodule(layer).register_forward_hook(see)
    units = torch.as_tensor(y, device=device, dtype=torch.int64)
    scores = module(torch.as_tensor(x, device=device)).gather(1, units)
    hook.remove()
    (g,) = torch.autograd.grad(scores.sum(), seen)
    return (g.mean((2, 3), keepdim=True) * seen[0]).sum(1).detach().cpu().numpy()


def bare_full_gradients(module, x, y):
    """FullGrad, equally."""
    from torch.nn import functional

    first, *terms = (scaled(term).sum(1, keepdim=True) for term in full_gradient_terms(not_in_place(module), x, y))
    size = first.shape[2:]
    maps = sum((functional.interpolate(t, size=size, mode="bilinear", align_corners=True) for t in terms), first)
    return maps[:, 0].cpu().numpy()


def not_in_place(module):
    """A copy that writes no tensor over: it would have another gradient."""
    module = copy.deepcopy(module)
    for part in module.modules():
        part.inplace = False
    return module


def full_gradient_terms(module, x, y):
    """Gradient x image, and gradient x bias of every convolution and normalisation with one, (B, C, *S) each."""
    import torch
    from torch import nn

    def bias(part):
        if isinstance(part, nn.BatchNorm2d):
            return part.bias - part.running_mean * part.weight / torch.sqrt(part.running_var + part.eps)
        return part.bias

    outputs, device = [], next(module.parameters()).device
    leaf = torch.as_tensor(x, device=device).clone().requires_grad_()
    known = nn.Conv2d | nn.Linear | nn.BatchNorm2d
    parts = [part for part in module.modules() if isinstance(part, known) and part.bias is not None]
    hooks = [p.register_forward_hook(lambda p, _, out: outputs.append((p, out))) for p in parts]
    scores = module(leaf).gather(1, torch.as_tensor(y, device=device, dtype=torch.int64)).sum()
    for hook in hooks:
        hook.remove()
    spatial = [(part, out) for part, out in outputs if out.ndim == 4]
    first, *grads = torch.autograd.grad(scores, [leaf, *(out for _, out in spatial)])
    factors = [bias(part).detach()[None, :, None, None] for part, _ in spatial]
    return [first * leaf.detach(), *(grad * factor for grad, factor in zip(grads, factors, strict=True))]


def scaled(terms):
    """|v| less its smallest value of each image, of its largest."""
    terms = terms.abs()
    terms = terms - terms.flatten(1).amin(1)[:, None, None, None]
    return terms / (terms.flatten(1).amax(1)[:, None, None, None] + 1e-6)
