"""Scores of masked copies of images."""

import functools
import string
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from keras import ops

from keras_explainable import backend
from keras_explainable.masking.fill import filling
from keras_explainable.models import View
from keras_explainable.runtime.compile_cache import Program, repeated
from keras_explainable.runtime.progress import STEP, counted, listened
from keras_explainable.runtime.repetition import Rows, computed, copies_of, evaluated, scores_of, total_of
from keras_explainable.runtime.validation import at_once_of


@dataclass(frozen=True)
class Change(Program):
    """The change of the scores (B, P, K) caused by P masks, from the images, what `fill` starts from, and the images'
    scores.

    `masks` is a frozen dataclass or a function of a module. It makes masks (P, *S) or (B, P, *S) from `rows`, each
    (P, ...), and from `places`, a tensor or None."""

    fill: Program
    masks: Callable

    def __call__(self, view: View, start: Any, scores: Any, places: Any, *rows: Any) -> Any:
        return changed(view, self.fill, start, scores, self.masks(*rows, places))


@dataclass(frozen=True)
class Term(Program):
    """`combine(change, masks, live, *rows)` of the change of the scores caused by P masks (see `Change`)."""

    fill: Program
    masks: Callable
    combine: Callable

    def __call__(self, view: View, start: Any, scores: Any, places: Any, live: Any, *rows: Any) -> tuple:
        seen = self.masks(*rows, places)
        return self.combine(changed(view, self.fill, start, scores, seen), seen, live, *rows)


class Probe:
    """Evaluates a model on masked copies of a batch of images.

    The functions that make masks and combine scores are compiled, so they must hold no model and no view."""

    def __init__(self, view: View, baseline: Any, at_once: int | None, seed: int = 0) -> None:
        self.view = view.of(view.inputs, view.chosen())
        self.fill, self.start = filling(view, baseline, seed, name="baseline")
        self.size = view.size
        self.scores = scores_of(self.view)  # of the images themselves
        self.at_once = at_once_of(at_once, view.x) if at_once or not listened() else soon(self.view)

    def sum(self, masks: Callable, rows: Rows, combine: Callable, places: Any = None) -> Any:
        """The sum over all masks of `combine(change, masks, live, *rows)`, P masks at a time.

        `change` (B, P, K) is the change of the scores caused by P masks. The last P rows are padded with zeros;
        `live` (P,) is 0 for these and 1 for all others."""
        run = functools.partial(repeated(Term(self.fill, masks, combine), self.view), self.start, self.scores, places)
        return total_of(run, self._chunks(rows), self.view.inputs)

    def changes(self, masks: Callable, places: Any = None) -> Callable:
        """A function from M rows to the change of the scores (B, M, K) caused by the mask of each."""
        run = functools.partial(repeated(Change(self.fill, masks), self.view), self.start, self.scores, places)

        def evaluated(rows):
            steps = self._chunks(rows)
            parts = []
            for i in counted(range(steps.number)):
                _, *chunk = (ops.convert_to_tensor(row[0]) for row in steps.drawn(i, i + 1))
                parts += computed([run(*chunk)])
            return ops.concatenate(parts, axis=1)[:, : rows.number]

        return evaluated

    def _chunks(self, rows: Rows) -> Rows:
        """Rows (M, ...) in equal steps of P, padded with zeros, each after `live` (P,), which is 0 for the padding."""
        steps, together = copies_of(rows.number, self.view.x, self.at_once)

        def drawn(start, stop):
            first, last = start * together, min(stop * together, rows.number)
            fill = (stop - start) * together - (last - first)
            parts = (np.ones(last - first), *rows.drawn(first, last))
            padded = (np.concatenate([p, np.zeros((fill, *p.shape[1:]), p.dtype)]) for p in parts)
            return [p.reshape(stop - start, together, *p.shape[1:]).astype("float32") for p in padded]

        return Rows(steps, drawn)


def soon(view: View) -> int:
    """How many images take at most `STEP` seconds together: a power of four, so that few programs are compiled, and at
    most the usual number. It is measured once for each shape of images."""
    most = at_once_of(None, view.x)
    known: dict = {} if view.adapter.black_box else view.trace.known
    key = "soon", tuple(view.x.shape)
    if backend.is_traced(view.inputs) or not isinstance(view.x.shape[0], int):
        return most
    if key not in known:
        start = time.perf_counter()
        computed([scores_of(view)])  # already compiled
        images = STEP / (time.perf_counter() - start) * view.x.shape[0]
        known[key] = next(n for n in (most, *(4**i for i in range(8, 0, -1) if 4**i < most), 1) if n <= max(1, images))
    return known[key]


def changed(view: View, fill: Program, start: Any, scores: Any, masks: Any) -> Any:
    """The scores (B, P, K) of masked images minus those of the images themselves."""
    x, first = view.x, view.adapter.channels_first
    masks = masks[:, None] if len(masks.shape) == len(x.shape) - 1 else ops.moveaxis(masks, 1, 0)  # (P, B or 1, *S)
    copies = fill(x, start, masks)
    found = evaluated(view, ops.moveaxis(copies, -1, 2) if first else copies)
    return ops.moveaxis(found, 0, 1) - scores[:, None]


def spread(change: Any, masks: Any) -> tuple:
    """The sums over P of change (B, P, K) times mask (P, *S), and of the masks: (B, *S, K) and (1, *S, 1)."""
    space = string.ascii_lowercase[: len(masks.shape) - 1]
    space = space.translate(str.maketrans("bkp", "xyz"))
    return ops.einsum(f"p{space},bpk->b{space}k", masks, change), ops.sum(masks, axis=0)[None, ..., None]
