"""The paths from the images to a score: what all of them pass through, what has weights after it, and which signals are
known to keep positions in the image."""

from collections.abc import Iterable

from keras_explainable.models import layer_roles
from keras_explainable.models.contract import Adapter
from keras_explainable.models.trace import IMAGES, Call, Trace


def common(trace: Trace, roots: Iterable[int]) -> frozenset[int]:
    """The values that every path from the images to the roots passes through."""
    numbers = {IMAGES: 0}
    passed = {IMAGES: 1}  # by value: the values that all paths to it pass through, as bits of a number
    made: set[int] = set()  # by calls that contain no others; a call around them only passes their values on
    for call in trace.calls:
        if not call.holds_calls:
            made.update(call.outputs)
        known = [passed[value] for value in call.inputs if value in passed]
        if not known:
            continue
        shared = known[0]
        for one in known[1:]:
            shared &= one
        for value in set(call.outputs).difference(call.inputs, () if not call.holds_calls else made):
            number = numbers.setdefault(value, len(numbers))
            passed[value] = (shared | 1 << number) & passed.get(value, -1)
    found = [passed[root] for root in roots if root in passed]
    if not found:
        return frozenset()
    shared = found[0]
    for one in found[1:]:
        shared &= one
    return frozenset(value for value, number in numbers.items() if shared >> number & 1)


def kernels(trace: Trace, roots: Iterable[int]) -> frozenset[int]:
    """The outputs of the layers with weights on the paths to the roots."""
    above = frozenset().union(roots, *(trace.above(root) for root in roots))
    return above.intersection(value for call in trace.calls if call.has_kernel for value in call.outputs)


def weighted(trace: Trace, roots: Iterable[int]) -> frozenset[int]:
    """The values from which a path to the roots passes through weights."""
    waiting = frozenset().union(roots, *(trace.above(root) for root in roots))
    found: set[int] = set()
    for call in reversed(trace.calls):
        weights = call.has_kernel or (call.operation and _has_weights(trace, call))
        if waiting.intersection(call.outputs) and (weights or found.intersection(call.outputs)):
            found.update(call.inputs)
    return frozenset(found)


def _has_weights(trace: Trace, call: Call) -> bool:
    return call.kind in layer_roles.WEIGHTED and bool(trace.beside.intersection(call.inputs))


def keeps_places(adapter: Adapter, trace: Trace, roots: Iterable[int], signal: Call, rank: int) -> bool:
    """Whether it is known that every call before a signal keeps positions in the images, and that every call after it,
    on the way to the roots, uses all of the signal's positions."""
    if not signal.outputs or signal.channels_first != adapter.channels_first or len(signal.shape) != rank + 2:
        return False
    before = trace.above(signal.outputs[0]) | {signal.outputs[0]}
    way = frozenset().union(roots, *(trace.above(root) for root in roots))
    for call in trace.calls:
        if call.holds_calls or trace.is_beside(call) or not way.union(before).intersection(call.outputs):
            continue
        if before.intersection(call.outputs):
            if _is_spatial(call, rank) and not (
                _stays(adapter, call) and call.channels_first == adapter.channels_first
            ):
                return False
        elif adapter.layers.role(call) in (None, "other", "attention", "softmax") or _chooses(call):
            return False
    return True


def _is_spatial(call: Call, rank: int) -> bool:
    size = call.shape[2:] if call.channels_first else call.shape[1:-1]
    return len(call.shape) == rank + 2 and any(s > 1 for s in size)


def _stays(adapter: Adapter, call: Call) -> bool:
    name = call.kind.lower()
    by_name = (
        name in layer_roles.STAYING
        or name.startswith(layer_roles.STAYING_BY_BEGINNING)
        or call.kind in layer_roles.TIMES
    )
    convolves = layer_roles.WEIGHTED.get(call.kind) == "convolution"
    return by_name or convolves or adapter.layers.role(call) in layer_roles.LOCAL


def _chooses(call: Call) -> bool:
    name = call.kind.lower()
    return name in layer_roles.CHOOSING or name.startswith("cropping")
