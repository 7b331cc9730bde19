"""A model's scores for copies of images from which pixels were removed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from keras import ops

from keras_explainable import backend, models
from keras_explainable.masking.fill import filling
from keras_explainable.metrics.case import Case
from keras_explainable.metrics.quantities import check_quantity, link_of, of_scores
from keras_explainable.runtime.compile_cache import Program, repeated
from keras_explainable.runtime.repetition import as_inputs, computed, copies_of
from keras_explainable.runtime.validation import at_once_of


@dataclass(frozen=True)
class Masked(Program):
    """A quantity (B, P, K) of P copies of each image, without the pixels where masks are 1.

    `masks(places, *rows)` makes the masks (P, B or 1, *S) from `places`, a tensor, and rows, each (P, ...)."""

    masks: Callable
    fill: Program
    quantity: str
    link: str

    def __call__(self, view: models.View, start: Any, units: Any, places: Any, *rows: Any) -> Any:
        copies = self.fill(view.x, start, 1 - self.masks(places, *rows))
        return Read(self.quantity, self.link)(view, copies, units)


@dataclass(frozen=True)
class Read(Program):
    """A quantity (B, P, K) of copies (P, B, *S, C) of images, for units (B, K)."""

    quantity: str
    link: str

    def __call__(self, view: models.View, copies: Any, units: Any) -> Any:
        number = copies.shape[0]
        flat = as_inputs(ops.reshape(copies, (-1, *view.x.shape[1:])), view.adapter.channels_first)
        every = view.of(flat, None).evaluate()[0]
        found = of_scores(every, ops.tile(units, (number, 1)), self.quantity, self.link)
        return ops.moveaxis(ops.reshape(found, (number, -1, units.shape[1])), 0, 1)


def masked(case: Case, masks: Callable, fill: Any, quantity: str, noise: float = 0.0) -> Callable:
    """A function of places (a NumPy array), rows (each M, ...) and units (B, K): the quantity (B, M, K) of copies of
    the images of a case without the pixels in each of M masks (see `Masked`). P masks run at a time.

    Raises:
        InputError: `fill` or `quantity` is not valid.
    """
    check_quantity(quantity)
    view = case.view
    assert view is not None
    program, start = filling(view, fill, case.seed, noise)
    run = repeated(Masked(masks, program, quantity, link_of(view)), view.of(view.inputs, None))

    def evaluated(places: np.ndarray, rows: Sequence[np.ndarray], units: np.ndarray) -> np.ndarray:
        number = len(rows[0])
        steps, together = copies_of(number, view.x, at_once_of(case.at_once, view.x))
        at = np.minimum(np.arange(steps * together), number - 1)  # the last row fills the last step
        of, where = ops.convert_to_tensor(units), ops.convert_to_tensor(places)
        parts = []
        for i in range(steps):
            some = (ops.convert_to_tensor(row[at[i * together : (i + 1) * together]]) for row in rows)
            (part,) = computed([run(start, of, where, *some)])
            parts.append(backend.to_host(part))
        return np.concatenate(parts, axis=1)[:, :number]

    return evaluated


def read(case: Case, copies: np.ndarray, units: np.ndarray, quantity: str) -> np.ndarray:
    """The quantity (B, M, K) of M other images for each image of a case, (B, M, *S, C).

    Raises:
        InputError: `quantity` is not valid.
    """
    check_quantity(quantity)
    view = case.view
    assert view is not None
    run = repeated(Read(quantity, link_of(view)), view.of(view.inputs, None))
    of = ops.convert_to_tensor(units)
    steps, together = copies_of(copies.shape[1], view.x, at_once_of(case.at_once, view.x))
    parts = []
    for i in range(steps):
        some = np.moveaxis(copies[:, i * together : (i + 1) * together], 1, 0)
        (part,) = computed([run(ops.convert_to_tensor(some.astype("float32")), of)])
        parts.append(backend.to_host(part))
    return np.concatenate(parts, axis=1)


def units_of(case: Case, number: int) -> np.ndarray:
    """The units of a case as integers (B, K); every one of `number` units if none were chosen."""
    view = case.view
    assert view is not None
    batch = int(view.inputs.shape[0])
    if view.indices is None:
        return np.tile(np.arange(number, dtype="int32"), (batch, 1))
    return np.asarray(backend.to_host(view.indices)).astype("int32").reshape(batch, -1)
