"""Kernel SHAP: Shapley values of segments by weighted least squares."""

import functools
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
from keras_explainable.runtime import warning
from keras_explainable.runtime.repetition import Rows
from keras_explainable.runtime.validation import check_repetitions, seed_of

ENOUGH = 4  # coalitions for each segment: with this many, the values correlate by 0.9 with those of very many


@explainer(
    "perturbation",
    "black box",
    "(2 + n) forward",
    "arXiv:1705.07874",
    postprocessing=filters.positive_normalize,
    repeats=True,
)
def kernel_shap(
    view: View,
    *,
    repetitions: int = 500,
    segments: Any = 7,
    baseline: Any = "mean",
    at_once: int | None = None,
    seed: int | None = None,
) -> tuple:
    """Shapley values of the segments, estimated by weighted least squares.

    maps = phi_j on segment j, phi = argmin sum_z w(z) (f(z) - f(0) - <phi, z>)^2 with sum_j phi_j = f(x) - f(baseline),
    w(z) = (n - 1) / (binom(n, |z|) |z| (n - |z|))

    A Shapley value is what a segment adds to the score, on average over all orders in which segments become visible.
    The values are exact if `repetitions` is at least 2^n - 2, the number of coalitions z of n segments. Otherwise z are
    drawn in proportion to w, in pairs of a coalition and its complement. With fewer than four coalitions for each
    segment the regression is poorly determined, and a warning says so.

    Args:
        repetitions: the largest number of z.
        segments, baseline, at_once, seed: see `ke.methods.perturbation`.

    Reference: Lundberg & Lee, A Unified Approach to Interpreting Model Predictions, arXiv:1705.07874.
    """
    check_repetitions(repetitions)
    seed = seed_of(seed)
    probe = Probe(view, baseline, at_once, seed)

    def drawn(n):
        if repetitions < min(ENOUGH * n, 2**n - 2):
            warning.warn(
                f"kernel_shap of {n} segments is poorly determined by {repetitions} coalitions (worst near {2 * n}): "
                f"give repetitions={ENOUGH * n} or more, or fewer segments=."
            )
        some = coalitions(repetitions, n, seed)
        of_none, coefficients = shapley_coefficients(some, n)

        def rows(start, stop):  # the empty coalition, and the others
            z, weights = some.drawn(max(start - 1, 0), max(stop - 1, 0))
            c = coefficients(z, weights)
            return [np.concatenate([np.zeros((1, n)), z]), np.concatenate([of_none[None], c])] if start == 0 else [z, c]

        return Rows(1 + some.number, rows)

    return probe.scores, weigh(probe, segments, drawn)


def coalitions(number: int, n: int, seed: int) -> Rows:
    """Coalitions (M, n) of n segments and their weights (M,), without the empty and the full coalition.

    If there are at most `number`, these are all of them. Otherwise `number` are drawn in proportion to the weights."""
    if n < 2:
        return Rows(0, lambda start, stop: [np.zeros((0, n)), np.zeros(0)])
    if n < 60 and 2**n - 2 <= number:
        return Rows(2**n - 2, functools.partial(_listed, n))
    return Rows(number, functools.partial(_drawn, n, seed))


def _listed(n: int, start: int, stop: int) -> list[np.ndarray]:
    """Coalitions `start` to `stop` of all, in the order of binary numbers, and their weights."""
    z = (np.arange(1 + start, 1 + stop)[:, None] >> np.arange(n) & 1).astype("float64")
    weight = [0.0, *((n - 1) / (math.comb(n, s) * s * (n - s)) for s in range(1, n))]
    return [z, np.take(weight, z.sum(axis=1).astype(int))]


def _drawn(n: int, seed: int, start: int, stop: int) -> list[np.ndarray]:
    """Coalitions `start` to `stop` of random ones, in pairs of a coalition and its complement, with equal weights."""
    first, last = start // 2, -(-stop // 2)
    share = np.cumsum([1 / (s * (n - s)) for s in range(1, n)])
    draw = random.on_host((last - first,), seed, 0, 0, first)
    size = 1 + np.searchsorted(share / share[-1], draw.astype("float64"))
    order = np.argsort(random.on_host((last - first, n), seed, 0, 1, first * n), axis=1, kind="stable")
    z = (np.argsort(order) < np.minimum(size, n - 1)[:, None]).astype("float64")
    pairs = np.stack([z, 1 - z], axis=1).reshape(-1, n)
    return [pairs[start - 2 * first : stop - 2 * first], np.ones(stop - start)]


def shapley_coefficients(some: Rows, n: int) -> tuple[np.ndarray, Callable]:
    """The coefficients (n,) of f(0) - f(x), and a function from z and weights to those (M, n) of f(z) - f(x).

    They solve the regression in phi = D/n + psi with D = f(x) - f(0) and sum psi = 0. The solution has least norm if it
    is not unique."""
    second, rest = np.zeros((n, n)), np.zeros(n)
    for z, weights in parts(some):
        weighted = weights[:, None] * z
        second, rest = second + weighted.T @ z, rest + (1 - z.mean(axis=1)) @ weighted
    off = np.eye(n) - 1 / n  # the projection on vectors whose sum is zero
    solved = pseudo_inverse(off @ second @ off)
    return -(1 / n + rest @ solved), lambda z, weights: weights[:, None] * z @ solved
