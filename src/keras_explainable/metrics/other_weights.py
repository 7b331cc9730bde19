"""Random weights in place of a model's own, and the maps that a method makes with them."""

import hashlib
import math
from collections.abc import Iterator
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from keras_explainable import models
from keras_explainable.metrics.case import Case
from keras_explainable.numerics import random

HOW = ("permute", "reinitialize", "normal")
PERMUTED, NORMAL, GLOROT = 41, 42, 44  # streams of random numbers

_kept: WeakKeyDictionary = WeakKeyDictionary()  # by model: what its last random weights depend on, and these weights


def drawn(value: np.ndarray, how: str, seed: int, number: int) -> np.ndarray:
    """Random values like those of the weight of this number (see `ke.metrics.mprt`). They are the same on every
    backend."""
    if how == "permute":
        order = np.argsort(random.on_host((value.size,), seed, number, PERMUTED), kind="stable")
        return value.reshape(-1)[order].reshape(value.shape)
    if how == "normal":
        one, other = (random.on_host(value.shape, seed, number, NORMAL + i).astype("float64") for i in (0, 1))
        normal = np.sqrt(-2 * np.log(one)) * np.cos(2 * math.pi * other)
        return value.mean(dtype="float64") + value.std(dtype="float64") * normal
    if value.ndim < 2:
        return np.zeros_like(value)
    limit = math.sqrt(6 / (math.prod(value.shape[:-2]) * (value.shape[-2] + value.shape[-1])))
    return limit * (2 * random.on_host(value.shape, seed, number, GLOROT) - 1)


def random_weights(view: models.View, how: str, seed: int) -> list[list[tuple]]:
    """For each layer, from the input to the output, its weights and random values for them. The last result is kept,
    and used again as long as the weights do not change."""
    layers, model = models.parameters(view), models.unbind(view.model)[0]
    digest = hashlib.blake2b()
    for layer in layers:
        for parameter in layer:
            digest.update(np.ascontiguousarray(parameter.value).tobytes())
    key = how, seed, digest.digest()
    known, found = _kept.get(model, (None, []))
    if known != key:
        numbers = iter(range(sum(map(len, layers))))
        found = [[drawn(p.value, how, seed, next(numbers)).astype(p.value.dtype) for p in layer] for layer in layers]
        _kept[model] = key, found
    return [list(zip(layer, values, strict=True)) for layer, values in zip(layers, found, strict=True)]


def randomised(case: Case, explain: Any, how: str, stages: int = 1) -> Iterator[np.ndarray]:
    """The maps (B, *S, K) with random weights in the last layers of the model: at first in 1 / stages of the layers, in
    the end in all of them."""
    view = case.view
    assert view is not None
    layers = random_weights(view, how, case.seed)
    with models.replacing(view) as (other, put):
        if other is not view:  # what is measured about a copy must not depend on random weights
            explain(other.of(other.inputs[:1], None if other.indices is None else other.indices[:1]))
        for stage in range(1, stages + 1):
            number = -(-len(layers) * stage // stages)
            put([pair for layer in layers[len(layers) - number :] for pair in layer])
            yield explain(other)
