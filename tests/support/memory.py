"""Devices with too little memory."""

import keras_explainable as ke
from support.selection import BACKEND


def too_little():
    """The exception with which a backend says so."""
    if BACKEND == "tensorflow":
        import tensorflow as tf

        return tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")
    if BACKEND == "jax":
        import jax

        return jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1 bytes")
    import torch

    return torch.OutOfMemoryError("CUDA out of memory")


def limited(most, seen):
    """Grad-CAM on a device that has memory for so many images."""

    def method(model, inputs, indices=None):
        seen.append(inputs.shape[0])
        if inputs.shape[0] > most:
            raise too_little()
        return ke.methods.cams.gradcam(model, inputs, indices)

    return method
