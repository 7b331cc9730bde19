"""Integrated gradients: the gradients on the straight path from a baseline to the image."""

import math
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from keras_explainable import filters
from keras_explainable.masking.baselines import baseline_images, baseline_inputs
from keras_explainable.methods.explainer import explainer
from keras_explainable.methods.gradient.gradients import signed_gradients
from keras_explainable.methods.gradient.reduction import part_reducer
from keras_explainable.methods.meta.integrate import integrate
from keras_explainable.models import View, on_view, opens_view
from keras_explainable.runtime import remarks
from keras_explainable.runtime.repetition import scores_of

GAP = 0.05  # relative gap above which a warning is given
SMALL = 0.1  # of the largest change of a score: gaps of smaller changes are relative to this
ROUNDING = 1e-4  # of the largest score: gaps of smaller changes are relative to this
MARGIN = 4  # times the repetitions that a gap proportional to 1/n would need: with ReLUs, the gap falls in jumps
FEW = 8  # with fewer repetitions, the gap says little about the gap with more
LONG = 1000  # more Gauss-Legendre nodes than this take seconds to find


class Convergence(NamedTuple):
    """How close the sum of a map is to the change of the score. Each field is (B, K)."""

    scores: Any
    baseline_scores: Any
    total: Any  # the sum of the map
    absolute_gap: Any  # |scores - baseline_scores - total|
    relative_gap: Any  # of |scores - baseline_scores|


@explainer(
    "gradient",
    "gradient",
    "2 forward + n (forward + K backward)",
    "arXiv:1703.01365",
    postprocessing=filters.absolute_normalize,
    repeats=True,
)
def integrated_gradients(
    view: View,
    *,
    repetitions: int = 50,
    quadrature: str = "gauss_legendre",
    baseline: Any = 0.0,
    reduce: str | None = "sum",
) -> tuple:
    """Gradients integrated along the straight path from a baseline to the image, times their difference.

    maps[b, s, k] = sum over c of (x - x0) integral from 0 to 1 of d score(x0 + t (x - x0))[b, k] / dx dt

    The sum of a map is score(x) - score(x0), except for the error of the integral, which is a sum of n gradients.
    `.about["gap"]` is the largest error over all images and units, relative to the change of the score (for small
    changes, relative to a tenth of the largest change). If it is above 5 %, a warning says how many repetitions are
    needed.

    Args:
        repetitions, quadrature, baseline, reduce: see `ke.methods.gradient`.

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
    """The gap of attributions (B, K, *S, C), by one more forward pass, of the baseline."""
    start = ops.broadcast_to(baseline_inputs(view, baseline), ops.shape(view.inputs))
    below = scores_of(view.of(start, view.chosen()))
    total = ops.sum(parts, axis=tuple(range(2, len(parts.shape))))
    rise = scores - below
    gap = ops.abs(rise - total)
    return Convergence(scores, below, total, gap, gap / ops.maximum(ops.abs(rise), 1e-12))


def largest_gap(scores: np.ndarray, below: np.ndarray, total: np.ndarray) -> float:
    """The largest error of the sums of maps, relative to the changes of the scores from those of the baseline."""
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
            f"The maps of integrated gradients with repetitions={repetitions} miss the change of the score by up to "
            f"{gap:.0%}, although they should add up to it: for less than {GAP:.0%}, give repetitions={enough}{long}. "
            '`.about["gap"]` has this value; ke.integrated_gradients_gap gives it for each image and unit.'
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
    """The gap between the sum of each `integrated_gradients` map and score(x) - score(baseline), by image and unit.

    If it is large, use more repetitions.

    Args:
        repetitions, quadrature, baseline: see `ke.methods.gradient`.
    """
    params = {"repetitions": repetitions, "quadrature": quadrature, "baseline": baseline}
    scores, parts = on_view(integrated_gradients, view, **params, reduce=None)
    return _convergence(view, baseline, scores, parts)
