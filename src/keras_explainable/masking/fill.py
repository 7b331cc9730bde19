"""What is put in the place of removed pixels."""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from keras import ops

from keras_explainable import backend, models, registry
from keras_explainable.errors import InputError
from keras_explainable.masking.baselines import baseline_images
from keras_explainable.numerics import random
from keras_explainable.numerics.blur import blur
from keras_explainable.runtime.compile_cache import Program

NAMES = ("mean", "blur", "noise", "linear")
STEPS = 25  # of conjugate gradients on each scale: at 90 % removed, the error is .013 of the range
SMALLEST = 8  # pixels along an axis of the coarsest scale


@dataclass(frozen=True)
class Blend(Program):
    """Images with removed pixels replaced by those of other images: x (1 - m) + start m."""

    def __call__(self, x: Any, start: Any, masks: Any) -> Any:
        seen = masks[..., None]
        return x[None] * (1 - seen) + start[None] * seen


@dataclass(frozen=True)
class Linear(Program):
    """Images with removed pixels replaced by the weighted mean of their neighbours, plus noise.

    The values v of removed pixels solve sum_n w_n v = sum_n w_n v_n over the neighbours n inside of the image. In two
    dimensions, w is 1/6 for neighbours along an axis and 1/12 for diagonal ones. The system is symmetric and positive
    definite, and is solved by conjugate gradients from coarse to fine, for all images at once."""

    steps: int = STEPS

    def __call__(self, x: Any, start: Any, masks: Any) -> Any:
        masks = ops.broadcast_to(masks, (masks.shape[0], x.shape[0], *masks.shape[2:]))
        number, _, *size = masks.shape
        images = ops.reshape(ops.broadcast_to(x[None], (number, *x.shape)), (-1, *x.shape[1:]))
        missing = ops.reshape(masks, (-1, *size, 1))
        solved = solve(images, missing, self.steps)
        return ops.reshape(solved, (number, -1, *x.shape[1:])) + start[None] * masks[..., None]


@dataclass(frozen=True)
class Custom(Program):
    """Images filled by a user's function of (images, masks), both as NumPy arrays or tensors."""

    function: Callable

    def __call__(self, x: Any, start: Any, masks: Any) -> Any:
        masks = ops.broadcast_to(masks, (masks.shape[0], x.shape[0], *masks.shape[2:]))
        number = masks.shape[0]
        images = ops.reshape(ops.broadcast_to(x[None], (number, *x.shape)), (-1, *x.shape[1:]))
        flat = ops.reshape(masks, (-1, *masks.shape[2:]))
        filled = self.function(images, flat)
        if tuple(getattr(filled, "shape", ())) != tuple(images.shape):
            raise InputError(
                f"fill= returned {tuple(getattr(filled, 'shape', ()))}, and images of shape {tuple(images.shape)} were "
                "expected: a function of (images, masks), masks (N, *S) with 1 where pixels are removed."
            )
        return ops.reshape(ops.cast(filled, "float32"), (number, *x.shape))


def filling(view: models.View, fill: Any, seed: int, noise: float = 0.0) -> tuple[Program, Any]:
    """How removed pixels of a view's images are filled, and the images that this starts from: a program of (x, start, masks),
    with masks (P, B, *S) that are 1 where pixels are removed, which returns (P, B, *S, C).

    Args:
        fill: "mean" (each image's mean colour), "blur" (a Gaussian blur of a 22nd of the shortest side), "noise"
            (uniform over each image's range), "linear" (the weighted mean of the neighbours), a number, a colour,
            images, or a function of (images, masks).
        noise: the standard deviation of the noise added to "linear", relative to each image's range.

    Raises:
        InputError: `fill` is none of these.
    """
    if isinstance(fill, str) and fill in ("blur", "noise", "linear"):
        return _named(view.x, fill, seed, noise)
    if isinstance(fill, str) and fill != "mean":
        raise InputError(f"fill={fill!r} came, and one of {', '.join(map(repr, NAMES))} was expected.")
    if registry.accepts(fill, "images", "masks"):
        return Custom(fill), ops.zeros_like(view.x[:1])
    return Blend(), baseline_images(view, fill)


