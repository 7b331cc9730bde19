"""Kernel SHAP: Shapley values of segments by weighted least squares."""

import functools
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from keras_explainable import filters
from keras_explainable.methods.explainer import explainer
from keras_explainable.methods.perturbation.probe import Probe
from keras_explainable.methods.perturbation.regression import parts, pseudo_inverse, weigh
from keras_explainable.methods.repetition import Rows
from keras_explainable.methods.validation import check_repetitions, seed_of
from keras_explainable.models import View
from keras_explainable.numerics import random
from keras_explainable.runtime.compile_cache import repeats

ENOUGH = 4  # coalitions for each segment, from which on Shapley values correlate by 0.9 with those of very many


@repeats
@explainer(
    "perturbation", "black box", "(2 + n) forward", "arXiv:1705.07874", postprocessing=filters.positive_normalize
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
    """What each segment adds to the score, on average over the orders in which segments come to be seen.

    maps = phi_j on segment j, phi = argmin sum_z w(z) (f(z) - f(0) - <phi, z>)^2 with sum_j phi_j = f(x) - f(baseline),
    w(z) = (n - 1) / (binom(n, |z|) |z| (n - |z|))

    These are the Shapley values, exactly, where all 2^n - 2 coalitions z fit into the repetitions; otherwise z are
    drawn in proportion to w, in pairs of one and its complement: at least four times as many as segments, or the
    regression is hardly determined, and a warning says so.

    Args:
        repetitions: the number of z, at most.
        segments: see `lime`.
        baseline, at_once: see `ke.methods.perturbation`.

    Reference: Lundberg & Lee, A Unified Approach to Interpreting Model Predictions, arXiv:1705.07874.
    """
    check_repetitions(repetitions)
    seed = seed_of(seed)
    probe = Probe(view, baseline, at_once)

    def drawn(n):
        if repetitions < min(ENOUGH * n, 2**n - 2):
            warnings.warn(
                f"kernel_shap of {n} segments by {repetitions} coalitions is hardly determined, worst near {2 * n}: "
                f"give repetitions={ENOUGH * n} or more, or fewer segments=.",
                stacklevel=2,
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
    """All coalitions (M, n) of n segments but the empty and the full one, with their weights (M,), where there are at
    most `number`; or so many that are drawn in proportion to them."""
    if n < 2:
        return Rows(0, lambda start, stop: [np.zeros((0, n)), np.zeros(0)])
    if n < 60 and 2**n - 2 <= number:
        return Rows(2**n - 2, functools.partial(_listed, n))
    return Rows(number, functools.partial(_drawn, n, seed))


def _listed(n: int, start: int, stop: int) -> list[np.ndarray]:
    """Coalitions from `start` to `stop` of all, as binary numbers, and their weights."""
    z = (np.arange(1 + start, 1 + stop)[:, None] >> np.arange(n) & 1).astype("float64")
    weight = [0.0, *((n - 1) / (math.comb(n, s) * s * (n - s)) for s in range(1, n))]
    return [z, np.take(weight, z.sum(axis=1).astype(int))]


def _drawn(n: int, seed: int, start: int, stop: int) -> list[np.ndarray]:
    """Coalitions from `start` to `stop` of those that are drawn, in pairs of one and its complement, all alike."""
    first, last = start // 2, -(-stop // 2)
    share = np.cumsum([1 / (s * (n - s)) for s in range(1, n)])
    draw = random.on_host((last - first,), seed, 0, 0, first)
    size = 1 + np.searchsorted(share / share[-1], draw.astype("float64"))
    order = np.argsort(random.on_host((last - first, n), seed, 0, 1, first * n), axis=1, kind="stable")
    z = (np.argsort(order) < np.minimum(size, n - 1)[:, None]).astype("float64")
    pairs = np.stack([z, 1 - z], axis=1).reshape(-1, n)
    return [pairs[start - 2 * first : stop - 2 * first], np.ones(stop - start)]


def shapley_coefficients(some: Rows, n: int) -> tuple[np.ndarray, Callable]:
    """C of the changes f(0) - f(x), (n,), and as a function of z and their weights C (M, n) of f(z) - f(x): the
    regression, of least norm where it is undetermined, in phi = D/n + psi, D = f(x) - f(0), psi what sums to zero."""
    second, rest = np.zeros((n, n)), np.zeros(n)
    for z, weights in parts(some):
        weighted = weights[:, None] * z
        second, rest = second + weighted.T @ z, rest + (1 - z.mean(axis=1)) @ weighted
    off = np.eye(n) - 1 / n  # the projection on what sums to zero
    solved = pseudo_inverse(off @ second @ off)
    return -(1 / n + rest @ solved), lambda z, weights: weights[:, None] * z @ solved
