"""Seeded random numbers: the same on every backend, inside compiled loops, and independent of any other random
state."""

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_explainable import backend

# PyTorch has no arithmetic on 32-bit unsigned integers; 64 bits and a mask do the same.
WIDE = keras.backend.backend() == "torch"
DTYPE = "int64" if WIDE else "uint32"
MASK = 0xFFFFFFFF


def mix(x: Any) -> Any:
    """Hash 32-bit integers so that each input bit affects each output bit (two multiply-xor-shift rounds)."""
    for factor in (0x7FEB352D, 0x046CA68B):
        x = ops.bitwise_xor(x, ops.bitwise_right_shift(x, _word(16)))
        x = ops.multiply(x, _word(factor))
        x = ops.bitwise_and(x, _word(MASK)) if WIDE else x
    return ops.bitwise_xor(x, ops.bitwise_right_shift(x, _word(15)))


def _word(value: Any) -> Any:
    return ops.cast(ops.convert_to_tensor(value & MASK, DTYPE) if isinstance(value, int) else value, DTYPE)


def uniform(shape: tuple, seed: Any, step: Any = 0, stream: int = 0) -> Any:
    """Numbers in (0, 1) that depend only on the arguments: a hash of seed, step, stream and position."""
    host = WIDE and not backend.is_traced(step) and ops.convert_to_tensor(0.0).device.type == "cpu"
    if host:  # NumPy takes a tenth of the time
        return ops.convert_to_tensor(on_host(shape, int(seed), int(step), stream))
    return on_device(shape, seed, step, stream)


def on_device(shape: tuple, seed: Any, step: Any = 0, stream: int = 0) -> Any:
    """The numbers of `uniform`, computed on the backend's device."""
    size = (
        math.prod(shape)
        if all(isinstance(s, int) for s in shape)
        else ops.prod(ops.stack([ops.cast(s, "int32") for s in shape]))
    )
    key = mix(ops.bitwise_xor(mix(ops.bitwise_xor(mix(_word(seed)), _word(step))), _word(stream)))
    bits = mix(ops.bitwise_xor(mix(ops.cast(ops.arange(size), DTYPE)), key))
    # float32 holds 24 bits exactly: every backend gets the same number, and never 0 or 1.
    return ops.reshape((ops.cast(ops.bitwise_right_shift(bits, _word(8)), "float32") + 0.5) / 2.0**24, shape)


def normal(shape: tuple, seed: Any, step: Any = 0) -> Any:
    """Standard normal numbers that depend only on the arguments (Box-Muller transform)."""
    radius = ops.sqrt(-2.0 * ops.log(uniform(shape, seed, step, 0)))
    return radius * ops.cos(2 * math.pi * uniform(shape, seed, step, 1))


def on_host(shape: tuple, seed: int, step: int = 0, stream: int = 0, first: int = 0) -> np.ndarray:
    """The numbers of `uniform` in NumPy, starting at position `first`: those of a part of a larger array."""

    def word(value: Any) -> np.ndarray:
        return np.asarray(value & MASK, "uint32")

    def scatter(x: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):
            for factor in (0x7FEB352D, 0x046CA68B):
                x = (x ^ (x >> np.uint32(16))) * np.uint32(factor)
        return x ^ (x >> np.uint32(15))

    key = scatter(scatter(scatter(word(seed)) ^ word(step)) ^ word(stream))
    places = (np.arange(math.prod(shape), dtype="int64") + first) & MASK
    bits = scatter(scatter(places.astype("uint32")) ^ key)
    return (((bits >> np.uint32(8)).astype("float32") + np.float32(0.5)) / np.float32(2**24)).reshape(shape)
