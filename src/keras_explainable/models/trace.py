"""A trace: a record of one run of a model, as its calls and the values that pass between them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple


class Point(NamedTuple):
    """A place in a running model: at a layer's call, its input, before its fused activation, or its output."""

    path: str
    call: int = 0
    link: str = "output"  # "input", "linear" (the argument of a fused activation), "output", "attention" (its
    # probabilities: batch, heads, tokens, tokens), "deviation" (what a normalisation divides by), "zero" (the output
    # if that input is zero), "again" (no signal: a function that repeats the call), or a part of attention,
    # softmax(Q K^T + M) V: "queries" (scaled), "keys", "products" (Q K^T), "logits" (with M), "values", "mixed"
    part: int = 0  # the number of the tensor, of several inputs or outputs

    def __str__(self) -> str:
        call = f" (call {self.call})" if self.call else ""
        return (
            {"output": "", "linear": "pre-activation of ", "input": "input of "}.get(self.link, f"{self.link} of ")
            + (self.path or "the model")
            + call
        )


INPUT = Point("", link="input")


IMAGES = 0  # the number of the images' value; others follow


@dataclass(frozen=True)
class Call:
    """One call of one layer, recorded while the model ran. Values are numbered: equal numbers are the same tensor."""

    path: str
    call: int
    kind: str
    leaf: bool
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    shape: tuple[int, ...]  # of the first output, batch included
    activation: str | None = None  # the name of a fused activation
    has_bias: bool = False
    has_kernel: bool = False
    channels_first: bool = False  # whether the output's channels are axis 1, and not the last one
    signals: tuple[tuple[Point, tuple[int, ...]], ...] = ()  # its floating-point inputs and outputs, with shapes
    holds_calls: bool = False  # whether it contains other calls
    operation: bool = False  # whether it is an operation such as `x + y`, not a layer
    of_heads: bool = False  # whether it is inside an attention layer, where one axis is the heads
    frames: int = 0  # the number of frames, if the layer sees those of a video (views, patches) one by one
    series: bool = False  # whether it does so in one call per frame, not in one batch of frames
    integers: frozenset[int] = frozenset()  # its inputs of integers, which get no gradient

    @property
    def output(self) -> Point:
        return Point(self.path, self.call)

    @property
    def linear(self) -> Point:
        """The point right after this layer's bias is added: before a fused activation, else at the output."""
        return Point(self.path, self.call, "linear" if self.activation else "output")


@dataclass(frozen=True)
class Trace:
    """All calls, in the order in which they ended, and the values that the model returned."""

    calls: tuple[Call, ...]
    outputs: tuple[int, ...]
    shapes: tuple[tuple[int, ...], ...]
    names: tuple[str, ...] = field(default=())  # of the outputs, if the model returned a dictionary
    # Every tensor that the model returned: its path, value and shape.
    heads: tuple[tuple[tuple, int, tuple[int, ...]], ...] = ()
    constants: frozenset[int] = field(default=frozenset())  # values that are weights, or inputs other than the images
    images: int = 1  # the number of images
    # A cache of what was derived from it.
    known: dict[Any, Any] = field(default_factory=dict, compare=False, repr=False)
    fed: frozenset[int] = field(default=frozenset())  # values of inputs other than the images

    def at(self, point: Point) -> Call | None:
        return self._by_number.get(point[:2])

    @cached_property
    def beside(self) -> frozenset[int]:
        """The values that are known to depend only on weights and on inputs other than the images. This includes values
        that an operation makes without inputs (`torch.arange`)."""
        return self._made_of(self.constants)

    @cached_property
    def fixed(self) -> frozenset[int]:
        """The values that are known to depend on weights alone."""
        return self._made_of(self.constants - self.fed)

    def _made_of(self, values: frozenset[int]) -> frozenset[int]:
        found = set(values)
        for call in self.calls:
            if (call.inputs or call.operation) and found.issuperset(call.inputs):
                found.update(call.outputs)
        return frozenset(found)

    def is_beside(self, call: Call) -> bool:
        """Whether a call's outputs do not depend on the images."""
        return bool(call.outputs) and self.beside.issuperset(call.outputs)

    @cached_property
    def _by_number(self) -> dict[tuple[str, int], Call]:
        return {(c.path, c.call): c for c in self.calls}

    def head(self, which: tuple = ()) -> int:
        """The value of the output at a path, where an index may replace a name; the first output if there is no
        path."""
        return self._head(which)[1] if which else self.outputs[0]

    def head_shape(self, which: tuple = ()) -> tuple[int, ...]:
        """The shape of that output."""
        return self._head(which)[2] if which else self.shapes[0]

    def _head(self, which: tuple) -> tuple[tuple, int, tuple[int, ...]]:
        found = [head for head in self.heads if head[0] == which]
        numbered = [self.heads[i] for i in which[:1] if isinstance(i, int) and len(which) == 1 and i < len(self.heads)]
        return next(iter(found or numbered), ((), -1, ()))  # a missing output raises an error where it is used

    def above(self, value: int) -> frozenset[int]:
        """The values that a value is known to be computed from."""
        found: set[int] = set()
        waiting = [value]
        while waiting:
            for call in self._makers.get(waiting.pop(), ()):  # an attention layer counts as a whole
                known = set(call.inputs).union(*self._inside(call)) if call.holds_calls else set(call.inputs)
                waiting.extend(known - found)
                found.update(known)
        return frozenset(found)

    def _inside(self, owner: Call) -> Iterator[tuple[int, ...]]:
        """The outputs of the calls inside a call, if none of them is seen to become its output."""
        calls = [c for c in self.calls if c.path.startswith((f"{owner.path}/", f"{owner.path}."))]
        made = {value for call in calls for value in call.outputs}
        return (call.outputs for call in calls) if made.isdisjoint(owner.outputs) else iter(())

    @cached_property
    def _makers(self) -> dict[int, list[Call]]:
        """By value, the calls that made it and did not only pass it on."""
        makers: dict[int, list[Call]] = {}
        for call in self.calls:
            for value in set(call.outputs).difference(call.inputs):
                makers.setdefault(value, []).append(call)
        return makers

    def producer(self, value: int) -> Call | None:
        """The leaf call (else any call) that made a value."""
        made = self._makers.get(value, [])
        return next((c for c in made if c.leaf), made[0] if made else None)


class Deviation(NamedTuple):
    """What a layer normalisation divides by: sqrt(mean(x^2 over axes) + epsilon) of its input, minus the mean if it is
    centred. `gain(rank)` is the factor that it multiplies by, shaped for values of that rank."""

    axes: tuple[int, ...]
    epsilon: float
    centred: bool
    gain: Callable[[int], Any]
    groups: int = 0  # groups of channels, each with its own deviation (also over space)
    channels: int = -1  # the channels' axis
