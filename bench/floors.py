"""The floors: the forward pass and the gradient pass of the bare framework, without this library.

They are compiled if the framework compiles, with frozen weights. `floors(model, x, y)` returns two functions,
forward() and gradient(), which return NumPy arrays. `tail` makes what comes after a layer a model of its own."""

import keras
import numpy as np

from bench.reference_maps import after, of_units, signal_and_gradient


def floors(model, x, y):
    """Return the two functions for a Keras model or a plain module, images, and units (B, 1)."""
    kind = keras.backend.backend() if isinstance(model, keras.Model) else "native"
    return {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch, "native": _native}[kind](model, x, y)


def tail(model, layer, x, y):
    """Return the forward pass of what comes after a layer alone, and the number of the layer's channels. The model is a
    graph, or a module of parts of which those after the layer run one after the other."""
    if isinstance(model, keras.Model):
        signal = model.get_layer(layer).output
        at = keras.ops.convert_to_numpy(keras.Model(model.inputs, signal)(x, training=False))
        return floors(keras.Model(signal, model.output), at, y)[0], signal.shape[-1]
    import torch

    *parts, last = after(model, layer)
    signal = signal_and_gradient(model, layer, x, y)[0].cpu().numpy()
    return floors(torch.nn.Sequential(*parts, torch.nn.Flatten(), last), signal, y)[0], signal.shape[1]


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
