"""Noisy copies of images, for methods that average over them."""

import math
from typing import Any

from keras import ops

from keras_explainable.errors import InputError
from keras_explainable.numerics import random
from keras_explainable.runtime.repetition import as_inputs
from keras_explainable.runtime.validation import check_choice, check_number, check_repetitions, seed_of

NOISE_KINDS = ("absolute", "range")
AGGREGATES = ("mean", "variance", "square")


def check_noise(repetitions: int, noise_kind: str, aggregate: str = "mean", noise: float = 0.0) -> None:
    """Raise if the parameters of noisy copies are not valid."""
    check_repetitions(repetitions)
    check_choice("noise_kind", noise_kind, NOISE_KINDS)
    check_choice("aggregate", aggregate, AGGREGATES)
    if aggregate == "variance" and repetitions < 2:
        raise InputError(f"repetitions={repetitions} came, and 2 or more were expected: a variance needs several.")
    check_number("noise", noise, lambda sigma: 0 <= sigma < math.inf, "a number of 0 or more")


def noisy(x: Any, noise: float, noise_kind: str, seed: int | None, step: Any, channels_first: bool = False) -> Any:
    """x + sigma e, where sigma is `noise`, or this fraction of each image's max - min.

    e is standard normal. It depends on the step, is shared by all images, and is the same in both layouts."""
    if noise_kind == "range":
        axes = tuple(range(1, len(x.shape)))
        noise = noise * (ops.max(x, axis=axes, keepdims=True) - ops.min(x, axis=axes, keepdims=True))
    size = ops.shape(x)[1:]
    draw = random.normal((1, *size[1:], size[0]) if channels_first else (1, *size), seed_of(seed), step)
    return x + noise * as_inputs(draw, channels_first)
