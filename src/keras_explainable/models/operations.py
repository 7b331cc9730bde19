"""The steps of a trace through which methods propagate relevance or other values."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from keras_explainable.errors import LayerError
from keras_explainable.models import layer_roles
from keras_explainable.models.contract import Adapter
from keras_explainable.models.trace import IMAGES, Call, Point, Trace


class Step(NamedTuple):
    """A call that a score depends on, its role, and the role of its fused activation if that is on the way to the
    score."""

    call: Call
    role: str | None
    fused: str | None
    reached: tuple[Point, ...] = ()  # its inputs that depend on the images
    fixed: tuple[Point, ...] = ()  # its inputs that depend on weights alone
    indexed: bool = False  # whether an integer input, such as row numbers of a table, depends on the images

    @property
    def inputs(self) -> tuple[Point, ...]:
        return tuple(point for point, _ in self.call.signals if point.link == "input")

    @property
    def name(self) -> str:
        """Its name for messages."""
        return f"{self.call.path} ({self.call.kind})"


def steps(
    adapter: Adapter,
    trace: Trace,
    target: Point | None,
    stop: Point | None = None,
    roots: Sequence[int] | None = None,
    is_constant: Callable[[Sequence[Point]], bool] = lambda points: False,
) -> list[Step]:
    """The calls between the images, or the signal at `stop`, and the scores, in execution order.

    Args:
        target: where the scores are; without it they are the values `roots`, or all outputs.
        is_constant: `is_constant(points)` tests whether the signals at some points do not depend on the images. It is
            called for values of unknown origin.

    Raises:
        LayerError: an operation that is not a layer lies on the way.
    """
    start = trace.at(stop) if stop else None
    ends = {IMAGES, *(start.outputs if start else ())}
    waiting, bare = _scores(trace, target, roots)
    return _described(adapter, trace, _before(adapter, trace, waiting, ends, is_constant), ends, bare)


Key = tuple[str, int]  # the path and number of a call


def _scores(
    trace: Trace, target: Point | None, roots: Sequence[int] | None
) -> tuple[list[tuple[int, str]], Key | None]:
    """The values of the scores with their names, and the call whose fused activation comes after the scores."""
    if target is None:
        return [(value, "the model's output") for value in (trace.outputs if roots is None else roots)], None
    call = trace.at(target)
    if call is None:
        raise LayerError(f"{target} is not part of the model's forward pass.")
    value = call.inputs[0] if target.link == "input" else call.outputs[0]
    return [(value, str(target))], (call.path, call.call) if target.link == "linear" else None


def _before(
    adapter: Adapter, trace: Trace, waiting: list[tuple[int, str]], ends: set[int], is_constant: Callable
) -> set[Key]:
    """The calls that compute the waiting values, back to the values `ends`. Each waiting value comes with the name of
    the call that uses it."""
    found: set[Key] = set()
    integers: set[int] = set().union(*(call.integers for call in trace.calls))
    while waiting:
        value, user = waiting.pop()
        if value in trace.beside or value in ends:
            continue
        call = _maker(adapter, trace, value)
        if call is None and value in integers:
            continue  # row numbers of a table, made before the model ran: they get no gradient
        taken = _taking(trace, value) if call is None else None
        if taken and is_constant(taken):
            continue  # a table that the model keeps, or writes to
        if call is None:
            raise LayerError(
                f"Before {user} an operation runs that is not a layer, and how relevance passes through it is unknown: "
                "make it a layer (keras.layers.ReLU, Add, Flatten, ...; torch.nn.ReLU, ...)."
            )
        if (call.path, call.call) not in found:
            found.add((call.path, call.call))
            waiting.extend((number, call.path) for number in call.inputs)
    return found


def _described(adapter: Adapter, trace: Trace, found: set[Key], reached: set[int], bare: Key | None) -> list[Step]:
    """The steps of the calls `found` that depend on the values `reached`. The call `bare` is taken without its fused
    activation."""
    made = []
    for c in trace.calls:
        if (c.path, c.call) not in found or reached.isdisjoint(c.inputs):
            continue
        role = adapter.layers.role(c)
        if role == "blank":
            continue
        indexed = not reached.isdisjoint(c.integers)
        reached.update(c.outputs)
        fused = (layer_roles.of_name(c.activation) or "unknown") if c.activation and (c.path, c.call) != bare else None
        inputs = tuple(p for p, _ in c.signals if p.link == "input" and c.inputs[p.part] in reached)
        fixed = tuple(p for p, _ in c.signals if p.link == "input" and c.inputs[p.part] in trace.fixed)
        made.append(Step(c, _role(c, role, inputs), fused, inputs, fixed, indexed))
    return made


def _role(call: Call, role: str | None, reached: tuple[Point, ...]) -> str | None:
    """What a call does, given which of its inputs depend on the images: a product with weights is linear."""
    if _scales(call, role, reached):
        return "scaling"
    if role is None and call.operation and call.kind.lower() == "max" and _reduces(call):
        return "maximum"
    weighted = role == "product" and call.operation and len(reached) == 1 and reached[0].part < 2 <= len(call.inputs)
    return layer_roles.WEIGHTED.get(call.kind, role) if weighted and len(call.signals) == 1 + len(call.inputs) else role


def _scales(call: Call, role: str | None, reached: tuple[Point, ...]) -> bool:
    """Whether each number is multiplied or divided by one that does not depend on the images."""
    if len(reached) != 1 or dict(call.signals)[reached[0]] != call.shape:
        return False
    return call.kind in layer_roles.TIMES or (role == "quotient" and len(call.inputs) == 2 and reached[0].part == 0)


def _taking(trace: Trace, value: int) -> list[Point]:
    """The points where a value is a floating-point input."""
    inputs = ((call, p) for call in trace.calls for p, _ in call.signals if p.link == "input")
    return [point for call, point in inputs if point.part < len(call.inputs) and call.inputs[point.part] == value]


def _reduces(call: Call) -> bool:
    """Whether a call of one signal gives fewer numbers than it takes, as does a maximum along an axis."""
    sizes = [math.prod(shape) for point, shape in call.signals if point.link == "input"]
    return len(call.inputs) == len(sizes) == 1 and math.prod(call.shape) < sizes[0]


def _maker(adapter: Adapter, trace: Trace, value: int) -> Call | None:
    """The call that made a value. For attention this is the whole layer, which has a rule, not the last call inside
    it."""
    made = (c for c in trace.calls if c.holds_calls and value in c.outputs and value not in c.inputs)
    return next((c for c in made if adapter.layers.role(c) == "attention"), trace.producer(value))
