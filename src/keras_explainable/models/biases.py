"""Where a model adds biases: in its layers, and in functions that run outside of them (`F.conv2d`, `conv.forward(x)`,
`ops.conv(x, layer.kernel) + layer.bias`)."""

from collections.abc import Iterable, Iterator
from typing import Any

from keras import ops

from keras_explainable.models import addresses, layer_roles, spatial
from keras_explainable.models.trace import Call, Point, Trace

NORMS = ("batch_norm", "layer_norm", "group_norm", "instance_norm")
# Functions that take a weight and a bias besides the signal.
WITH_WEIGHTS = (*NORMS, *layer_roles.WEIGHTED, "addmm", "baddbmm")


def points(view: Any) -> list[Point]:
    """The points after each bias of a view, in execution order: in the exposed layers if there are any, else in all."""
    spatial.check_visible(view.operations, "its biases cannot be found")
    calls = biased(view.operations, view.adapter.separator)
    if view.adapter.signals is not None:
        _, exposed = addresses.declared(view.trace, view.adapter, view.rank, lambda: view.operations)
        calls = [c for c in calls if c.path in {p.path for p in exposed}]
    return [c.linear for c in calls]


def current(view: Any, at: Iterable[Point]) -> dict[Point, Any]:
    """The current bias of each channel at such points."""
    calls = {p: view.operations.at(p) for p in at}
    bare = {p: constant(view.operations, call) for p, call in calls.items() if call and call.operation}
    seen = view.evaluate([*bare.values()])[1] if bare else {}
    found = {p: seen[one][(0,) * (len(seen[one].shape) - 1)] for p, one in bare.items()}
    return {p: found[p] if p in found else ops.cast(view.adapter.layers.bias(p.path), "float32") for p in calls}


def biased(trace: Trace, separator: str) -> list[Call]:
    """The calls of layers and operations that add a bias, in execution order.

    A function that runs inside a user's own layer may add that layer's bias, which must count once. It counts at the
    end of the layer if values are only moved between the function and that end, else at the function."""
    layers = {call.output[:2]: call for call in spatial.biased(trace)}
    inside: dict[tuple[str, int], list[Call]] = {}
    kept = set()
    for call, owner in _bare(trace, separator):
        if owner is not None and owner.output[:2] in layers:
            inside.setdefault(owner.output[:2], []).append(call)
        else:
            kept.add(call.output[:2])
    for key, calls in inside.items():
        others = [call for call in calls if not _is_end(trace, layers[key], call)]
        if len(others) == len(calls):
            del layers[key]
        kept.update(call.output[:2] for call in others)
    return [call for call in trace.calls if call.output[:2] in kept or call.output[:2] in layers]


def constant(trace: Trace, call: Call) -> Point:
    """The point that shows an operation's bias: its output for a signal of zero."""
    part = next(i for i, value in enumerate(call.inputs) if value not in trace.fixed)
    return call.output._replace(link="zero", part=part)


def _bare(trace: Trace, separator: str) -> Iterator[tuple[Call, Call | None]]:
    """The operations that add a bias to a signal of the images, each with the call of the layer that contains it."""
    for i, call in enumerate(trace.calls):
        if call.operation and call.shape[:1] == (trace.images,) and _adds(trace, call):
            around = call.path.rpartition(separator)[0]
            yield call, next((later for later in trace.calls[i:] if later.path == around), None)


def _adds(trace: Trace, call: Call) -> bool:
    """Whether an operation adds constants to each channel."""
    fixed = [value in trace.fixed for value in call.inputs]
    if fixed.count(False) != 1:
        return False
    if call.kind in WITH_WEIGHTS:
        return fixed.count(True) > 1
    if layer_roles.of_operation(call.kind) != "sum":
        return False
    shapes = {point.part: shape for point, shape in call.signals if point.link == "input"}
    return any(per_channel(shapes.get(part, ()), call) for part, known in enumerate(fixed) if known)


def per_channel(shape: tuple[int, ...], call: Call) -> bool:
    """Whether an array of a shape that is added to a signal has one number for each channel."""
    shape = (1,) * (len(call.shape) - len(shape)) + shape
    channel = 1 if call.channels_first else len(call.shape) - 1
    return len(shape) == len(call.shape) and all(
        size == (whole if axis == channel else 1)
        for axis, (size, whole) in enumerate(zip(shape, call.shape, strict=True))
    )


def _is_end(trace: Trace, owner: Call, call: Call) -> bool:
    """Whether a layer's output, before its fused activation, is that of an operation inside it, or the same values
    moved."""
    value: int | None = owner.outputs[0]
    while value is not None and value not in call.outputs:
        last = trace.producer(value)
        moved = last is not None and last.operation and layer_roles.of_operation(last.kind) == "moving"
        value = last.inputs[0] if last is not None and moved and len(last.inputs) == 1 else None
    return value is not None or owner.activation is not None
