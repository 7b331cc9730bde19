"""The floors: the bare framework's compiled forward pass and gradient pass, with nothing of this library in them."""

import keras
import numpy as np


def floors(model, x, y):
    """(x as the backend's tensor, forward(), gradient()): both compiled where the backend compiles, weights frozen."""
    return {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}[keras.backend.backend()](model, x, y)


def _tensorflow(model, x, y):
    import tensorflow as tf

    x, y = tf.constant(x), tf.constant(y)

    @tf.function
    def forward():
        return model(x, training=False)

    @tf.function
    def gradient():
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(x)
            scores = tf.gather(model(x, training=False), y, batch_dims=1)
        return tape.gradient(scores, x)

    return x, lambda: forward().numpy(), lambda: gradient().numpy()


def _jax(model, x, y):
    import jax
    import jax.numpy as jnp

    x, y = jnp.asarray(x), jnp.asarray(y)
    values = [v.value for v in model.variables]

    def scores(values, x):
        with keras.StatelessScope(state_mapping=list(zip(model.variables, values, strict=True))):
            return model(x, training=False)

    forward = jax.jit(scores)
    gradient = jax.jit(jax.grad(lambda x, values: jnp.take_along_axis(scores(values, x), y, 1).sum()))
    return x, lambda: np.asarray(forward(values, x)), lambda: np.asarray(gradient(x, values))


def _torch(model, x, y):
    import torch

    x, y = torch.as_tensor(x), torch.as_tensor(y)
    weights = [v.value for v in model.variables]

    def forward():
        with torch.no_grad():
            return model(x, training=False).numpy()

    def gradient():
        was = [w.requires_grad for w in weights]
        for w in weights:
            w.requires_grad_(False)
        leaf = x.clone().requires_grad_()
        (g,) = torch.autograd.grad(model(leaf, training=False).gather(1, y).sum(), leaf)
        for w, grad in zip(weights, was, strict=True):
            w.requires_grad_(grad)
        return g.numpy()

    return x, forward, gradient
