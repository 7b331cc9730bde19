"""Maps that show nothing and numbers that are none: how many there are, and why, as far as it can be measured."""

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
from keras import ops

from keras_explainable import backend, models

DARK, LARGE = 0.02, 10.0  # what a model multiplies images by, and takes from them, that are made for values up to 255


class Flaws:
    """What is wrong with scores and maps, counted from batch to batch."""

    def __init__(self) -> None:
        self.broken, self.constant = 0, 0
        self.causes: Counter = Counter()
        self.example: tuple | None = None  # an image, its units, and which of its maps is 0 everywhere

    def add(
        self,
        scores: np.ndarray,
        ends: np.ndarray,
        raw: np.ndarray | None,
        batch: tuple | None = None,
        finite: np.ndarray | None = None,
    ) -> None:
        """Count those of a batch (images, units): its scores (B, K), the least and the largest value of each map, and
        these before the maps were filtered, (B, K, 2); where the ends are of a few pixels, also which values of the
        maps are finite."""
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
        """What to say of them, where there are any: `filter` made the maps, of `signal` or the images, and
        `probe(images, units, k)` tells why the k-th map of an image is 0, and whether its score is behind a softmax."""
        told = []
        if self.broken:
            told.append(
                f"Scores or maps of {self.broken} images are NaN or infinite, so they show nothing. Likely causes: the "
                "model's own output or weights are, or a score= that takes the logarithm of 0 or divides by it."
            )
        if self.constant:
            causes = "; ".join(self._told(filter, signal or "the images", probe))
            told.append(f"{self.constant} maps are the same everywhere, so they show nothing. {causes}.")
        return told

    def _told(self, filter: str, signal: str, probe: Callable) -> list[str]:
        ended, zero = False, f"nothing of {signal} counts for the score there"
        if self.example is not None:
            with suppress(Exception):  # of a model that shows no gradient
                ended, zero = probe(*self.example)
        causes = self.causes.copy()
        if not ended:
            causes["zero"] += causes.pop("end", 0)
        because = {
            "zero": zero,
            "end": "their score is exactly 0 or 1, the flat end of the model's softmax or sigmoid, from which no "
            "gradient comes: explain what is before it, as without score=",
            "negative": f"every contribution is negative, and {filter} keeps the positive ones (try "
            "ke.filters.absolute_normalize)",
            "flat": f"all places of {signal} count the same, before any filter",
            "filtered": f"they are not so before {filter}",
        }
        return [f"Of {n}, {because[cause]}" for cause, n in causes.items() if n]


def cause(view: models.View, point: models.Point, k: int) -> tuple[bool, str]:
    """Whether a score is taken behind a softmax or sigmoid, and why the k-th map of an image is 0, measured at the
    signal that it is of."""
    scores, values, gradients = view.jacobian([point])
    value, gradient = (backend.to_host(v) for v in (values[point], gradients[point][:, k]))
    name = "the images" if point == models.INPUT else f"the layer ({point})"
    behind = view.target is None and view.ending is not None
    if not gradient.any():
        if view.score is not None and not backend.to_host(scores)[:, k].any():
            return (
                behind,
                "the score given is 0 there: it takes nothing of the outputs (no pixel of its unit?)",
            )
        part = "it has no part" if point != models.INPUT else "they have no part"
        return behind, f"no gradient comes to {name}: {part} in the score there (as before ReLUs that are all off)"
    if not value.any():
        return behind, f"{name} gives 0 everywhere (its ReLUs are all off)"
    return behind, f"all that comes to {name} speaks against the unit, which this method leaves out"


def range_warning(model: Any, images: Any) -> str | None:
    """What to say of images from 0 to 1 for a model that takes those up to 255: it scales or shifts them itself."""
    scale = models.scale(model, images)
    if scale is None or not (scale[0] < DARK or scale[1] > LARGE):
        return None
    images = getattr(images, "images", images)
    low, high = (float(backend.to_host(f(ops.cast(images, "float32")))) for f in (ops.min, ops.max))
    if low < 0 or not 0 < high <= 1:
        return None
    return (
        f"The images' values lie from {low:g} to {high:g}, and this model itself brings those up to 255 to its range "
        f"(it multiplies by {scale[0]:.2g}, after taking off {scale[1]:.3g}), so that these look nearly all the same: "
        "give images from 0 to 255."
    )
