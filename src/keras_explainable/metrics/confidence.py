"""Metrics of how confident the model remains if it sees only what the map shows."""

import hashlib
import math
from typing import Any

import numpy as np
from keras import ops

from keras_explainable.metrics.case import Case
from keras_explainable.metrics.curves import NOTHING, quantities
from keras_explainable.metrics.localisation import where_defined
from keras_explainable.metrics.masked import masked, units_of
from keras_explainable.metrics.measuring import Measured
from keras_explainable.metrics.metric import metric
from keras_explainable.metrics.order import order, removed
from keras_explainable.runtime.compile_cache import frozen
from keras_explainable.runtime.validation import check_number

ROUNDING = 1e-5  # relative: in another batch, the score of the same image may differ by this much
COVERAGE = "by the map's coverage"
DROP = "arXiv:1710.11063"


def hidden(places: Any, rows: Any) -> Any:
    """Masks (P, B, *S): for each of P units, how much of each pixel is hidden, from (B, *S, K)."""
    return ops.moveaxis(ops.take(places, rows, axis=-1), -1, 0)


def ends(case: Case, shape: tuple, fill: Any, quantity: str) -> np.ndarray:
    """The quantity of each image, and of the image without any of its pixels: (B, K, 2), evaluated once for all maps of
    this shape."""
    number = math.prod(shape[1:-1])
    ranks = np.broadcast_to(np.arange(number).reshape(*shape[1:-1], 1), shape)
    return quantities(case, ranks, [NOTHING, (0, number)], fill, quantity)


def _shown(case: Case, maps: np.ndarray, baseline: Any, area: float | None) -> dict[str, np.ndarray]:
    """The probabilities of the image, `whole`, and of what the map shows of it, `shown`, and the mean of the mask,
    `coverage`: each (B, K, 1). They are evaluated once for all metrics of the same maps."""
    if area is not None:
        check_number("area", area, lambda a: 0 < a <= 1, "a share of the pixels, above 0 and at most 1, or None")
    digest = hashlib.blake2b(np.ascontiguousarray(maps).tobytes()).digest()

    def evaluated() -> dict[str, np.ndarray]:
        axes = tuple(range(1, maps.ndim - 1))
        most = maps.max(axis=axes, keepdims=True)
        if area is None:
            mask = np.maximum(maps, 0) / np.where(most > 0, most, 1)
        else:
            number = removed(math.prod(maps.shape[1:-1]), np.asarray(area))
            mask = (order(maps, case.seed) < number).astype("float32")
        units = units_of(case, maps.shape[-1])
        rows = np.arange(maps.shape[-1], dtype="int32")
        evaluate = masked(case, hidden, baseline, "probability")
        found = evaluate((1 - mask).astype("float32"), [rows], units)[:, rows, rows]
        whole = ends(case, maps.shape, baseline, "probability")[..., 0]
        known = most.reshape(found.shape) > 0
        parts = {"whole": whole, "shown": where_defined(found, known), "coverage": mask.mean(axis=axes)}
        return {name: value[..., None] for name, value in parts.items()}

    return case.once(("shown", digest, maps.shape, frozen(baseline), area), evaluated)


def _measured(curves: dict[str, np.ndarray], value: np.ndarray, over: np.ndarray) -> Measured:
    return Measured(where_defined(value, over > 0, over), curves)


@metric("faithfulness", {"model"}, "lower", "1 forward", COVERAGE, DROP)
def average_drop(case: Case, maps: np.ndarray, baseline: Any = "mean", area: float | None = None) -> Measured:
    """How much of the probability is lost if the model sees only what the map shows.

    max(p(x) - p(x M + b (1 - M)), 0) / p(x), with M = max(A, 0) / max A

    A constant map shows the whole image and loses nothing: compare the mean of M, which is `curves["coverage"]`, or set
    `area`. NaN for a map without positive values, and where p(x) is not positive.

    Args:
        baseline: b, what replaces the image where the map shows nothing (see `fill` in `ke.metrics`).
        area: None, or the share of pixels that each map shows, those with the largest values: M is 1 there, and 0
            elsewhere. The authors of Score-CAM take .5.

    Reference: Chattopadhyay et al., Grad-CAM++: Improved Visual Explanations for Deep Convolutional Networks,
    arXiv:1710.11063.
    """
    curves = _shown(case, maps, baseline, area)
    whole, shown = curves["whole"][..., 0], curves["shown"][..., 0]
    return _measured(curves, np.maximum(whole - shown, 0), whole)


@metric("faithfulness", {"model"}, "higher", "1 forward", COVERAGE, "arXiv:2301.07002")
def average_gain(case: Case, maps: np.ndarray, baseline: Any = "mean", area: float | None = None) -> Measured:
    """How much of the missing probability is gained if the model sees only what the map shows.

    max(p(x M + b (1 - M)) - p(x), 0) / (1 - p(x)), with M = max(A, 0) / max A

    NaN for a map without positive values, and where p(x) is not below 1.

    Args:
        baseline, area: as in `average_drop`.

    Reference: Zhang et al., Opti-CAM: Optimizing saliency maps for interpretability, arXiv:2301.07002.
    """
    curves = _shown(case, maps, baseline, area)
    whole, shown = curves["whole"][..., 0], curves["shown"][..., 0]
    return _measured(curves, np.maximum(shown - whole, 0), 1 - whole)


@metric("faithfulness", {"model"}, "higher", "1 forward", COVERAGE, DROP)
def average_increase(case: Case, maps: np.ndarray, baseline: Any = "mean", area: float | None = None) -> Measured:
    """Whether the probability is higher, by more than rounding, if the model sees only what the map shows: 1 or 0.

    1 if p(x M + b (1 - M)) > p(x), with M = max(A, 0) / max A

    NaN for a map without positive values.

    Args:
        baseline, area: as in `average_drop`.

    Reference: Chattopadhyay et al., Grad-CAM++: Improved Visual Explanations for Deep Convolutional Networks,
    arXiv:1710.11063.
    """
    curves = _shown(case, maps, baseline, area)
    whole, shown = curves["whole"][..., 0], curves["shown"][..., 0]
    higher = shown > whole + ROUNDING * np.abs(whole)
    return Measured(where_defined(higher, np.isfinite(shown)), curves)
