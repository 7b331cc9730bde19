"""Detect maps that show nothing and values that are not finite: count them, and measure the cause if possible."""

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
from keras import ops

from keras_explainable import backend, models

# A model whose factor is below DARK, or whose shift is above LARGE, expects images with values up to 255.
DARK, LARGE = 0.02, 10.0


class Flaws:
    """What is wrong with scores and maps, counted over all batches."""

    def __init__(self) -> None:
        self.broken, self.constant = 0, 0
        self.causes: Counter = Counter()
        self.example: tuple | None = None  # an image, its units, and the number of a map that is 0 everywhere

    def add(
        self,
        scores: np.ndarray,
        ends: np.ndarray,
        raw: np.ndarray | None,
        batch: tuple | None = None,
        finite: np.ndarray | None = None,
    ) -> None:
        """Count the flaws of a batch (images, units).

        Args:
            scores: (B, K).
            ends: the least and the largest value of each map, (B, K, 2).
            raw: the same before the maps were filtered.
            batch: the images and units.
            finite: which values of the maps are finite, if `ends` was computed from only a few pixels.
        """
        seen = (np.isfinite(scores), np.isfinite(ends) if finite is None else finite)
        finite = np.all([values.reshape(len(values), -1).all(axis=1) for values in seen], axis=0)
        self.broken += int((~finite).sum())
        constant = ends[..., 0] == ends[..., 1]
        self.constant += int(constant.sum())
        raw = ends if raw is None or raw.shape != ends.shape else raw
        for at in zip(*np.nonzero(constant), strict=True):
            low, high = raw[at]
            self._judge(at, low, high, scores[at] if scores.shape == constant.shape else None, batch)

    def _judge(self, at: tuple, low: float, high: float, score: float | None, batch: tuple | None) -> None:
        if low == high == 0:
            self.causes["zero" if score not in (0, 1) else "end"] += 1
            if self.example is None and batch is not None:
                images, units = batch
                row = slice(int(at[0]), int(at[0]) + 1)
                self.example = images[row], units[row] if hasattr(units, "shape") else units, int(at[-1])
        elif low == high:
            self.causes["flat"] += 1
        else:
            self.causes["negative" if high <= 0 else "filtered"] += 1

    def warnings(self, filter: str, signal: str | None, probe: Callable) -> list[str]:
        """The warnings about these flaws, if there are any.

        Args:
            filter: the name of the filter of the maps.
            signal: the name of the signal that the maps show; None for the images.
            probe: `probe(images, units, k)` measures whether the score is taken after a softmax, and why the k-th map
                of an image is 0.
        """
        texts = []
        if self.broken:
            texts.append(
                f"Scores or maps of {self.broken} images are NaN or infinite, so they show nothing. Likely causes: the "
                "model's output or weights are NaN or infinite, or score= takes the logarithm of 0 or divides by 0."
            )
        if self.constant:
            causes = ". ".join(self._causes(filter, signal or "the images", probe))
            texts.append(f"{self.constant} maps are the same everywhere, so they show nothing. {causes}.")
        return texts

    def _causes(self, filter: str, signal: str, probe: Callable) -> list[str]:
        ended, zero = False, f"nothing in {signal} contributes to the score there"
        if self.example is not None:
            with suppress(Exception):  # the model may have no gradient
                ended, zero = probe(*self.example)
        causes = self.causes.copy()
        if not ended:
            causes["zero"] += causes.pop("end", 0)
        because = {
            "zero": zero,
            "end": "their score is exactly 0 or 1, where the model's softmax or sigmoid is saturated and the gradient "
            "is 0: explain the value before it, as without score=",
            "negative": f"every contribution is negative, and {filter} keeps the positive ones (try "
            "ke.filters.absolute_normalize)",
            "flat": f"all positions of {signal} contribute equally, before any filter",
            "filtered": f"they are not constant before {filter}",
        }
        return [f"For {n} of them, {because[cause]}" for cause, n in causes.items() if n]


def cause(view: models.View, point: models.Point, k: int) -> tuple[bool, str]:
    """Measure, at the signal that a map shows, why the k-th map of an image is 0. Also return whether the score is
    taken after a softmax or sigmoid."""
    scores, values, gradients = view.jacobian([point])
    value, gradient = (backend.to_host(v) for v in (values[point], gradients[point][:, k]))
    name = "the images" if point == models.INPUT else f"the layer ({point})"
    after_ending = view.target is None and view.ending is not None
    if not gradient.any():
        if view.score is not None and not backend.to_host(scores)[:, k].any():
            return (
                after_ending,
                "the given score is 0 there: it uses none of the outputs (perhaps no pixel belongs to its unit)",
            )
        part = "it does not affect" if point != models.INPUT else "they do not affect"
        return after_ending, f"no gradient reaches {name}: {part} the score there (as before inactive ReLUs)"
    if not value.any():
        return after_ending, f"{name} gives 0 everywhere (its ReLUs are all inactive)"
    return after_ending, f"every contribution at {name} is negative, and this method keeps only positive ones"


def range_warning(model: Any, images: Any) -> str | None:
    """The warning if images from 0 to 1 came for a model that expects values up to 255, because it scales or shifts
    them itself."""
    scale = models.scale(model, images)
    if scale is None or not (scale[0] < DARK or scale[1] > LARGE):
        return None
    images = getattr(images, "images", images)
    low, high = (float(backend.to_host(f(ops.cast(images, "float32")))) for f in (ops.min, ops.max))
    if low < 0 or not 0 < high <= 1:
        return None
    return (
        f"The images' values lie between {low:g} and {high:g}, and this model expects values up to 255: it scales them "
        f"itself (it subtracts {scale[1]:.3g}, then multiplies by {scale[0]:.2g}), so these images look nearly all the "
        "same to it. Give images from 0 to 255."
    )
