"""Products of signals: which factors count as signals, and which as weights."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from keras import ops

from keras_explainable.errors import LayerError
from keras_explainable.models import Override, Point, Step
from keras_explainable.models.layer_roles import LINEAR, TIMES

GATES = ("sigmoid", "softmax")
COMBINING = (*LINEAR, "norm", "scaling", "average", "maximum", "sum", "additive", "moving", "product", "quotient")
INVERSE = ("rsqrt", "Rsqrt", "reciprocal", "Reciprocal")  # a normalisation multiplies a signal by their outputs

Shares = dict[Point, float]


def weights(steps: Sequence[Step], linear_calls: dict, roles: tuple = GATES, kinds: tuple = ()) -> set[int]:
    """The values that count as weights: outputs of sigmoids and softmaxes (or of the given roles or kinds), and
    outputs of linear calls and products whose inputs are all such values."""
    found: set[int] = set()
    for step in steps:
        made = step.role in roles or step.fused in roles or step.call.kind in kinds
        plain = step.fused in (None, "moving") and (step.role in COMBINING or step.call.output[:2] in linear_calls)
        if made or (plain and step.reached and all(step.call.inputs[p.part] in found for p in step.reached)):
            found.update(step.call.outputs)
    return found


def broadcast(step: Step, point: Point) -> bool:
    """Whether a factor is broadcast: one of its numbers belongs to several numbers of the product."""
    return math.prod(dict(step.call.signals)[point]) < math.prod(step.call.shape)


def is_pair(step: Step) -> bool:
    """Whether a step is a product or a quotient of two signals."""
    parts = [point.part for point in step.reached]
    return step.role in ("product", "quotient") and parts == [0, 1]


def divides(step: Step) -> bool:
    """Whether a step divides several numbers of a signal by the same number, as normalisations do."""
    return step.role == "quotient" and is_pair(step) and broadcast(step, step.reached[1])


def shares_of_factors(step: Step, known: set[int]) -> Shares:
    """The share of each factor of a product: 1 for a signal and 0 for a weight, or 1/2 each for two signals.

    Weights are the `known` ones, broadcast factors, and divisors."""
    if step.role == "quotient":
        return dict(zip(step.reached, (1.0, 0.0), strict=True))
    gates = [p for p in step.reached if step.call.inputs[p.part] in known]
    if len(gates) != 1 and step.call.kind in TIMES:
        gates = [p for p in step.reached if broadcast(step, p)]
    if len(gates) != 1:
        return dict.fromkeys(step.reached, 0.5)
    return {p: 0.0 if p in gates else 1.0 for p in step.reached}


def live(steps: Sequence[Step], ends: Iterable[int], dead: Iterable[Point]) -> list[Step]:
    """The steps that relevance reaches from the values `ends` if it does not pass the points `dead`."""
    reached, closed, found = set(ends), frozenset(dead), []
    for step in reversed(steps):
        if reached.isdisjoint(step.call.outputs):
            continue
        found.append(step)
        reached.update(step.call.inputs[point.part] for point in step.reached if point not in closed)
    return found[::-1]


def stopped(point: Point) -> Override:
    """A rule that propagates nothing."""
    return Override(point, (point,), _nothing, keeps=())


def _nothing(g: Any, inputs: tuple, output: Any) -> tuple:
    return (ops.zeros_like(g),)


def part(point: Point, share: float) -> Override:
    """A rule that propagates this share of what arrives."""
    return Override(point, (point,), lambda g, inputs, output: (g * share,), keeps=()) if share else stopped(point)


def value_of_attention(step: Step) -> Point:
    """The point of the values (V) of an attention.

    Raises:
        LayerError: they do not depend on the images.
    """
    place = 2 if step.call.operation else 1  # query, key, value; a layer of Keras has query, value, key
    found = [point for point in step.reached if point.part == place]
    if not found:
        raise LayerError(
            f"No rule covers {step.name}: only its probabilities depend on the images, and these count as constants. "
            "Use a gradient, or `attnlrp`."
        )
    return found[0]
