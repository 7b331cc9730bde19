"""RISE: random masks, each weighted by the score of the masked image."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from keras import ops

from keras_explainable import filters
from keras_explainable.masking.segments import sizes
from keras_explainable.methods.explainer import explainer
from keras_explainable.methods.perturbation.probe import Probe, spread
from keras_explainable.models import View
from keras_explainable.numerics import random
from keras_explainable.runtime.repetition import Rows
from keras_explainable.runtime.validation import check_number, check_repetitions, seed_of


@explainer(
    "perturbation", "black box", "(1 + n) forward", "arXiv:1806.07421", postprocessing=filters.normalize, repeats=True
)
def rise(
    view: View,
    *,
    repetitions: int = 1000,
    grid: int | Sequence[int] = 7,
    p: float = 0.5,
    baseline: Any = "mean",
    at_once: int | None = None,
    seed: int | None = None,
) -> tuple:
    """The mean score of images masked by random soft masks, over the masks in which the pixel is visible.

    maps[b, s, k] = sum_m f(x o M_m)[b, k] M_m[s] / sum_m M_m[s], an estimate of E[f(x o M) | s is visible]

    A mask is a grid of cells, each visible with probability p. It is linearly resized to the image plus one cell, and
    cropped at random. The authors divide by n p, the limit of the sum of the masks, and multiply images by masks, which
    is baseline=0.0.

    Args:
        repetitions: n, the number of masks.
        grid: the number of cells along all axes or along each.
        p: the probability that a cell is visible, between 0 and 1.
        baseline, at_once, seed: see `ke.methods.perturbation`.

    Reference: Petsiuk et al., RISE: Randomized Input Sampling for Explanation of Black-box Models, arXiv:1806.07421.
    """
    check_repetitions(repetitions)
    check_number("p", p, lambda p: 0 < p < 1, "a probability between 0 and 1")
    seed = seed_of(seed)
    probe = Probe(view, baseline, at_once, seed)
    size, cells = probe.size, sizes("grid", grid, probe.size)
    rows = Rows(repetitions, lambda start, stop: rise_rows(stop - start, cells, size, p, seed, start))

    total, count = probe.sum(Soft(cells, size), rows, where_seen)
    change = total / ops.where(count > 0, count, ops.ones_like(count))  # 0 for pixels that no mask shows
    return probe.scores, ops.expand_dims(probe.scores, tuple(range(1, 1 + len(cells)))) + change


@dataclass(frozen=True)
class Soft:
    """Soft masks (P, *S), from the visible cells and the shifts in pixels."""

    cells: tuple[int, ...]
    size: tuple[int, ...]

    def __call__(self, seen: Any, shift: Any, places: Any) -> Any:
        return shifted(seen, shift, self.cells, self.size)


def where_seen(change: Any, seen: Any, live: Any, *rows: Any) -> tuple:
    """The sum of the changes times the masks, and the sum of the masks."""
    return spread(change, seen * ops.reshape(live, (-1, *(1,) * (len(seen.shape) - 1))))


def rise_rows(number: int, cells: tuple, size: tuple, p: float, seed: int, first: int = 0) -> list[np.ndarray]:
    """Which cells are visible, (M, *cells), and the shifts in pixels, (M, axes), of M masks from mask `first` on."""
    cell, axes = np.array([-(-n // g) for n, g in zip(size, cells, strict=True)]), len(size)
    seen = random.on_host((number, *cells), seed, 0, 0, first * math.prod(cells)) < p
    shift = random.on_host((number, axes), seed, 0, 1, first * axes)
    return [seen.astype("float32"), np.floor(shift * cell).astype("float32")]


def shifted(seen: Any, shift: Any, cells: tuple, size: tuple) -> Any:
    """Cells (P, *cells) resized to the pixels of g + 1 cells along each axis, and cropped to `size` from `shift` on."""
    letters = "abcd"[: len(size)]
    for axis, (n, g) in enumerate(zip(size, cells, strict=True)):
        whole = (g + 1) * -(-n // g)
        at = (ops.arange(n, dtype="float32") + shift[:, axis : axis + 1] + 0.5) * (g / whole) - 0.5
        at = ops.clip(at, 0.0, g - 1.0)[..., None]  # (P, n, 1)
        weights = ops.maximum(1 - ops.abs(at - ops.arange(g, dtype="float32")), 0.0)
        a = letters[axis]
        seen = ops.einsum(f"pz{a},p{letters}->p{letters.replace(a, 'z')}", weights, seen)
    return seen
