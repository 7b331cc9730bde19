"""The floors: the forward pass and the gradient pass of the bare framework, without this library.

They are compiled if the framework compiles, with frozen weights. `floors(model, x, y)` returns two functions,
forward() and gradient(), which return NumPy arrays. `tail` makes what comes after a layer a model of its own."""

import keras
import numpy as np

from bench.reference_maps import of_units, signal_and_gradient


def floors(model, x, y):
    """Return the two functions for a Keras model or a plain module, images, and units (B, 1)."""
    kind = keras.backend.backend() if isinstance(model, keras.Model) else "native"
    return {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch, "native": _native}[kind](model, x, y)


def signal_at(model, layer, x, y):
    """Return a layer's output."""
    if isinstance(model, keras.Model):
        return keras.Model(model.inputs, model.get_layer(layer).output).predict(x, verbose=0)
    return signal_and_gradient(model, layer, x, y)[0].cpu().numpy()


def tail(model, layer, signal, copies):
    """Return what comes after a layer, as a model of the layer's output (B, ...).

    It runs on `copies` of each image's signal, and each lacks another channel. A plain module must end in a pooling and
    a linear layer."""
    if isinstance(model, keras.Model):
        kept = 1 - np.eye(copies, signal.shape[-1], dtype="float32")[:, None, None]
        inputs = keras.Input(signal.shape[1:])
        without = keras.ops.reshape(inputs[:, None] * kept, (-1, *signal.shape[1:]))
        return keras.Model(inputs, keras.Model(model.get_layer(layer).output, model.output)(without))
    import torch
    from torch import nn

    class Without(nn.Module):
        def forward(self, x):
            kept = 1 - torch.eye(copies, x.shape[1], device=x.device)[..., None, None]
            return (x[:, None] * kept).flatten(0, 1)

    names = [name for name, _ in model.named_children()]
    pool, head = (model.get_submodule(name) for name in names[names.index(layer) + 1 :])
    return nn.Sequential(Without(), pool, nn.Flatten(1), head)


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


def _passes(call, weights, x, y):
    import torch

    device = weights[0].device

    def forward():
        with torch.no_grad():
            return call(torch.as_tensor(x, device=device)).cpu().numpy()

    def gradient():
        was = [w.requires_grad for w in weights]
        for w in weights:
            w.requires_grad_(False)
        leaf = torch.as_tensor(x, device=device).clone().requires_grad_()
        (g,) = torch.autograd.grad(of_units(call, leaf, y), leaf)
        for w, grad in zip(weights, was, strict=True):
            w.requires_grad_(grad)
        return g.cpu().numpy()

    return forward, gradient
