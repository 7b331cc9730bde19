"""The decomposition of a score into the contributions of the input and of all biases."""

from typing import Any, NamedTuple

import numpy as np
from keras import ops

from keras_explainable.methods.fullgrad.full_gradients import biases_at
from keras_explainable.models import INPUT, Point, View, opens_view, spatial


class Completeness(NamedTuple):
    """How close the sum of the contributions is to the scores. Every array is (N, K)."""

    scores: Any
    total: Any
    absolute_gap: Any
    relative_gap: Any  # of the larger of |score| and the largest |contribution of a layer|
    contributions: dict  # "input", each (layer path, call), and with implicit biases "operations" -> (N, K)
    unexplained: dict | None = None  # implicit minus explicit, by (layer path, call) and "operations" -> (N, K)

    def __repr__(self) -> str:
        """A few lines: the scores, the sums, and the largest contributions."""
        gap = float(np.max(self.relative_gap, initial=0))
        return "\n".join(
            [
                f"Completeness of {_times(len(self.contributions), 'contribution')}, relative gap at most {gap:.1e}",
                f"scores: {_values(self.scores)}",
                f"total:  {_values(self.total)}",
                *_largest(self.contributions, "contributions"),
                *_largest(self.unexplained or {}, "unexplained by biases"),
            ]
        )


class Decomposition(NamedTuple):
    """The terms of a score: score = sum(input_gradient * x) + sum over layers of sum(bias_gradients)."""

    input_gradient: Any  # (N, K, *S, C)
    bias_gradients: dict  # (layer path, call) -> bias x gradient, (N, K, *S', C')
    completeness: Completeness

    def __repr__(self) -> str:
        """A few lines: shapes, the number of calls, and the completeness."""
        calls, size = _times(len(self.bias_gradients), "call"), _shape(self.input_gradient)
        return "\n".join(
            [
                "Decomposition: score = sum(input_gradient * x) + sum over calls of sum(bias_gradients)",
                f"input_gradient: {size}",
                f"bias_gradients: of {calls} of layers with a bias",
                repr(self.completeness),
            ]
        )


SHOWN = 5  # the number of contributions, and of values of an array, in a summary


def _times(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"


def _shape(array: Any) -> str:
    return " x ".join(map(str, np.shape(array)))


def _values(array: Any) -> str:
    """The shape of an array (N, K) and its first values."""
    flat = np.ravel(array)
    more = ", ..." if flat.size > SHOWN else ""
    return f"{_shape(array)}: {', '.join(f'{v:.4g}' for v in flat[:SHOWN])}{more}"


def _largest(parts: dict, what: str) -> list[str]:
    """Lines for the largest of `parts` {"input" or (path, call): (N, K)}, by mean |value|."""
    sizes = {key: float(np.mean(np.abs(part))) for key, part in parts.items()}
    first = sorted(sizes, key=sizes.__getitem__, reverse=True)[:SHOWN]
    named = [key if isinstance(key, str) else f"{key[0]}, call {key[1]}" for key in first]
    heading = [f"largest {what}, mean |value| over {_shape(next(iter(parts.values())))}:"] if parts else []
    return heading + [f"  {name}: {sizes[key]:.4g}" for name, key in zip(named, first, strict=True)]


@opens_view
def decomposition(view: View) -> tuple:
    """The terms of the scores.

    Returns the scores (B, K); the gradient with respect to the input (B, K, *S, C); bias x gradient (B, K, *S', C') for
    every call of a layer with a bias, in the order of `biased_calls`; and the sums (B, 1 + calls, K) of input x
    gradient and of each of these."""
    points = view.biased()
    biases = biases_at(view, points)
    scores, _, terms = view.jacobian([INPUT, *points], lambda p, g: g * biases[p] if p in biases else g, keep=False)
    g, parts = terms[INPUT], [terms[p] for p in points]
    sums = [ops.sum(v, axis=tuple(range(2, len(v.shape)))) for v in (g * ops.expand_dims(view.x, 1), *parts)]
    return scores, g, parts, ops.stack(sums, axis=1)


def biased_calls(view: View) -> list[tuple[str, int]]:
    """The (layer path, call) of every call of a layer with a bias, in execution order."""
    return [(p.path, p.call) for p in view.biased()]


@opens_view
def implicit_biases(view: View) -> Any:
    """The implicit bias of every call of a layer: what it contributes beyond the part that is linear in its inputs.

    contribution = sum over outputs of <dscore/dy, y> - sum over inputs of <dscore/dx, x>

    The gradient at an input is taken through that call only. The contribution is sum(bias * gradient) for a linear
    layer, 0 for a ReLU, and the effect of curvature or gating for any other layer. Returns (B, 1 + calls, K):
    <dscore/dx, x> of the input first, then the calls in the order of `measured_calls`."""
    layers = _measured(view)
    points = dict.fromkeys([INPUT, *(p for ins, outs in layers.values() for p in (*ins, *outs))])
    _, product = view.products(list(points))
    own = [sum(product[p] for p in outs) - sum(product[p] for p in ins) for ins, outs in layers.values()]
    return ops.stack([product[INPUT], *own], axis=1)


def measured_calls(view: View) -> list[tuple[str, int]]:
    """The (layer path, call) of every call whose implicit bias can be measured, in the order in which they end."""
    return list(_measured(view))


def _measured(view: View) -> dict[tuple[str, int], tuple[list[Point], list[Point]]]:
    """The inputs and outputs of each such call (see `spatial.measured`)."""
    wider = view.adapter.trace((2, *view.inputs.shape[1:]))
    return spatial.measured(view.trace, wider, view.target)


def completeness(scores: Any, sums: Any, calls: list) -> Completeness:
    """The completeness of the contributions `sums` (1 + calls, N, K), of which the first is the input's."""
    total, largest = sums.sum(0), abs(sums).max(0)
    gap = abs(scores - total)
    scale = np.maximum(abs(scores), largest)
    relative = gap / (scale + (scale == 0))
    return Completeness(scores, total, gap, relative, dict(zip(["input", *calls], sums, strict=True)))


def implicit_completeness(scores: Any, sums: Any, calls: list, explicit: Completeness) -> Completeness:
    """The completeness of measured contributions, and their differences from those of the biases.

    What is missing is attributed to "operations"."""
    calls = [*calls, "operations"]
    report = completeness(scores, np.concatenate([sums, (scores - sums.sum(0))[None]]), calls)
    ours, theirs = report.contributions, explicit.contributions
    keys = [key for key in dict.fromkeys([*calls, *theirs]) if key != "input"]
    return report._replace(unexplained={key: ours.get(key, 0) - theirs.get(key, 0) for key in keys})
