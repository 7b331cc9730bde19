"""What replaces removed pixels."""

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
from keras_explainable.runtime.compile_cache import Program

EXPECTED = "a number, a colour, images, 'mean', 'blur', 'noise', 'linear' or a function of (images, masks)"
STEPS = 25  # of conjugate gradients on each scale: with 90 % of the pixels removed, the error is .013 of the range
SMALLEST = 8  # pixels along an axis of the coarsest scale


@dataclass(frozen=True)
class Blend(Program):
    """Other images where masks are 0: x m + start (1 - m)."""

    def __call__(self, x: Any, start: Any, masks: Any) -> Any:
        return blended(x, start[None], masks)


@dataclass(frozen=True)
class Linear(Program):
    """The weighted mean of the neighbours where masks are 0, plus noise.

    The values v of removed pixels, those of which at most half is seen, solve sum_n w_n v = sum_n w_n v_n over the
    neighbours n inside of the image. In two dimensions, w is 1/6 for neighbours along an axis and 1/12 for diagonal
    ones. The system is symmetric and positive definite, and is solved by conjugate gradients from coarse to fine, for
    all images at once."""

    steps: int

    def __call__(self, x: Any, start: Any, masks: Any) -> Any:
        images, seen = copied(x, masks)
        solved = solve(images, ops.cast(seen <= 0.5, "float32")[..., None], self.steps)
        return blended(x, ops.reshape(solved, (masks.shape[0], -1, *x.shape[1:])) + start[None], masks)


@dataclass(frozen=True)
class Custom(Program):
    """What a user's function makes of (images, how much of each pixel is removed), both tensors."""

    function: Callable
    name: str

    def __call__(self, x: Any, start: Any, masks: Any) -> Any:
        images, seen = copied(x, masks)
        filled = self.function(images, 1 - seen)
        if tuple(getattr(filled, "shape", ())) != tuple(images.shape):
            raise InputError(
                f"{self.name}= returned {tuple(getattr(filled, 'shape', ()))}, and images of shape "
                f"{tuple(images.shape)} were expected: a function of (images, masks), masks (N, *S) with 1 where "
                "pixels are removed."
            )
        return ops.reshape(ops.cast(filled, "float32"), (masks.shape[0], -1, *x.shape[1:]))


def blended(x: Any, others: Any, masks: Any) -> Any:
    """Images x (B, *S, C) where masks (P, B or 1, *S) are 1, and others (P or 1, B, *S, C) where they are 0."""
    seen = masks[..., None]
    return x[None] * seen + others * (1 - seen)


def copied(x: Any, masks: Any) -> tuple[Any, Any]:
    """P copies of images x (B, *S, C) as (P B, *S, C), and the masks (P, B or 1, *S) of all of them, (P B, *S)."""
    number, batch = masks.shape[0], ops.shape(x)[0]
    images = ops.broadcast_to(x[None], (number, *ops.shape(x)))
    masks = ops.broadcast_to(masks, (number, batch, *masks.shape[2:]))
    return ops.reshape(images, (-1, *x.shape[1:])), ops.reshape(masks, (-1, *masks.shape[2:]))


def filling(view: models.View, fill: Any, seed: int, noise: float = 0.0, name: str = "fill") -> tuple[Program, Any]:
    """How the images of a view are filled where they are removed, and the images that this starts from.

    The first is a program of (x, start, masks), with masks (P, B or 1, *S) that are 1 where pixels are seen and 0 where
    they are removed. It returns (P, B, *S, C).

    Args:
        fill: what `baseline_images` takes; "linear" (the weighted mean of the neighbours); or a function of (images,
            masks), whose masks are 1 where pixels are removed.
        seed: of all noise.
        noise: the standard deviation of the noise added to "linear", relative to each image's range.
        name: of the parameter, for messages.

    Raises:
        InputError: `fill` is none of these.
    """
    if isinstance(fill, str) and fill == "linear":
        return Linear(STEPS), _normal(view.x, seed, noise) if noise else ops.zeros_like(view.x[:1])
    if registry.accepts(fill, "images", "masks"):
        return Custom(fill, name), ops.zeros_like(view.x[:1])
    return Blend(), baseline_images(view, fill, seed, name, EXPECTED)


def _normal(x: Any, seed: int, noise: float) -> Any:
    """Normal noise, the same for all images but for its standard deviation, relative to each image's range."""
    axes = tuple(range(1, len(x.shape)))
    low, high = (backend.to_host(f(x, axis=axes, keepdims=True)) for f in (ops.min, ops.max))
    one, two = (random.on_host(tuple(x.shape[1:]), seed, 0, stream) for stream in (9, 10))
    normal = np.sqrt(-2 * np.log(one)) * np.cos(2 * math.pi * two)
    return ops.convert_to_tensor(((high - low) * noise * normal).astype("float32"))


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
        start = ops.broadcast_to(ops.where(count > 0, left, mean), ops.shape(images))
    else:
        counts, sums = _halved(known), _halved(images * known)
        coarse = solve(sums / ops.maximum(counts, 1e-9), ops.cast(counts == 0, "float32"), steps, mean)
        start = _doubled(coarse, size)
    return _descended(images, missing, start, steps)


def _descended(images: Any, missing: Any, start: Any, steps: int) -> Any:
    """The solution after some steps of conjugate gradients, with the diagonal as the preconditioner."""
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
    # A residual as small as this is rounding. Steps along it would be arbitrary.
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
        v = ops.sum(ops.reshape(v, (-1, *v.shape[1:axis], half, 2, *v.shape[axis + 1 :])), axis=axis + 1)
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
