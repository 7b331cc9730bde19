"""Rules that distribute the difference of the outputs of a nonlinear function to the differences of its inputs.

The contributions add up to the difference of the outputs. Each rule uses the signals of the images and those of the
baseline (`at_baseline`, with the index 0 in equations)."""

import math
from collections.abc import Mapping
from typing import Any

from keras import ops

from keras_explainable import backend
from keras_explainable.methods.propagation import normalised
from keras_explainable.models import Adapter, Override, Point, Step
from keras_explainable.models.layer_roles import TIMES

Baseline = Mapping[Point, Any]


def product(step: Step, at_baseline: Baseline) -> Override:
    """x y: the difference of x times (y + y0) / 2, and that of y times (x + x0) / 2. This is the mean of what each adds
    alone and what it adds after the other."""

    def backward(again, g, inputs, output):
        half = {p.part: (x + at_baseline[p]) / 2 for p, x in zip(step.reached, inputs, strict=True)}
        times = step.call.kind in TIMES

        def run(part, v):
            tensors = half | {part: v}
            return ops.multiply(*tensors.values()) if times else again(tensors)

        return [backend.vjp(lambda v, part=part: run(part, v), x)[1](g) for part, x in half.items()]

    again = step.call.output._replace(link="again")
    return Override(step.call.output, step.reached, backward, keeps=("inputs",), again=again)


def quotient(step: Step, at_baseline: Baseline) -> Override:
    """The gradient of z = x / y with y and z replaced by the means of image and baseline. It is exact: the difference
    of x = z y is that of z times mean y plus that of y times mean z."""

    def backward(g, inputs, output):
        (x, y), (x0, y0) = inputs, (at_baseline[p] for p in step.reached)
        z, middle = (x / y + x0 / y0) / 2, (y + y0) / 2
        of_x = backend.vjp(lambda v: v / middle, x)[1](g)
        return of_x, -backend.vjp(lambda v: z * v / middle, y)[1](g)

    return Override(step.call.output, step.reached, backward, keeps=("inputs",))


def normalisation(adapter: Adapter, step: Step, at_baseline: Baseline) -> Override:
    """The gradient with its terms replaced by the means of image and baseline (see `normalised`)."""
    call, point = step.call, step.reached[0]
    if not call.operation:

        def of_layer(g, inputs, output):
            return (normalised.multiplier(adapter.layers.deviation(call.path), inputs[0], at_baseline[point], g),)

        return Override(call.output, (point,), of_layer, keeps=("inputs",))
    deviation = call.output._replace(link="deviation")
    weights = tuple(p for p in step.inputs if p not in step.reached)[:1]
    groups, length = call.kind == "group_norm", call.kind == "normalize"

    def of_function(g, inputs, output):
        x, d, *rest = inputs
        for weight in rest:
            g = g * (ops.reshape(weight, (-1, *(1,) * (len(x.shape) - 2))) if groups else weight)
        centred = not (length or call.kind == "rms_norm")
        found = normalised.multiplier_by_deviations(
            x, at_baseline[point], d, at_baseline[deviation], g, centred, not length, groups
        )
        return found, *map(ops.zeros_like, (d, *rest))

    return Override(call.output, (point, deviation, *weights), of_function, keeps=("inputs",))


def softmax(before: Point, after: Point, axis: int, at_baseline: Baseline) -> Override:
    """s_i - s0_i = L_i (x_i - x0_i - c), where L_i is the logarithmic mean of s_i and s0_i. As s and s0 sum to 1,
    c = sum_j L_j (x_j - x0_j) / sum_j L_j. So L replaces s in the gradient."""

    def backward(g, inputs, output):
        mean = _logarithmic_mean(
            *(v - ops.logsumexp(v, axis=axis, keepdims=True) for v in (inputs[0], at_baseline[before]))
        )
        whole = ops.sum(mean, axis=axis, keepdims=True)
        return (mean * (g - ops.sum(g * mean, axis=axis, keepdims=True) / whole),)

    return Override(after, (before,), backward, keeps=("inputs",))


def _logarithmic_mean(a: Any, b: Any) -> Any:
    """(exp(a) - exp(b)) / (a - b), from the logarithms of probabilities, which do not underflow."""
    given = (a > -math.inf) & (b > -math.inf)  # not masked
    a, b = (ops.where(given, v, 0.0) for v in (a, b))
    near = ops.abs(a - b) < 0.1
    apart = ops.where(near, 1.0, a - b)
    # Where a and b are close: as exact there, and without a difference of close numbers.
    series = (ops.exp(a) + ops.exp(b) + 4 * ops.exp((a + b) / 2)) / 6
    return ops.where(given, ops.where(near, series, (ops.exp(a) - ops.exp(b)) / apart), 0.0)


def attention(step: Step, at_baseline: Baseline) -> list[Override]:
    """The rules of Q K^T, of the softmax, and of the product of probabilities and values."""
    at = {link: step.call.output._replace(link=link) for link in (*COMPARED, "products", "mixed")}

    def of_products(g, inputs, output):
        q, k = ((x + at_baseline[at[link]]) / 2 for link, x in zip(("queries", "keys"), inputs, strict=True))
        return ops.matmul(g, k), ops.matmul(ops.swapaxes(g, -1, -2), q)

    def of_values(g, inputs, output):
        a, v = ((x + at_baseline[at[link]]) / 2 for link, x in zip(("attention", "values"), inputs, strict=True))
        return ops.matmul(g, ops.swapaxes(v, -1, -2)), ops.matmul(ops.swapaxes(a, -1, -2), g)

    return [
        Override(at["products"], (at["queries"], at["keys"]), of_products, keeps=("inputs",)),
        softmax(at["logits"], at["attention"], -1, at_baseline),
        Override(at["mixed"], (at["attention"], at["values"]), of_values, keeps=("inputs",)),
    ]


COMPARED = ("queries", "keys", "logits", "attention", "values")


def compared(step: Step) -> list[Point]:
    """The points of such a step whose signals are also needed for the baseline."""
    output = step.call.output
    if step.role == "attention":
        return [output._replace(link=link) for link in COMPARED]
    deviations = [output._replace(link="deviation")] if step.role == "layernorm" and step.call.operation else []
    return [*step.reached, *deviations]