def _named(x: Any, fill: str, seed: int, noise: float) -> tuple[Program, Any]:
    axes = tuple(range(1, len(x.shape)))
    if fill == "blur":
        return Blend(), blur(x, min(x.shape[1:-1]) / 22, axes[:-1])[0]
    low, high = (backend.to_host(f(x, axis=axes, keepdims=True)) for f in (ops.min, ops.max))
    if fill == "noise":
        drawn = random.on_host(tuple(x.shape[1:]), seed, 0, 8)
        return Blend(), ops.convert_to_tensor(low + (high - low) * drawn)
    if not noise:
        return Linear(), ops.zeros_like(x[:1])
    one, two = (random.on_host(tuple(x.shape[1:]), seed, 0, stream) for stream in (9, 10))
    normal = np.sqrt(-2 * np.log(one)) * np.cos(2 * math.pi * two)
    return Linear(), ops.convert_to_tensor(((high - low) * noise * normal).astype("float32"))


def solve(images: Any, missing: Any, steps: int, mean: Any = None) -> Any:
    """Images (N, *S, C) with the pixels that are `missing` (N, *S, 1) filled by the weighted mean of their neighbours.
    An image with no pixel left gets its `mean` colour (N, 1s, C), by default that of `images`."""
    size = tuple(images.shape[1:-1])
    axes = tuple(range(1, 1 + len(size)))
    mean = ops.mean(images, axis=axes, keepdims=True) if mean is None else mean
    known = 1 - missing
    if min(size) <= SMALLEST:
        count = ops.sum(known, axis=axes, keepdims=True)
        left = ops.sum(images * known, axis=axes, keepdims=True) / ops.maximum(count, 1.0)
        start = ops.broadcast_to(ops.where(count > 0, left, mean), tuple(images.shape))
    else:
        counts, sums = _halved(known), _halved(images * known)
        coarse = solve(sums / ops.maximum(counts, 1e-9), ops.cast(counts == 0, "float32"), steps, mean)
        start = _doubled(coarse, size)
    return _descended(images, missing, start, steps)


def _descended(images: Any, missing: Any, start: Any, steps: int) -> Any:
    """Some steps of conjugate gradients, with the diagonal as the preconditioner."""
    weight = near(ops.ones_like(images[:1]))
    axes = tuple(range(1, len(images.shape) - 1))

    def dot(a, b):
        return ops.sum(a * b, axis=axes, keepdims=True)

    def system(v):
        return missing * (weight * v - near(v))

    v = missing * start
    rest = missing * near((1 - missing) * images) - system(v)
    z = rest / weight
    state = (v, rest, z, dot(rest, z))
    # A rest as small as this is rounding. Steps along it could go anywhere.
    small = 1e-12 * (dot(images, images) + dot(start, start)) + 1e-30

    def step(_, state):
        v, rest, p, size = state
        along = system(p)
        share = ops.where(size > small, size / ops.maximum(dot(p, along), 1e-30), 0.0)
        v, rest = v + share * p, rest - share * along
        z = rest / weight
        new = dot(rest, z)
        return v, rest, z + ops.where(size > small, new / ops.maximum(size, 1e-30), 0.0) * p, new

    v = ops.fori_loop(0, steps, step, state)[0]
    return (1 - missing) * images + missing * v


def near(v: Any) -> Any:
    """The weighted sum of the neighbours of each pixel of (N, *S, C), zero outside of the image."""
    rank = len(v.shape) - 2
    padded = ops.pad(v, [(0, 0), *[(1, 1)] * rank, (0, 0)])
    offsets = [o for o in itertools.product((-1, 0, 1), repeat=rank) if any(o)]
    weights = np.array([1 / sum(map(abs, o)) for o in offsets])
    total = 0.0
    for offset, weight in zip(offsets, weights / weights.sum(), strict=True):
        part = tuple(slice(1 + o, 1 + o + n) for o, n in zip(offset, v.shape[1:-1], strict=True))
        total = total + float(weight) * padded[(slice(None), *part)]
    return total


def _halved(v: Any) -> Any:
    """The sums over blocks of 2 pixels along each axis of (N, *S, C)."""
    size = v.shape[1:-1]
    v = ops.pad(v, [(0, 0), *((0, n % 2) for n in size), (0, 0)])
    for axis, n in enumerate(size, 1):
        half = -(-n // 2)
        v = ops.sum(ops.reshape(v, (*v.shape[:axis], half, 2, *v.shape[axis + 1 :])), axis=axis + 1)
    return v


def _doubled(v: Any, size: tuple) -> Any:
    """Pixels resized to twice their number, linearly, and cropped to `size`."""
    letters = "abcd"[: len(size)]
    for axis, n in enumerate(size):
        few = v.shape[axis + 1]
        at = np.clip((np.arange(n) + 0.5) / 2 - 0.5, 0, few - 1)[:, None]
        weights = np.maximum(1 - np.abs(at - np.arange(few)), 0).astype("float32")
        a = letters[axis]
        v = ops.einsum(f"z{a},n{letters}i->n{letters.replace(a, 'z')}i", weights, v)
    return v
