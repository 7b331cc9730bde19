"""Linear models of what segments of an image do for a score: which are seen is the input, the score the output.

Their weights are linear in the scores: weights[j] = sum over m of C[m, j] f(x seen through z_m), with coefficients C
that are known from the coalitions z (M, n) alone. These are computed on the host in double precision, for images of
each number of segments n, and only the sum runs on the device."""

import functools
import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from keras import ops

from keras_explainable import filters
from keras_explainable.methods.loops import Rows, check_number, check_repetitions, seed_of
from keras_explainable.methods.perturbation import Probe
from keras_explainable.methods.segments import each_image, seen, segment, spread
from keras_explainable.numerics import random
from keras_explainable.registry import explainer
from keras_explainable.runtime.compile_cache import repeats
from keras_explainable.runtime.interruptible import aside

TOGETHER = 256  # coalitions that sums are taken over at once
EPSILON = np.finfo("float64").eps
ENOUGH = 4  # coalitions for each segment, from which on Shapley values correlate by 0.9 with those of very many


def _weigh(probe: Probe, name: str, segments: Any, drawn: Callable) -> Any:
    """Maps of sum over m of C[m] (f(x seen through z_m) - f(x)), z and C being `drawn(n)` for n segments; C's columns
    must say nothing of a constant f."""
    labels, counts = segment(probe.view, segments)
    rows = each_image(counts, drawn)

    def combine(change, masks, live, z, weights):
        return (ops.matmul(ops.transpose(weights, (1, 2, 0)), change),)  # (G, n, P) and (B, P, K)

    (values,) = probe.sum(name, lambda z, weights, places: seen(z, places), rows, combine, labels)
    return spread(values, labels)


@repeats
@explainer(
    "perturbation", "black box", "(1 + n) forward", "arXiv:1602.04938", postprocessing=filters.positive_normalize
)
def lime(
    model: Any,
    inputs: Any,
    indices: Any = None,
    score: Any = None,
    *,
    repetitions: int = 500,
    segments: Any = 7,
    width: float = 0.25,
    ridge: float = 1.0,
    baseline: Any = "mean",
    at_once: int | None = None,
    seed: int | None = None,
) -> tuple:
    """What each segment adds to the score, in a linear model fitted near the image.

    maps = w_j on segment j, (w, c) = argmin sum_m pi_m (f(x seen through z_m) - c - <w, z_m>)^2 + ridge |w|^2

    Each segment is seen with probability 1/2, all of them in the first z; pi = exp(-d^2 / (2 width^2)),
    d = 1 - cos(z, 1).

    Args:
        repetitions: the number of z.
        segments: cells of a grid along all axes or each; "slic" for superpixels by scikit-image; labels (*S) or (B, *S)
            of pixels; or a function from images (B, *S, C) to labels.
        baseline, at_once: see `ke.methods.perturbation`.

    Reference: Ribeiro et al., "Why Should I Trust You?", arXiv:1602.04938.
    """
    check_repetitions(repetitions)
    check_number("width", width, lambda w: w > 0, "a positive width")
    check_number("ridge", ridge, lambda r: 0 <= r < math.inf, "a number, 0 or more,")
    seed = seed_of(seed)
    probe = Probe(model, inputs, indices, score, baseline, at_once)

    def drawn(n):
        some = Rows(repetitions, lambda start, stop: [lime_rows(stop - start, n, seed, start)])
        coefficients = lime_coefficients(some, n, width, ridge)

        def rows(start, stop):
            (z,) = some.drawn(start, stop)
            return [z, coefficients(z)]

        return Rows(repetitions, rows)

    return probe.scores, _weigh(probe, "lime", segments, drawn)


def lime_rows(number: int, n: int, seed: int, first: int = 0) -> np.ndarray:
    """Which of n segments are seen: all, then each with probability 1/2; from row `first` on."""
    z = (random.on_host((number, n), seed, first=first * n) < 0.5).astype("float64")
    z[: 1 if first == 0 else 0] = 1
    return z


def lime_coefficients(some: Rows, n: int, width: float, ridge: float) -> Callable:
    """C: the weighted ridge regression with an intercept, as a function of its targets. It is linear in these, and C of
    some rows z (M, n) is a function of them and of sums over all."""

    def weight(z):
        distance = 1 - np.sqrt(z.mean(axis=1))  # of 0 or 1s: cos(z, 1) = sqrt(mean z)
        return np.exp(-np.square(distance / width) / 2)

    total, first, second = 0.0, np.zeros(n), np.zeros((n, n))  # of weights, of weighted z, and of weighted z z'
    for (z,) in _parts(some):
        pi = weight(z)
        total, first, second = total + pi.sum(), first + pi @ z, second + (z * pi[:, None]).T @ z
    mean = first / total
    scatter = second - total * np.outer(mean, mean) + ridge * np.eye(n)
    inverse = _inverse(scatter)
    return lambda z: weight(z)[:, None] * (z - mean) @ inverse


def _parts(rows: Rows) -> Iterator[list[np.ndarray]]:
    """All rows, some at a time."""
    for start in range(0, rows.number, TOGETHER):
        yield rows.drawn(start, min(start + TOGETHER, rows.number))


def _inverse(a: np.ndarray) -> np.ndarray:
    """Moore and Penrose's inverse of a symmetric matrix: solutions of least norm where it is singular."""
    return aside(np.linalg.pinv, a, rcond=len(a) * EPSILON, hermitian=True)


@repeats
@explainer(
    "perturbation", "black box", "(2 + n) forward", "arXiv:1705.07874", postprocessing=filters.positive_normalize
)
def kernel_shap(
    model: Any,
    inputs: Any,
    indices: Any = None,
    score: Any = None,
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
    probe = Probe(model, inputs, indices, score, baseline, at_once)

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

    return probe.scores, _weigh(probe, "kernel_shap", segments, drawn)


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
    for z, weights in _parts(some):
        weighted = weights[:, None] * z
        second, rest = second + weighted.T @ z, rest + (1 - z.mean(axis=1)) @ weighted
    off = np.eye(n) - 1 / n  # the projection on what sums to zero
    solved = _inverse(off @ second @ off)
    return -(1 / n + rest @ solved), lambda z, weights: weights[:, None] * z @ solved
