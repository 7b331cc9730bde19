"""Weighted least squares of the effect of segments on a score, shared by LIME and Kernel SHAP."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from keras import ops

from keras_explainable.methods.perturbation.probe import Probe
from keras_explainable.methods.perturbation.segments import each_image, seen, segment, spread
from keras_explainable.methods.repetition import Rows
from keras_explainable.runtime.interruptible import aside

TOGETHER = 256  # coalitions that sums are taken over at once


EPSILON = np.finfo("float64").eps


def weigh(probe: Probe, segments: Any, drawn: Callable) -> Any:
    """Maps of sum over m of C[m] (f(x seen through z_m) - f(x)), z and C being `drawn(n)` for n segments; C's columns
    must say nothing of a constant f."""
    labels, counts = segment(probe.view, segments)
    rows = each_image(counts, drawn)

    (values,) = probe.sum(seen_by_weights, rows, by_weights, labels)
    return spread(values, labels)


def seen_by_weights(z: Any, weights: Any, labels: Any) -> Any:
    """`seen`, of rows that have weights besides."""
    return seen(z, labels)


def by_weights(change: Any, masks: Any, live: Any, z: Any, weights: Any) -> tuple:
    """The sum over P masks of the change of scores (B, P, K) times weights (P, G, n): (B, n, K)."""
    return (ops.matmul(ops.transpose(weights, (1, 2, 0)), change),)


def parts(rows: Rows) -> Iterator[list[np.ndarray]]:
    """All rows, some at a time."""
    for start in range(0, rows.number, TOGETHER):
        yield rows.drawn(start, min(start + TOGETHER, rows.number))


def pseudo_inverse(a: np.ndarray) -> np.ndarray:
    """Moore and Penrose's inverse of a symmetric matrix: solutions of least norm where it is singular."""
    return aside(np.linalg.pinv, a, rcond=len(a) * EPSILON, hermitian=True)
