"""Where a cotangent goes on its way back through a model: layer by layer, by rules, and nowhere unnoticed."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
from keras import ops

from keras_explainable import backend
from keras_explainable.models.trace import Point


class Override(NamedTuple):
    """What arrives at a signal goes on to others as `send(g, inputs, output) -> cotangents of the inputs`, all float32.

    With `of` = (at,) it is the arriving cotangent that is changed, and the layer keeps its own gradient. What the model
    goes on with is the signal itself, or `instead(signal)`, which is then the output. Signals are kept for `send` as
    far as it `looks` at them, and else it gets None."""

    at: Point
    of: tuple[Point, ...]
    send: Callable[..., Sequence]
    instead: Callable[[Any], Any] | None = None
    looks: tuple[str, ...] = ("inputs", "output")
    again: Point | None = None  # of the call that `send` makes again: it gets that first


class Overrides:
    """Rules for a run of a model."""

    def __init__(self, rules: Sequence[Override]) -> None:
        self.rules = {rule.at: rule for rule in rules}
        self.sources = frozenset(point for rule in rules for point in rule.of if point != rule.at)
        self.seen = frozenset(point for rule in rules if "inputs" in rule.looks for point in rule.of)
        self.points = self.sources | self.rules.keys() | {rule.again for rule in rules if rule.again}

    def start(self) -> Callable[[Point, Any], Any]:
        """A tap for one run, which puts the rules in place."""
        kept: dict[Point, Any] = {}

        def rewire(point, value):
            if point.link == "again":
                kept[point] = value
                return value
            rule = self.rules.get(point)
            if rule is not None:
                value = ops.copy(value) if point.link == "input" else value  # others may take it as well
                if rule.again is not None:
                    rule = rule._replace(send=functools.partial(rule.send, kept[rule.again]))
                inputs = tuple(kept.get(p, value) for p in rule.of)
                output = rule.instead(value) if rule.instead else value
                value = backend.reroute(inputs, output, _in_float(rule, inputs, output), rule.looks)
            if point in self.sources:  # as a copy: what follows may work in place
                kept[point] = ops.copy(value) if point in self.seen else backend.stand_in(value)
            return value

        return rewire


def _in_float(rule: Override, inputs: tuple, output: Any) -> Callable:
    *dtypes, made = (keras.backend.standardize_dtype(value.dtype) for value in (*inputs, output))
    if {*dtypes, made} == {"float32"}:
        return rule.send

    def sent(g, inputs, output):
        inputs = None if inputs is None else tuple(ops.cast(value, "float32") for value in inputs)
        output = None if output is None else ops.cast(output, "float32")
        new = rule.send(ops.cast(g, "float32"), inputs, output)
        return [ops.cast(value, dtype) for value, dtype in zip(new, dtypes, strict=True)]

    return sent
