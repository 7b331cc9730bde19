"""Where a cotangent goes on its way back through a model: layer by layer, by rules, and nowhere unnoticed."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
from keras import ops

from keras_explainable import backend
from keras_explainable.errors import LayerError
from keras_explainable.models import kinds
from keras_explainable.models.taps import IMAGES, Call, Point, Taps, Trace


class Rule(NamedTuple):
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


class Wiring:
    """Rules for a run of a model."""

    def __init__(self, rules: Sequence[Rule]) -> None:
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


def _in_float(rule: Rule, inputs: tuple, output: Any) -> Callable:
    *dtypes, made = (keras.backend.standardize_dtype(value.dtype) for value in (*inputs, output))
    if {*dtypes, made} == {"float32"}:
        return rule.send

    def sent(g, inputs, output):
        inputs = None if inputs is None else tuple(ops.cast(value, "float32") for value in inputs)
        output = None if output is None else ops.cast(output, "float32")
        new = rule.send(ops.cast(g, "float32"), inputs, output)
        return [ops.cast(value, dtype) for value, dtype in zip(new, dtypes, strict=True)]

    return sent


class Step(NamedTuple):
    """A call that a score depends on: what it does, and what its fused activation does, if that is on the way."""

    call: Call
    role: str | None
    fused: str | None
    reached: tuple[Point, ...] = ()  # those of its inputs that depend on the images
    fixed: tuple[Point, ...] = ()  # those that depend on weights alone
    indexed: bool = False  # whether some that are no floating numbers do, as rows of a table

    @property
    def inputs(self) -> tuple[Point, ...]:
        return tuple(point for point, _ in self.call.signals if point.link == "input")

    @property
    def name(self) -> str:
        """For messages."""
        return f"{self.call.path} ({self.call.kind})"


def steps(
    taps: Taps,
    trace: Trace,
    target: Point | None,
    stop: Point | None = None,
    roots: Sequence[int] | None = None,
    still: Callable[[Sequence[Point]], bool] = lambda points: False,
) -> list[Step]:
    """The calls between the images, or the signal at `stop`, and the scores, in execution order. Without a target the
    scores are the values `roots`, or all outputs. `still(points)` tells by trying whether the signals at some points do
    not depend on the images, where it is not known what made them.

    Raises:
        LayerError: between two of them is an operation that is no layer.
    """
    waiting: list[tuple[int, str]] = [
        (value, "the model's output") for value in (trace.outputs if roots is None else roots)
    ]
    found: set[tuple[str, int]] = set()
    bare = None  # the call whose fused activation is behind the scores
    if target is not None:
        call = trace.at(target)
        if call is None:
            raise LayerError(f"{target} is not part of the model's forward pass.")
        waiting = [(call.inputs[0] if target.link == "input" else call.outputs[0], str(target))]
        bare = (call.path, call.call) if target.link == "linear" else None
    start = trace.at(stop) if stop else None
    whole: set[int] = set().union(*(call.integers for call in trace.calls))
    ends = {IMAGES, *(start.outputs if start else ())}
    while waiting:
        value, user = waiting.pop()
        if value in trace.beside or value in ends:
            continue
        call = _maker(taps, trace, value)
        if call is None and value in whole:
            continue  # numbers of rows of a table, made before the model ran: no gradient goes there
        if call is None and (taken := _taking(trace, value)) and still(taken):
            continue  # a table that was kept, or written into
        if call is None:
            raise LayerError(
                f"Before {user} an operation takes place that is no layer, and what it does to a relevance is not "
                "known: make it a layer (keras.layers.ReLU, Add, Flatten, ...; torch.nn.ReLU, ...)."
            )
        if (call.path, call.call) in found:
            continue
        found.add((call.path, call.call))
        waiting.extend((number, call.path) for number in call.inputs)
    reached, made = ends, []
    for c in trace.calls:
        if (c.path, c.call) not in found or reached.isdisjoint(c.inputs) or (role := taps.role(c)) == "blank":
            continue
        indexed = not reached.isdisjoint(c.integers)
        reached.update(c.outputs)
        fused = (kinds.of_name(c.activation) or "unknown") if c.activation and (c.path, c.call) != bare else None
        inputs = tuple(p for p, _ in c.signals if p.link == "input" and c.inputs[p.part] in reached)
        fixed = tuple(p for p, _ in c.signals if p.link == "input" and c.inputs[p.part] in trace.fixed)
        made.append(Step(c, _role(c, role, inputs), fused, inputs, fixed, indexed))
    return made


def _role(call: Call, role: str | None, reached: tuple[Point, ...]) -> str | None:
    """What a call does, by which of its inputs depend on the images: a product of one with weights is linear."""
    if _scales(call, role, reached):
        return "scaling"
    if role is None and call.operation and call.kind.lower() == "max" and _reduces(call):
        return "maximum"
    weighted = role == "product" and call.operation and len(reached) == 1 and reached[0].part < 2 <= len(call.inputs)
    return kinds.WEIGHTED.get(call.kind, role) if weighted and len(call.signals) == 1 + len(call.inputs) else role


def _scales(call: Call, role: str | None, reached: tuple[Point, ...]) -> bool:
    """Whether each number is multiplied by one that does not depend on the images, or divided by it."""
    if len(reached) != 1 or dict(call.signals)[reached[0]] != call.shape:
        return False
    return call.kind in kinds.TIMES or (role == "quotient" and len(call.inputs) == 2 and reached[0].part == 0)


def _taking(trace: Trace, value: int) -> list[Point]:
    """Where a value comes in as floating numbers."""
    inputs = ((call, p) for call in trace.calls for p, _ in call.signals if p.link == "input")
    return [point for call, point in inputs if point.part < len(call.inputs) and call.inputs[point.part] == value]


def _reduces(call: Call) -> bool:
    """Whether fewer numbers come out than go in, of one signal alone: of a maximum, along an axis."""
    sizes = [math.prod(shape) for point, shape in call.signals if point.link == "input"]
    return len(call.inputs) == len(sizes) == 1 and math.prod(call.shape) < sizes[0]


def _maker(taps: Taps, trace: Trace, value: int) -> Call | None:
    """The call that made a value: of attention the whole layer, which is known, and not the last one inside."""
    made = (c for c in trace.calls if c.holds_calls and value in c.outputs and value not in c.inputs)
    return next((c for c in made if taps.role(c) == "attention"), trace.producer(value))
