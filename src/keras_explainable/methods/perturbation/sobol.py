"""Sobol indices: the part of the variance of the score under random masks that is due to each segment."""

from typing import Any

import numpy as np
from keras import ops

from keras_explainable import filters
from keras_explainable.masking.segments import each_image, seen, segment, spread
from keras_explainable.methods.explainer import explainer
from keras_explainable.methods.perturbation.probe import Probe
from keras_explainable.models import View
from keras_explainable.numerics import random
from keras_explainable.numerics.arithmetic import divide
from keras_explainable.runtime.progress import counted
from keras_explainable.runtime.repetition import Rows, check_passes
from keras_explainable.runtime.validation import check_repetitions, seed_of

MOST_COMPARED = 100_000  # masks: comparing all pairs of this many takes a minute for each image and unit


@explainer(
    "perturbation",
    "black box",
    "(1 + n (1 + segments)) forward",
    "arXiv:2111.04138",
    postprocessing=filters.normalize,
    repeats=True,
)
def sobol(
    view: View,
    *,
    repetitions: int = 16,
    segments: Any = 7,
    baseline: Any = "mean",
    at_once: int | None = None,
    seed: int | None = None,
) -> tuple:
    """The total-order Sobol index of each segment: its part, alone or with others, of the score's variance.

    maps = S_j on segment j, S_j = 1/(2n) sum_i (f(A_i) - f(A_i with entry j of B_i))^2 / var f

    A and B (n, segments) are uniform in (0, 1): the opacity of each segment over the baseline. var f is the variance of
    all evaluations. This is Jansen's estimate. The authors' code differs: A and B come from a quasi-Monte Carlo
    sequence, var f is the variance of f(A) only, and maps are resized smoothly.

    Args:
        repetitions: n. Each repetition takes one evaluation, and one more for each segment.
        segments, baseline, at_once, seed: see `ke.methods.perturbation`.

    Reference: Fel et al., Look at the Variance!, arXiv:2111.04138.
    """
    check_repetitions(repetitions)
    seed = seed_of(seed)
    probe = Probe(view, baseline, at_once, seed)
    labels, counts = segment(view, segments)
    changes = probe.changes(seen, labels)
    n, number = max(counts), np.array(counts)[:, None]
    check_passes(f"{repetitions:,} repetitions for {n} segments", repetitions * (1 + n), "give fewer of either")

    def drawn(n):
        streams = (0, 1)
        return Rows(repetitions, lambda i, end: [random.on_host((end - i, n), seed, 0, s, i * n) for s in streams])

    rows = each_image(counts, drawn)
    own = ops.convert_to_tensor((np.arange(n + 1) <= number).astype("float32"))[..., None]  # evaluations (G, 1 + n, 1)
    shift: Any = None
    sums: list[Any] = [0.0, 0.0, 0.0]
    for i in counted(range(repetitions)):  # running sums of f minus its first value, so that memory does not grow
        a, b = rows.drawn(i, i + 1)
        f = changes(Rows.of([np.concatenate([a, np.where(np.eye(n, dtype=bool)[:, None], b, a)])]))
        shift = f[:, :1] if shift is None else shift
        centred = own * (f - shift)
        new = (ops.sum(centred, axis=1), ops.sum(ops.square(centred), axis=1), ops.square(f[:, :1] - f[:, 1:]))
        sums = [total + part for total, part in zip(sums, new, strict=True)]
    count = ops.convert_to_tensor((repetitions * (number + 1)).astype("float32"))
    variance = (sums[1] / count - ops.square(sums[0] / count))[:, None]
    return probe.scores, spread(divide(sums[2] / (2 * repetitions), variance), labels)
