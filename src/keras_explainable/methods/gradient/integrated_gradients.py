"""Integrated gradients: the gradients on the straight path from a baseline to the image.

The parts add up to score(x) - score(baseline), except for the error of the numerical integral. It is reported by
`integrated_gradients_gap`, and by `.about["gap"]` of `integrated_gradients`. Common parameters:

- `repetitions`: gradients that are computed. Time grows with it, memory does not.
- `baseline`: where paths begin, in the images' range: a number, a colour (C,), images, or "mean" for each image's own
  mean colour.
- `reduce`: over channels, the "sum" of the signed parts, or of their "absolute" values; None keeps channels, as
  (B, K, *S, C).
"""

import math
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from keras_explainable import filters
from keras_explainable.methods.baselines import baseline_images, baseline_inputs
from keras_explainable.methods.explainer import explainer
from keras_explainable.methods.gradient.gradients import signed_gradients
from keras_explainable.methods.gradient.reduction import part_reducer
from keras_explainable.methods.meta.integrate import integrate
from keras_explainable.methods.repetition import scores_of
from keras_explainable.models import View, on_view, opens_view
from keras_explainable.runtime import remarks
from keras_explainable.runtime.compile_cache import repeats

GAP = 0.05  # relative, above which parts do not add up as promised
SMALL = 0.1  # of the largest change of a score: smaller ones say little, and gaps count relative to this
ROUNDING = 1e-4  # of the largest score: as of `SMALL`
MARGIN = 4  # times as many repetitions as a gap that falls as 1/n asks for: it falls by leaps where there are ReLUs
FEW = 8  # repetitions whose gap tells little of that of more
LONG = 1000  # nodes of Gauss and Legendre, which take seconds to find if there are more


class Convergence(NamedTuple):
    """How nearly the sum of a map is the change of the score, each (B, K)."""

    scores: Any
    baseline_scores: Any
    total: Any  # the sum of the map
    absolute_gap: Any  # |scores - baseline_scores - total|
    relative_gap: Any  # of |scores - baseline_scores|


@repeats
@explainer(
    "gradient",
    "gradient",
    "1 forward + n (forward + K backward)",
    "arXiv:1703.01365",
    postprocessing=filters.absolute_normalize,
)
def integrated_gradients(
    view: View,
    *,
    repetitions: int = 50,
    quadrature: str = "gauss_legendre",
    baseline: Any = 0.0,
    reduce: str | None = "sum",
) -> tuple:
    """What each pixel adds to the score on the straight way from a baseline to the image; the parts add up.

    maps[b, s, k] = sum over c of (x - x0) integral from 0 to 1 of d score(x0 + t (x - x0))[b, k] / dx dt

    By how much they miss score(x) - score(x0), as the integral is a sum of n gradients, `.about["gap"]` tells, relative
    to it: the largest of all images and units, of small changes relative to a tenth of the largest one. Above 5 % a
    warning says how many repetitions would do.

    Args:
        repetitions, baseline, reduce: see `ke.methods.path`; quadrature: see `meta.integrate`.

    Reference: Sundararajan et al., Axiomatic Attribution for Deep Networks, arXiv:1703.01365.
    """
    reduced = part_reducer(reduce)
    averaged = integrate(signed_gradients, repetitions, quadrature, baseline)
    scores, g = on_view(averaged, view)
    parts = (view.x - baseline_images(view, baseline))[:, None] * g
    if remarks.wanted(view.inputs):
        found = _convergence(view, baseline, scores, parts)
        remarks.keep(completeness, found[:3], repetitions=repetitions)
    return scores, reduced(parts)


def _convergence(view: View, baseline: Any, scores: Any, parts: Any) -> Convergence:
    """How nearly parts (B, K, *S, C) add up, by one more forward pass of the baseline."""
    start = ops.broadcast_to(baseline_inputs(view, baseline), ops.shape(view.inputs))
    below = scores_of(view.of(start, view.chosen()))
    total = ops.sum(parts, axis=tuple(range(2, len(parts.shape))))
    rise = scores - below
    gap = ops.abs(rise - total)
    return Convergence(scores, below, total, gap, gap / ops.maximum(ops.abs(rise), 1e-12))


def largest_gap(scores: np.ndarray, below: np.ndarray, total: np.ndarray) -> float:
    """By how much the sums of maps miss the changes of scores from those of the baseline, relative to the changes."""
    rise = scores - below
    least = max(SMALL * abs(rise).max(), ROUNDING * max(abs(scores).max(), abs(below).max()), 1e-12)
    return float((abs(rise - total) / np.maximum(abs(rise), least)).max())


def completeness(scores: np.ndarray, below: np.ndarray, total: np.ndarray, repetitions: int) -> remarks.Remark:
    """The largest relative gap, and a warning that says what to do if it is large."""
    gap = largest_gap(scores, below, total)
    warning = None
    if gap > GAP:
        enough = max(repetitions, FEW) * math.ceil(MARGIN * gap / GAP - 0.01)
        long = ', quadrature="midpoint"' if enough > LONG else ""
        warning = (
            f"The parts that integrated gradients found by repetitions={repetitions} miss the change of the score, to "
            f"which they add up, by up to {gap:.0%}: for less than {GAP:.0%} give repetitions={enough}{long}. "
            '`.about["gap"]` tells it, and ke.integrated_gradients_gap of each image and unit.'
        )
    return remarks.Remark({"gap": gap}, warning)


@opens_view
def integrated_gradients_gap(
    view: View,
    *,
    repetitions: int = 50,
    quadrature: str = "gauss_legendre",
    baseline: Any = 0.0,
) -> Convergence:
    """By how much the maps of `integrated_gradients` miss score(x) - score(baseline), for each image and unit.

    A gap that is not small calls for more repetitions."""
    params = {"repetitions": repetitions, "quadrature": quadrature, "baseline": baseline}
    scores, parts = on_view(integrated_gradients, view, **params, reduce=None)
    return _convergence(view, baseline, scores, parts)
