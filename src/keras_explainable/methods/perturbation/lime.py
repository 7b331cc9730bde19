"""LIME: a linear model of the score as a function of the visible segments.

Its weights are linear in the scores: weights[j] = sum over m of C[m, j] f(x masked by z_m). The coefficients C depend
only on the coalitions z (M, n). They are computed on the host in double precision, once for each number of segments n.
Only the sum runs on the device."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from keras_explainable import filters
from keras_explainable.methods.explainer import explainer
from keras_explainable.methods.perturbation.probe import Probe
from keras_explainable.methods.perturbation.regression import parts, pseudo_inverse, weigh
from keras_explainable.models import View
from keras_explainable.numerics import random
from keras_explainable.runtime.repetition import Rows
from keras_explainable.runtime.validation import check_number, check_repetitions, seed_of


@explainer(
    "perturbation",
    "black box",
    "(1 + n) forward",
    "arXiv:1602.04938",
    postprocessing=filters.positive_normalize,
    repeats=True,
)
def lime(
    view: View,
    *,
    repetitions: int = 500,
    segments: Any = 7,
    width: float = 0.25,
    ridge: float = 1.0,
    baseline: Any = "mean",
    at_once: int | None = None,
    seed: int | None = None,
) -> tuple:
    """The weight of each segment in a linear model of the score, fitted to masked copies of the image.

    maps = w_j on segment j, (w, c) = argmin sum_m pi_m (f(x masked by z_m) - c - <w, z_m>)^2 + ridge |w|^2

    Each segment is visible with probability 1/2; in the first z, all of them are. The weight of z is
    pi = exp(-d^2 / (2 width^2)), d = 1 - cos(z, 1).

    Args:
        repetitions: the number of vectors z.
        width: the width of the kernel pi, above 0.
        ridge: the weight of the penalty |w|^2, 0 or more.
        segments, baseline, at_once, seed: see `ke.methods.perturbation`.

    Reference: Ribeiro et al., "Why Should I Trust You?", arXiv:1602.04938.
    """
    check_repetitions(repetitions)
    check_number("width", width, lambda w: w > 0, "a positive width")
    check_number("ridge", ridge, lambda r: 0 <= r < math.inf, "a number of 0 or more")
    seed = seed_of(seed)
    probe = Probe(view, baseline, at_once, seed)

    def drawn(n):
        some = Rows(repetitions, lambda start, stop: [lime_rows(stop - start, n, seed, start)])
        coefficients = lime_coefficients(some, n, width, ridge)

        def rows(start, stop):
            (z,) = some.drawn(start, stop)
            return [z, coefficients(z)]

        return Rows(repetitions, rows)

    return probe.scores, weigh(probe, segments, drawn)


def lime_rows(number: int, n: int, seed: int, first: int = 0) -> np.ndarray:
    """Which of n segments are visible, from row `first` on: all in row 0, then each with probability 1/2."""
    z = (random.on_host((number, n), seed, first=first * n) < 0.5).astype("float64")
    z[: 1 if first == 0 else 0] = 1
    return z


def lime_coefficients(some: Rows, n: int, width: float, ridge: float) -> Callable:
    """A function from rows z (M, n) to the coefficients C (M, n) of a weighted ridge regression with an intercept.

    The regression is linear in its targets. C of a row depends on the row and on sums over all rows."""

    def weight(z):
        distance = 1 - np.sqrt(z.mean(axis=1))  # of zeros and ones: cos(z, 1) = sqrt(mean z)
        return np.exp(-np.square(distance / width) / 2)

    total, first, second = 0.0, np.zeros(n), np.zeros((n, n))  # of weights, of weighted z, and of weighted z z'
    for (z,) in parts(some):
        pi = weight(z)
        total, first, second = total + pi.sum(), first + pi @ z, second + (z * pi[:, None]).T @ z
    mean = first / total
    scatter = second - total * np.outer(mean, mean) + ridge * np.eye(n)
    inverse = pseudo_inverse(scatter)
    return lambda z: weight(z)[:, None] * (z - mean) @ inverse
