"""Linear models of what segments of an image do for a score: which are seen is the input, the score the output.

Their weights are linear in the scores: weights[j] = sum over m of C[m, j] f(x seen through z_m), with coefficients C
that are known from the coalitions z (M, n) alone. These are computed on the host in double precision, for images of
each number of segments n, and only the sum runs on the device."""

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from keras import ops

from keras_explainable import filters, random
from keras_explainable.compiling import repeats
from keras_explainable.methods.loops import check_number, check_repetitions, seed_of
from keras_explainable.methods.perturbation import Probe
from keras_explainable.methods.segments import each_image, seen, segment, spread
from keras_explainable.registry import explainer

ENOUGH = 4  # coalitions for each segment, from which on Shapley values correlate by 0.9 with those of very many


def _weigh(probe: Probe, name: str, segments: Any, drawn: Callable) -> Any:
    """Maps of sum over m of C[m] (f(x seen through z_m) - f(x)), z and C being `drawn(n)` for n segments; C's columns
    must say nothing of a constant f."""
    labels, counts = segment(probe.view, segments)

    def combine(change, masks, live, z, weights):
        return (ops.matmul(ops.transpose(weights, (1, 2, 0)), change),)  # (G, n, P) and (B, P, K)

    rows = each_image(counts, drawn)
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
    check_number("ridge", ridge, lambda r: r >= 0, "a number, 0 or more,")
    seed = seed_of(seed)
    probe = Probe(model, inputs, indices, score, baseline, at_once)

    def drawn(n):
        z = lime_rows(repetitions, n, seed)
        return z, lime_coefficients(z, width, ridge)

    return probe.scores, _weigh(probe, "lime", segments, drawn)


def lime_rows(number: int, n: int, seed: int) -> np.ndarray:
    """Which of n segments are seen: all, then each with probability 1/2."""
    z = (random.on_host((number, n), seed) < 0.5).astype("float64")
    z[0] = 1
    return z


def lime_coefficients(z: np.ndarray, width: float, ridge: float) -> np.ndarray:
    """C (M, n): the weighted ridge regression with an intercept, as a function of its targets."""
    distance = 1 - np.sqrt(z.mean(axis=1))  # of 0 or 1s: cos(z, 1) = sqrt(mean z)
    pi = np.exp(-(distance**2) / (2 * width**2))
    centred = z - (pi @ z) / pi.sum()
    weighted = (centred * pi[:, None]).T
    return np.linalg.lstsq(weighted @ centred + ridge * np.eye(z.shape[1]), weighted, rcond=None)[0].T


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
        z, weights = coalitions(repetitions, n, seed)
        return np.concatenate([np.zeros((1, n)), z]), shapley_coefficients(z, weights)

    return probe.scores, _weigh(probe, "kernel_shap", segments, drawn)


def coalitions(number: int, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """All coalitions (M, n) of n segments but the empty and the full one, with their weights, where there are at most
    `number`; or so many that are drawn in proportion to them."""
    if n < 2:
        return np.zeros((0, n)), np.zeros(0)
    if n < 60 and 2**n - 2 <= number:
        z = (np.arange(1, 2**n - 1)[:, None] >> np.arange(n) & 1).astype("float64")
        size = z.sum(axis=1).astype(int)
        return z, np.array([(n - 1) / (math.comb(n, s) * s * (n - s)) for s in size])
    share = np.cumsum([1 / (s * (n - s)) for s in range(1, n)])
    half = -(-number // 2)
    size = 1 + np.searchsorted(share / share[-1], random.on_host((half,), seed, 0, 0).astype("float64"))
    rank = np.argsort(np.argsort(random.on_host((half, n), seed, 0, 1), axis=1, kind="stable"), axis=1)
    z = (rank < np.minimum(size, n - 1)[:, None]).astype("float64")
    return np.stack([z, 1 - z], axis=1).reshape(-1, n)[:number], np.ones(number)


def shapley_coefficients(z: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """C (1 + M, n) for the changes f(0) - f(x) and f(z) - f(x): the regression, of least norm where it is undetermined,
    in phi = D/n + U psi, D = f(x) - f(0), U a basis of what sums to zero."""
    n = z.shape[1]
    basis = np.linalg.svd(np.ones((1, n)))[2][1:].T
    root = np.sqrt(weights)[:, None]
    solved = (
        basis @ np.linalg.pinv(root * (z @ basis), rcond=1e-8) * root.T
    )  # (n, M), of targets f(z) - f(0) - D |z| / n
    of_none = -(1 / n + solved @ (1 - z.mean(axis=1)))
    return np.concatenate([of_none[:, None], solved], axis=1).T
