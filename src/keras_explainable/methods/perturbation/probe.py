"""Changed copies of images, and the scores that a model gives them."""

import functools
import string
from collections.abc import Callable
from typing import Any

import numpy as np
from keras import ops

from keras_explainable import models
from keras_explainable.errors import InputError
from keras_explainable.methods.baselines import background
from keras_explainable.methods.repetition import Rows, as_inputs, copies_of, total_of
from keras_explainable.methods.validation import at_once_of
from keras_explainable.runtime.compile_cache import frozen, repeated
from keras_explainable.runtime.progress import counted


class Probe:
    """A model on covered copies of a batch of images.

    A mask function takes `rows` of what masks are made of, each (P, ...), and `places`, a tensor or None, and returns
    masks (P, *S) or (B, P, *S). What is compiled is kept under `key`, the images' size and the score, and would keep
    alive whatever it holds: no function here may hold a model or a view."""

    def __init__(self, model: Any, inputs: Any, indices: Any, score: Any, baseline: Any, at_once: int | None) -> None:
        self.view = models.view(model, inputs)
        self.model, self.score, self.at_once = model, score, at_once_of(at_once, self.view.x)
        self.x, self.units = self.view.x, models.units(model, inputs, indices, score)
        self.background = background(self.view, baseline)
        self.size = self.view.size
        evaluated = functools.partial(evaluate, score, self.view.adapter.channels_first)
        self.change = functools.partial(changed, evaluated)
        self.scores = self._repeated("scores", evaluated)(self.x, self.units)  # of the images as they are

    def sum(self, key: Any, masks: Callable, rows: Rows, combine: Callable, places: Any = None) -> Any:
        """The sum over masks of what `combine(change, masks, live, *rows)` makes of the change of scores (B, P, K) that
        P masks cause. Rows that fill up the last P are zeros, and `live` (P,) is 0 there and otherwise 1."""
        change = self.change

        def step(subject, x, behind, units, scores, places, live, *rows):
            seen = masks(*rows, places)
            return combine(change(subject, x, behind, units, scores, seen), seen, live, *rows)

        run = functools.partial(self._repeated(key, step), *self._state(places))
        return total_of(run, self._chunks(rows), self.x)

    def changes(self, key: Any, masks: Callable, places: Any = None) -> Callable:
        """A function from rows to the change of scores (B, M, K) that each of their M masks causes."""
        change = self.change

        def step(subject, x, behind, units, scores, places, *rows):
            return change(subject, x, behind, units, scores, masks(*rows, places))

        run = functools.partial(self._repeated(key, step), *self._state(places))

        def evaluated(rows):
            steps = self._chunks(rows)
            parts = []
            for i in counted(range(steps.number)):
                _, *chunk = (ops.convert_to_tensor(row[0]) for row in steps.drawn(i, i + 1))
                parts.append(run(*chunk))
            return ops.concatenate(parts, axis=1)[:, : rows.number]

        return evaluated

    def _state(self, places: Any) -> tuple:
        return self.x, self.background, self.units, self.scores, places

    def _chunks(self, rows: Rows) -> Rows:
        """Rows (M, ...) as those of equal steps of P, filled up with zeros, behind `live` (P,), which is 0 there."""
        steps, together = copies_of(rows.number, self.x, self.at_once)

        def drawn(start, stop):
            first, last = start * together, min(stop * together, rows.number)
            fill = (stop - start) * together - (last - first)
            parts = (np.ones(last - first), *rows.drawn(first, last))
            padded = (np.concatenate([p, np.zeros((fill, *p.shape[1:]), p.dtype)]) for p in parts)
            return [p.reshape(stop - start, together, *p.shape[1:]).astype("float32") for p in padded]

        return Rows(steps, drawn)

    def _repeated(self, key: Any, step: Callable) -> Callable:
        if self.view.adapter.black_box:  # a function is no program, and stays none
            return functools.partial(step, self.model)
        return repeated(step, frozen([key, self.size, self.score]), self.model, step, self.x)


def evaluate(score: Any, channels_first: bool, subject: Any, images: Any, units: Any) -> Any:
    """The scores of images (N, *S, C)."""
    return models.view(subject, as_inputs(images, channels_first), units, score).evaluate()[0]


def changed(evaluated: Callable, subject: Any, x: Any, behind: Any, units: Any, scores: Any, masks: Any) -> Any:
    """The scores (B, P, K) of images seen through masks, less those of the images as they are."""
    masks = masks[:, None] if len(masks.shape) == len(x.shape) - 1 else ops.moveaxis(masks, 1, 0)
    copies, seen = masks.shape[0], masks[..., None]  # (P, B or 1, *S, 1)
    images = x[None] * seen + behind[None] * (1 - seen)
    images = ops.reshape(images, (-1, *ops.shape(x)[1:]))
    units = None if units is None else ops.tile(units, (copies, 1))
    found = evaluated(subject, images, units)
    return ops.moveaxis(ops.reshape(found, (copies, -1, found.shape[-1])), 0, 1) - scores[:, None]


def sizes(name: str, value: Any, size: tuple) -> tuple[int, ...]:
    """A number for each spatial axis, from one number or as many, none above the axis's size."""
    if not all(isinstance(s, int) for s in size):
        raise InputError("Masks are made for images of one size: give images whose size is known.")
    given = tuple(value) if isinstance(value, (tuple, list)) else (value,) * len(size)
    if len(given) != len(size) or not all(isinstance(v, (int, np.integer)) and v > 0 for v in given):
        raise InputError(f"{name}={value!r}: a number, or {len(size)} of them, 1 or more, was expected.")
    return tuple(min(int(v), s) for v, s in zip(given, size, strict=True))


def laid(change: Any, masks: Any) -> tuple:
    """The sums over P of change (B, P, K) times mask (P, *S), and of the masks: (B, *S, K) and (1, *S, 1)."""
    space = string.ascii_lowercase[: len(masks.shape) - 1]
    space = space.translate(str.maketrans("bkp", "xyz"))
    return ops.einsum(f"p{space},bpk->b{space}k", masks, change), ops.sum(masks, axis=0)[None, ..., None]
