"""Weighted least squares of the effect of segments on a score, shared by LIME and Kernel SHAP."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from keras import ops

from keras_explainable.masking.segments import each_image, seen, segment, spread
from keras_explainable.methods.perturbation.probe import Probe
from keras_explainable.runtime.interruptible import run_in_thread
from keras_explainable.runtime.repetition import Rows

TOGETHER = 256  # coalitions that are summed together


EPSILON = np.finfo("float64").eps


def weigh(probe: Probe, segments: Any, drawn: Callable) -> Any:
    """Maps sum over m of C[m] (f(x masked by z_m) - f(x)), with the coalitions z and coefficients C of `drawn(n)` for n
    segments. The sums must be zero for a constant f."""
    labels, counts = segment(probe.view, segments)
    rows = each_image(counts, drawn)

    (values,) = probe.sum(seen_by_weights, rows, by_weights, labels)
    return spread(values, labels)


def seen_by_weights(z: Any, weights: Any, labels: Any) -> Any:
    """`seen` for rows that also have weights."""
    return seen(z, labels)


def by_weights(change: Any, masks: Any, live: Any, z: Any, weights: Any) -> tuple:
    """The sum (B, n, K) over P masks of the change of the scores (B, P, K) times the weights (P, G, n)."""
    return (ops.matmul(ops.transpose(weights, (1, 2, 0)), change),)


def parts(rows: Rows) -> Iterator[list[np.ndarray]]:
    """All rows, `TOGETHER` at a time."""
    for start in range(0, rows.number, TOGETHER):
        yield rows.drawn(start, min(start + TOGETHER, rows.number))


def pseudo_inverse(a: np.ndarray) -> np.ndarray:
    """The Moore-Penrose inverse of a symmetric matrix, which gives solutions of least norm if it is singular."""
    return run_in_thread(np.linalg.pinv, a, rcond=len(a) * EPSILON, hermitian=True)
