"""The subject for a Keras model on TensorFlow or PyTorch: scores, gradients and signals by the framework itself."""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

import keras_explainable as ke
from zoo import weights
from zoo.subject import Signal, Subject, reached


@dataclass
class Network(Subject):
    """`inner` computes the input of the last layer, `dense`, whose logits are computed without its activation.

    Without a `dense`, `inner` computes the scores of all units."""

    inner: Any = None
    dense: Any = None

    def scored(self, x):
        logits = self.inner(x, training=False)
        if self.dense is not None:
            logits = keras.ops.matmul(logits, self.dense.kernel) + self.dense.bias
        logits = keras.ops.reshape(logits, (logits.shape[0], -1))
        return keras.ops.sum(logits * keras.ops.one_hot(self.y, logits.shape[-1]), axis=-1)

    def scores(self, images):
        return keras.ops.convert_to_numpy(self.scored(keras.ops.convert_to_tensor(images)))

    def gradient(self, images):
        return differentiated(lambda x: (self.scored(x), []), images)[0].gradient

    def guided(self, images):
        return None

    def signals(self, place, images, gradients=True):
        """Return the outputs of a call of a layer, recorded by a function in place of its `call`."""
        if place.takes:
            return []
        layer, calls = ke.inspection.get_nested_layer(self.model, place.path), []
        call = layer.call

        def watched(*args, **kwargs):
            outputs = call(*args, **kwargs)
            calls.append(outputs)
            return outputs

        def run(x):
            scores = self.scored(x)
            found = calls[place.call] if place.call < len(calls) else []
            return scores, [one for one in (found if isinstance(found, (list, tuple)) else [found]) if one.ndim > 2]

        layer.call = watched
        try:
            return differentiated(run, images)[1:]
        finally:
            layer.call = call

    def depth(self, place):
        """Return how many calls of layers with kernels have begun when a place is reached, and how many there are."""
        of_place, ran = ke.inspection.get_nested_layer(self.model, place.path), []
        layers = [one for one in self.model._flatten_layers() if one is of_place or hasattr(one, "kernel")]
        calls = {id(one): one.call for one in layers}

        def watched(layer):
            def call(*args, **kwargs):
                if hasattr(layer, "kernel"):
                    ran.append(None)
                outputs = calls[id(layer)](*args, **kwargs)
                if layer is of_place:
                    ran.append(layer)
                return outputs

            return call

        for layer in layers:
            layer.call = watched(layer)
        try:
            self.scores(self.images)
        finally:
            for layer in layers:
                layer.call = calls[id(layer)]
        return reached(ran, of_place, place.call)

    def state(self):
        return [np.copy(weight) for weight in map(keras.ops.convert_to_numpy, self.model.weights)], [
            (layer.name, id(getattr(layer, "activation", None)), layer.trainable) for layer in self.model.layers
        ]

    def changed(self, before):
        after = self.state()
        moved = [
            w.path for w, a, b in zip(self.model.weights, before[0], after[0], strict=True) if not np.array_equal(a, b)
        ]
        return [*moved, *(f"{a} became {b}" for a, b in zip(before[1], after[1], strict=False) if a != b)]


def differentiated(run, images):
    """Return the images and the tensors that `run(x)` returns with the scores, and the gradients of the scores."""
    host = keras.ops.convert_to_numpy
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        x = tf.constant(images)
        with tf.GradientTape() as tape:
            tape.watch(x)
            scores, found = run(x)
            total = tf.reduce_sum(scores)
        seen = [x, *found]
        gradients = tape.gradient(total, seen, unconnected_gradients="zero")
    else:
        import torch

        x = torch.as_tensor(images).clone().requires_grad_(True)
        scores, found = run(x)
        seen = [x, *found]
        gradients = torch.autograd.grad(scores.sum(), seen, allow_unused=True, materialize_grads=True)
    return [Signal(host(a), host(g)) for a, g in zip(seen, gradients, strict=True)]


def randomise(model):
    """Draw normalisations, biases and layer scales, so that the network is neither dead nor linear."""
    rng = np.random.default_rng(0)
    for weight in model.weights:
        name = weight.path.rsplit("/", 1)[-1]
        if "seed" in name or not weight.shape:
            continue
        drawn = {
            "gamma": lambda s: rng.uniform(0.6, 1.4, s),
            "moving_variance": lambda s: rng.uniform(0.5, 1.5, s),
            "beta": lambda s: rng.normal(0, 0.1, s),
            "moving_mean": lambda s: rng.normal(0, 0.1, s),
            "bias": lambda s: rng.normal(0, 0.05, s),
            "class_token": lambda s: rng.normal(0, 0.5, s),
        }.get(name)
        if drawn is not None:
            weight.assign(drawn(weight.shape).astype("float32"))
    return model


def calibrate(model, x):
    """Set the statistics of batch normalisations to those of the images, slightly shifted."""
    rng = np.random.default_rng(5)
    norms = [one for one in model._flatten_layers() if isinstance(one, keras.layers.BatchNormalization)]
    were = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
        if norm.center:
            norm.beta.assign(rng.normal(weights.UP, 0.3, norm.beta.shape).astype("float32"))
    if norms:
        model(x, training=True)
    for norm, momentum in zip(norms, were, strict=True):
        norm.momentum = momentum
        mean, variance = (keras.ops.convert_to_numpy(one) for one in (norm.moving_mean, norm.moving_variance))
        variance = np.maximum(variance, 1e-2)
        norm.moving_mean.assign(mean + np.sqrt(variance) * rng.normal(0, 0.1, variance.shape).astype("float32"))
        norm.moving_variance.assign(variance * rng.uniform(0.8, 1.2, variance.shape).astype("float32"))
    return model


def subject(model, inner, dense, size, low=None, note="", **options):
    """Return a classifier of ten classes on two channels-last images; with `low`, on images from 0 to 255."""
    x = weights.images(size)
    more = weights.several(x)
    x, more = (np.ascontiguousarray(np.moveaxis(one, 1, -1)) for one in (x, more))
    if low is not None:
        x, more = ((one * 50 + 120).clip(low, 255).astype("float32") for one in (x, more))
    calibrate(randomise(model), more)
    return Network(
        model,
        x,
        np.array([1, 7]),
        None,
        None,
        False,
        note,
        model.count_params(),
        options=options,
        inner=inner,
        dense=dense,
    )
