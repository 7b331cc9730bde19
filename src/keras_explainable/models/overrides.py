"""Rules that replace the backward pass at chosen signals of a model."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
from keras import ops

from keras_explainable import backend
from keras_explainable.models.trace import Point


class Override(NamedTuple):
    """A rule by which the cotangent g that arrives at the signal `at` goes to the signals `of`: `backward(g, inputs,
    output) -> cotangents of the inputs`, all in float32.

    With `of` = (at,) only the arriving cotangent is changed, and the layer keeps its own gradient. The model continues
    with the signal, or with `forward(signal)`, which is then the output. `backward` gets the signals that `keeps` names
    ("inputs", "output"), and None for the others."""

    at: Point
    of: tuple[Point, ...]
    backward: Callable[..., Sequence]
    forward: Callable[[Any], Any] | None = None
    keeps: tuple[str, ...] = ("inputs", "output")
    again: Point | None = None  # the "again" point of the call that `backward` repeats; passed to it as first argument


class Overrides:
    """The rules for a run of a model."""

    def __init__(self, rules: Sequence[Override]) -> None:
        self.rules = {rule.at: rule for rule in rules}
        self.sources = frozenset(point for rule in rules for point in rule.of if point != rule.at)
        self.seen = frozenset(point for rule in rules if "inputs" in rule.keeps for point in rule.of)
        self.points = self.sources | self.rules.keys() | {rule.again for rule in rules if rule.again}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Overrides) and self.rules == other.rules

    def __hash__(self) -> int:
        return hash(frozenset(self.rules))

    def start(self) -> Callable[[Point, Any], Any]:
        """A tap for one run that applies the rules."""
        kept: dict[Point, Any] = {}

        def rewire(point, value):
            if point.link == "again":
                kept[point] = value
                return value
            rule = self.rules.get(point)
            if rule is not None:
                value = ops.copy(value) if point.link == "input" else value  # other layers may use it as well
                if rule.again is not None:
                    rule = rule._replace(backward=functools.partial(rule.backward, kept[rule.again]))
                inputs = tuple(kept.get(p, value) for p in rule.of)
                output = rule.forward(value) if rule.forward else value
                value = backend.reroute(inputs, output, _in_float(rule, inputs, output), rule.keeps)
            if point in self.sources:  # a copy, since later layers may work in place
                kept[point] = ops.copy(value) if point in self.seen else backend.stand_in(value)
            return value

        return rewire


def _in_float(rule: Override, inputs: tuple, output: Any) -> Callable:
    *dtypes, made = (keras.backend.standardize_dtype(value.dtype) for value in (*inputs, output))
    if {*dtypes, made} == {"float32"}:
        return rule.backward

    def sent(g, inputs, output):
        inputs = None if inputs is None else tuple(ops.cast(value, "float32") for value in inputs)
        output = None if output is None else ops.cast(output, "float32")
        new = rule.backward(ops.cast(g, "float32"), inputs, output)
        return [ops.cast(value, dtype) for value, dtype in zip(new, dtypes, strict=True)]

    return sent
