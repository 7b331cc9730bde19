"""HSIC attribution: the dependence of the score on the visibility of each segment."""

from typing import Any

import numpy as np
from keras import ops

from keras_explainable import filters
from keras_explainable.masking.segments import each_image, seen, segment, spread
from keras_explainable.methods.explainer import explainer
from keras_explainable.methods.perturbation.probe import Probe
from keras_explainable.methods.perturbation.sobol import MOST_COMPARED
from keras_explainable.models import View
from keras_explainable.numerics import random
from keras_explainable.numerics.arithmetic import divide
from keras_explainable.runtime.memory import check_fits
from keras_explainable.runtime.repetition import Rows, steps_of, total_of
from keras_explainable.runtime.validation import check_repetitions, seed_of

KERNEL_AT_ONCE = 1 << 20  # values of the kernel of scores that are computed together


@explainer(
    "perturbation", "black box", "(1 + n) forward", "arXiv:2206.06219", postprocessing=filters.normalize, repeats=True
)
def hsic(
    view: View,
    *,
    repetitions: int = 500,
    segments: Any = 7,
    baseline: Any = "mean",
    at_once: int | None = None,
    seed: int | None = None,
) -> tuple:
    """The Hilbert-Schmidt independence criterion (HSIC) of the score and the visibility of each segment.

    maps = HSIC_j on segment j, HSIC_j = tr(K_j H L H) / (n - 1)^2, H = I - 1/n

    It measures any kind of dependence. K_j = [z_ij = z_i'j], with each segment visible with probability 1/2, and
    L = exp(-(f_i - f_i')^2 / (2 var f)). The scores of all masks are kept, maps and kernels are not: memory grows with
    n, time with n^2. The authors' code differs: its masks come from a Latin hypercube or a quasi-Monte Carlo sequence,
    L uses the median of f in place of its standard deviation, and the trace is divided by n.

    Args:
        repetitions: n, the number of masks.
        segments, baseline, at_once, seed: see `ke.methods.perturbation`.

    Reference: Novello et al., Making Sense of Dependence, arXiv:2206.06219.
    """
    check_repetitions(repetitions, MOST_COMPARED)
    seed = seed_of(seed)
    probe = Probe(view, baseline, at_once, seed)
    labels, counts = segment(view, segments)
    kept = 16.0 * repetitions * len(counts) * max(counts)
    check_fits(f"{repetitions:,} masks of {max(counts)} segments", kept, "give fewer repetitions= or segments=")

    def drawn(n):
        return Rows(repetitions, lambda i, end: [random.on_host((end - i, n), seed, first=i * n) < 0.5])

    rows = each_image(counts, drawn)
    f = ops.moveaxis(probe.changes(seen, labels)(rows), 1, -1)  # (B, K, M)
    (z,) = rows.drawn(0, repetitions)
    # Centred, K_j is 2 c c' with c = z_j - mean z_j: the trace is a quadratic form.
    values = 2 * quadratic_form(f, np.moveaxis(z - z.mean(axis=0), 0, 1), view.batch)
    values = values / max(repetitions - 1, 1) ** 2
    return probe.scores, spread(ops.moveaxis(values, 1, -1), labels)


def quadratic_form(f: Any, c: np.ndarray, batch: Any) -> Any:
    """c_j' L c_j (B, K, n) with c (G, M, n) and the kernel L of scores f (B, K, M), by blocks of rows of L."""
    units, number = f.shape[1:]
    steps, rows = steps_of(number, batch * units * number, KERNEL_AT_ONCE)
    fill = steps * rows - number
    width = 2 * ops.var(f, axis=-1)[..., None, None]
    scale, all_c = divide(ops.ones_like(width), width), ops.convert_to_tensor(c[:, None] if len(c) > 1 else c[0])

    def part(some_f, some_c):
        near = ops.exp(-scale * ops.square(some_f[..., None] - f[:, :, None]))  # (B, K, rows, M)
        return (ops.sum(some_c * ops.matmul(near, all_c), axis=2),)

    some_f = ops.reshape(ops.pad(f, [(0, 0), (0, 0), (0, fill)]), (-1, units, steps, rows))
    some_c = np.pad(c, [(0, 0), (0, fill), (0, 0)]).reshape(len(c), 1, steps, rows, -1)
    blocks = [ops.moveaxis(some_f, 2, 0), ops.convert_to_tensor(np.moveaxis(some_c, 2, 0))]
    return total_of(part, blocks, f)[0]
