"""RISE: random masks, weighted by the score of the image seen through each."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from keras import ops

from keras_explainable import filters
from keras_explainable.methods.explainer import explainer
from keras_explainable.methods.perturbation.probe import Probe, laid, sizes
from keras_explainable.methods.repetition import Rows
from keras_explainable.methods.validation import check_number, check_repetitions, seed_of
from keras_explainable.models import View
from keras_explainable.numerics import random
from keras_explainable.runtime.compile_cache import repeats


@repeats
@explainer("perturbation", "black box", "(1 + n) forward", "arXiv:1806.07421", postprocessing=filters.normalize)
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
    """How high the score is on average when a pixel is seen, among images seen through random soft masks.

    maps[b, s, k] = sum_m f(x o M_m)[b, k] M_m[s] / sum_m M_m[s], an estimate of E[f(x o M) | s is seen]

    A mask is a grid of cells, each seen with probability p, linearly resized to one cell more than the image and cut
    out at random. The authors divide by n p, to which the sum of the masks tends, and multiply images by masks, which
    is baseline=0.0.

    Args:
        repetitions: n, the number of masks.
        grid: cells along all axes or each.
        baseline, at_once: see `ke.methods.perturbation`.

    Reference: Petsiuk et al., RISE: Randomized Input Sampling for Explanation of Black-box Models, arXiv:1806.07421.
    """
    check_repetitions(repetitions)
    check_number("p", p, lambda p: 0 < p < 1, "a probability between 0 and 1")
    seed = seed_of(seed)
    probe = Probe(view, baseline, at_once)
    size, cells = probe.size, sizes("grid", grid, probe.size)
    rows = Rows(repetitions, lambda start, stop: rise_rows(stop - start, cells, size, p, seed, start))

    total, count = probe.sum(Soft(cells, size), rows, where_seen)
    change = total / ops.where(count > 0, count, ops.ones_like(count))  # none where no mask shows a pixel
    return probe.scores, ops.expand_dims(probe.scores, tuple(range(1, 1 + len(cells)))) + change


@dataclass(frozen=True)
class Soft:
    """Soft masks (P, *S), from which cells are seen and by how many pixels they are shifted."""

    cells: tuple[int, ...]
    size: tuple[int, ...]

    def __call__(self, seen: Any, shift: Any, places: Any) -> Any:
        return shifted(seen, shift, self.cells, self.size)


def where_seen(change: Any, seen: Any, live: Any, *rows: Any) -> tuple:
    """The sums of changes times masks, and of masks (see `laid`)."""
    return laid(change, seen * ops.reshape(live, (-1, *(1,) * (len(seen.shape) - 1))))


def rise_rows(number: int, cells: tuple, size: tuple, p: float, seed: int, first: int = 0) -> list[np.ndarray]:
    """Which cells are seen, (M, *cells), and by how many pixels the masks are shifted, (M, axes), from mask `first`."""
    cell, axes = np.array([-(-n // g) for n, g in zip(size, cells, strict=True)]), len(size)
    seen = random.on_host((number, *cells), seed, 0, 0, first * math.prod(cells)) < p
    shift = random.on_host((number, axes), seed, 0, 1, first * axes)
    return [seen.astype("float32"), np.floor(shift * cell).astype("float32")]


def shifted(seen: Any, shift: Any, cells: tuple, size: tuple) -> Any:
    """Cells (P, *cells) resized to (g + 1) pixels-per-cell along each axis, and cut to `size` after `shift` pixels."""
    letters = "abcd"[: len(size)]
    for axis, (n, g) in enumerate(zip(size, cells, strict=True)):
        whole = (g + 1) * -(-n // g)
        at = (ops.arange(n, dtype="float32") + shift[:, axis : axis + 1] + 0.5) * (g / whole) - 0.5
        at = ops.clip(at, 0.0, g - 1.0)[..., None]  # (P, n, 1)
        weights = ops.maximum(1 - ops.abs(at - ops.arange(g, dtype="float32")), 0.0)
        a = letters[axis]
        seen = ops.einsum(f"pz{a},p{letters}->p{letters.replace(a, 'z')}", weights, seen)
    return seen
