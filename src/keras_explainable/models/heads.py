"""A model's heads: which of its outputs is explained, where its scores are, and what they depend on."""

from collections.abc import Callable
from typing import NamedTuple

from keras_explainable.models import layer_roles
from keras_explainable.models.trace import IMAGES, Call, Point, Trace

FINAL = ("softmax", "sigmoid", "logsoftmax", "logsigmoid", "hardsigmoid", "expit", "specialexpit", "speciallogsoftmax")
# Operations on probabilities that keep their order; sums only if they add a constant or weights.
BETWEEN = ("log", "log2", "log10", "log1p", "exp", "clip", "clamp", "clampmin", "clampmax", "nantonum", "add", "iadd")
PASSING = ("linear", "identity", "dropout", "spatialdropout2d")
RESHAPING = ("flatten", "reshape", "squeeze")
CASTS = ("cast", "to", "float", "double", "half", "bfloat16", "type", "typeas")


class Ending(NamedTuple):
    """How a head ends after its scores: in a softmax or sigmoid that is left out."""

    point: Point  # where the scores are
    skipped: tuple[tuple[Point, Point], ...] = ()  # (input, output) of each call to skip: its output becomes its input
    moved: bool = False  # whether later calls move the scores, so that they are read from the model's output

    def around(self) -> frozenset[Point]:
        """All points of the skipped calls, and the scores' point."""
        return frozenset(point for pair in self.skipped for point in pair) | {self.point}


def kind(call: Call) -> str:
    """What a call does, in one word: the name of its fused activation, else its kind."""
    return (call.activation or call.kind).lower().replace("_", "")


def ending(trace: Trace, which: tuple = ()) -> tuple[Ending | None, bool]:
    """The ending of a head: the last softmax or sigmoid, and the scores before it. None if the head ends without one.
    Also return whether all calls on the way could be seen."""
    value, moved = trace.head(which), False
    skipped: list[tuple[Point, Point]] = []
    while True:
        call = trace.producer(value)
        if call is None or not call.inputs:
            return None, call is not None or value == IMAGES
        function = kind(call)
        if call.has_kernel or (call.activation and function in FINAL):
            found = bool(call.activation) and function in FINAL
            return (_ended(call.linear, call.output, skipped, moved) if found else None), True
        taken = _taken(trace, call)
        if function in FINAL and taken:
            value = call.inputs[taken[0].part]
            before = trace.producer(value)
            if before is None or kind(before) != "logsoftmax":  # softmax(logsoftmax(s)) = softmax(s)
                return _ended(taken[0], call.output, skipped, moved), True
            skipped.append((taken[0], call.output))
            continue
        if len(taken) != 1:
            return None, True
        if function in BETWEEN:
            skipped.append((taken[0], call.output))
        elif function in PASSING or function in CASTS:
            pass
        elif layer_roles.of_name(call.kind) == "moving":
            moved = True
        else:
            return None, True
        value = call.inputs[taken[0].part]


def _taken(trace: Trace, call: Call) -> list[Point]:
    """The inputs of a call that come from the images."""
    floating = {point for point, _ in call.signals}
    points = [Point(call.path, call.call, "input", i) for i in range(len(call.inputs))]
    return [p for p in points if p in floating and call.inputs[p.part] not in trace.beside]


def _ended(point: Point, output: Point, skipped: list, moved: bool) -> Ending:
    return Ending(point, ((point, output), *skipped), moved)


def score_call(trace: Trace, point: Point | None, which: tuple = ()) -> Call | None:
    """The call that computed the scores: of the layer at `point`, or before it, or at the end of the head."""
    if point is None:
        return trace.producer(trace.head(which))
    call = trace.at(point)
    return trace.producer(call.inputs[point.part]) if call and point.link == "input" else call


def linear_head(trace: Trace, point: Point | None, which: tuple = ()) -> Call | None:
    """The linear layer that computes the scores at `point` from globally pooled channels, or None."""
    call = score_call(trace, point, which)
    while call is not None and not call.has_kernel and kind(call) in (*PASSING, *FINAL, *RESHAPING):
        call = trace.producer(call.inputs[0])
    if call is None or not call.has_kernel:
        return None
    before = trace.producer(call.inputs[0])
    while before is not None and kind(before) in (*PASSING, *RESHAPING):
        before = trace.producer(before.inputs[0])
    # A pooling that is not a layer has no call here.
    return call if before is None or "pooling" in kind(before) or "avgpool" in kind(before) else None


def is_exposed(trace: Trace, operations: Callable[[], Trace]) -> bool:
    """Whether a model's outputs are (batch, units) scores, and signals that they depend on."""
    ranks = [len(shape) for shape in trace.shapes]
    if ranks[:1] != [2] or len(ranks) < 2 or min(ranks[1:]) <= 2:
        return False
    return any(seen.above(seen.outputs[0]).issuperset(seen.outputs[1:]) for seen in (trace, operations()))
