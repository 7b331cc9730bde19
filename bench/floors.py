"""The floors: the bare framework's forward pass and gradient pass, compiled where it compiles, with nothing of this
library in them. `floors(model, x, y)` gives (forward(), gradient()), which return NumPy arrays; weights are frozen."""

import keras
import numpy as np


def floors(model, x, y):
    """The two callables for a Keras model or a plain module, images and units (B, 1)."""
    kind = keras.backend.backend() if isinstance(model, keras.Model) else "native"
    return {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch, "native": _native}[kind](model, x, y)


def _tensorflow(model, x, y):
    import tensorflow as tf

    y = tf.constant(y)

    @tf.function
    def forward(x):
        return model(x, training=False)

    @tf.function
    def gradient(x):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(x)
            scores = tf.gather(model(x, training=False), y, batch_dims=1)
        return tape.gradient(scores, x)

    return lambda: forward(tf.constant(x)).numpy(), lambda: gradient(tf.constant(x)).numpy()


def _jax(model, x, y):
    import jax
    import jax.numpy as jnp

    y = jnp.asarray(y)
    values = [v.value for v in model.variables]

    def scores(values, x):
        with keras.StatelessScope(state_mapping=list(zip(model.variables, values, strict=True))):
            return model(x, training=False)

    forward = jax.jit(scores)
    gradient = jax.jit(jax.grad(lambda x, values: jnp.take_along_axis(scores(values, x), y, 1).sum()))
    return lambda: np.asarray(forward(values, jnp.asarray(x))), lambda: np.asarray(gradient(jnp.asarray(x), values))


def _torch(model, x, y):
    weights = [v.value for v in model.variables]
    return _passes(lambda x: model(x, training=False), weights, x, y)


def _native(model, x, y):
    return _passes(model, list(model.parameters()), x, y)


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
    """FullGrad of a plain module, by hooks at each convolution and normalisation with a bias, equally."""
    import torch
    from torch.nn import functional as F

    def bias(part):
        if getattr(part, "running_mean", None) is None:
            return part.bias
        return part.bias - part.running_mean * part.weight / torch.sqrt(part.running_var + part.eps)

    def psi(v):
        v = v.abs()
        low, high = v.amin((1, 2, 3), keepdim=True), v.amax((1, 2, 3), keepdim=True)
        return ((v - low) / (high - low + 1e-6)).sum(1, keepdim=True)

    seen, device = [], next(module.parameters()).device

    def see(part, args, output):
        seen.append((part, output))
        return output.clone()  # what follows may work in place

    hooks = [m.register_forward_hook(see) for m in module.modules() if getattr(m, "bias", None) is not None]
    leaf = torch.as_tensor(x, device=device).clone().requires_grad_()
    scores = module(leaf).gather(1, torch.as_tensor(y, device=device, dtype=torch.int64))
    for hook in hooks:
        hook.remove()
    spatial = [(part, output) for part, output in seen if output.ndim == 4]
    g, *gradients = torch.autograd.grad(scores.sum(), [leaf, *(output for _, output in spatial)])
    with torch.no_grad():
        maps = psi(g * leaf)
        for (part, _), gradient in zip(spatial, gradients, strict=True):
            term = psi(gradient * bias(part).reshape(1, -1, 1, 1))
            maps += F.interpolate(term, leaf.shape[2:], mode="bilinear", align_corners=True)
    return maps[:, 0].cpu().numpy()


def _passes(call, weights, x, y):
    import torch

    device = weights[0].device
    y = torch.as_tensor(y, device=device, dtype=torch.int64)

    def forward():
        with torch.no_grad():
            return call(torch.as_tensor(x, device=device)).cpu().numpy()

    def gradient():
        was = [w.requires_grad for w in weights]
        for w in weights:
            w.requires_grad_(False)
        leaf = torch.as_tensor(x, device=device).clone().requires_grad_()
        (g,) = torch.autograd.grad(call(leaf).gather(1, y).sum(), leaf)
        for w, grad in zip(weights, was, strict=True):
            w.requires_grad_(grad)
        return g.cpu().numpy()

    return forward, gradient
