"""How much of a score's variation under random covering is due to each segment of the image."""

from typing import Any

import numpy as np
from keras import ops

from keras_explainable import filters, random
from keras_explainable.compiling import repeats
from keras_explainable.methods.loops import AT_ONCE, check_repetitions
from keras_explainable.methods.perturbation import Probe
from keras_explainable.methods.segments import seen, segment, spread
from keras_explainable.progress import counted
from keras_explainable.registry import explainer


def _divide(a: Any, b: Any) -> Any:
    """a / b, 0 where b is."""
    return ops.where(b > 0, a / ops.where(b > 0, b, ops.ones_like(b)), ops.zeros_like(a))


@repeats
@explainer(
    "perturbation", "black box", "(1 + n (1 + segments)) forward", "arXiv:2111.04138", postprocessing=filters.normalize
)
def sobol(
    model: Any,
    inputs: Any,
    indices: Any = None,
    score: Any = None,
    *,
    repetitions: int = 16,
    segments: Any = 7,
    baseline: Any = "mean",
    at_once: int = AT_ONCE,
    seed: int | None = None,
) -> tuple:
    """How large a part each segment has, alone or with others, in how the score varies when all are covered at random.

    maps = S_j on segment j, S_j = 1/(2n) sum_i (f(A_i) - f(A_i with B_i's entry j))^2 / var f

    with A, B (n, segments) uniform in (0, 1): how much of each segment is seen, the rest being the baseline; var f is
    that of all evaluations. These are Jansen's estimates of the total-order Sobol indices.

    Args:
        repetitions: n; each takes one evaluation and one for each segment.
        segments: see `lime`.
        baseline, at_once: see `ke.methods.perturbation`.

    Reference: Fel et al., Look at the Variance!, arXiv:2111.04138.
    """
    check_repetitions(repetitions)
    probe = Probe(model, inputs, indices, score, baseline, at_once)
    labels, n = segment(probe.view, segments)
    changes = probe.changes("sobol", seen, labels)
    a, b = (random.on_host((repetitions, n), seed or 0, 0, stream) for stream in (0, 1))
    shift: Any = None
    sums: list[Any] = [0.0, 0.0, 0.0]
    for i in counted(range(repetitions)):  # running sums, of f less a value of it: nothing grows with the repetitions
        f = changes(np.concatenate([a[i : i + 1], np.where(np.eye(n, dtype=bool), b[i], a[i])]))
        shift = f[:, :1] if shift is None else shift
        new = (ops.sum(f - shift, axis=1), ops.sum(ops.square(f - shift), axis=1), ops.square(f[:, :1] - f[:, 1:]))
        sums = [total + part for total, part in zip(sums, new, strict=True)]
    count = repetitions * (n + 1)
    variance = (sums[1] / count - ops.square(sums[0] / count))[:, None]
    return probe.scores, spread(_divide(sums[2] / (2 * repetitions), variance), labels)


@repeats
@explainer("perturbation", "black box", "(1 + n) forward", "arXiv:2206.06219", postprocessing=filters.normalize)
def hsic(
    model: Any,
    inputs: Any,
    indices: Any = None,
    score: Any = None,
    *,
    repetitions: int = 500,
    segments: Any = 7,
    baseline: Any = "mean",
    at_once: int = AT_ONCE,
    seed: int | None = None,
) -> tuple:
    """How strongly the score depends on whether a segment is seen, in whatever way: a kernel measure of dependence.

    maps = HSIC_j on segment j, HSIC_j = tr(K_j H L H) / (n - 1)^2, H = I - 1/n

    K_j = [z_ij = z_i'j], each segment being seen with probability 1/2, and L = exp(-(f_i - f_i')^2 / (2 var f)). Scores
    of all masks are kept, maps are not.

    Args:
        repetitions: n, the number of masks.
        segments: see `lime`.
        baseline, at_once: see `ke.methods.perturbation`.

    Reference: Novello et al., Making Sense of Dependence, arXiv:2206.06219.
    """
    check_repetitions(repetitions)
    probe = Probe(model, inputs, indices, score, baseline, at_once)
    labels, n = segment(probe.view, segments)
    z = (random.on_host((repetitions, n), seed or 0) < 0.5).astype("float32")
    f = probe.changes("hsic", seen, labels)(z)
    # Centred, K_j is 2 c c' with c = z_j - mean z_j: the trace is a quadratic form.
    c = ops.convert_to_tensor(z - z.mean(axis=0))

    def dependence(f):
        kernel = ops.exp(-_divide(ops.square(f[:, None] - f), 2 * ops.var(f)))
        return 2 * ops.sum(c * (kernel @ c), axis=0) / max(repetitions - 1, 1) ** 2

    columns = ops.reshape(ops.moveaxis(f, 1, -1), (-1, repetitions))
    values = ops.reshape(ops.map(dependence, columns), (-1, f.shape[-1], n))
    return probe.scores, spread(ops.moveaxis(values, 1, -1), labels)
