"""What a run of a model was seen to do: its calls, and the values that go from one to the next."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple


class Point(NamedTuple):
    """A place in a running model: a call of a layer, at its input, before its fused activation, or at its output."""

    path: str
    call: int = 0
    link: str = "output"  # "input", "linear" (the argument of a fused activation), "output", "attention" (its
    # probabilities: batch, heads, tokens, tokens), "deviation" (what a normalisation divides by), "zero" (what it gives
    # where that tensor is zero), "again" (no signal: how the call is made again), or what is inside of attention,
    # softmax(Q K^T + M) V: "queries" (scaled), "keys", "products" (Q K^T), "logits" (with M), "values", "mixed"
    part: int = 0  # of several input or output tensors

    def __str__(self) -> str:
        call = f" (call {self.call})" if self.call else ""
        return (
            {"output": "", "linear": "pre-activation of ", "input": "input of "}.get(self.link, f"{self.link} of ")
            + (self.path or "the model")
            + call
        )


INPUT = Point("", link="input")


IMAGES = 0  # values are numbered from the images on


@dataclass(frozen=True)
class Call:
    """One call of one layer, seen while the model ran. Values are numbered: equal numbers are the same tensor."""

    path: str
    call: int
    kind: str
    leaf: bool
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    shape: tuple[int, ...]  # of the first output, batch included
    activation: str | None = None  # the name of a fused one
    has_bias: bool = False
    has_kernel: bool = False
    channels_first: bool = False  # whether the output's channels are axis 1, and not the last one
    signals: tuple[tuple[Point, tuple[int, ...]], ...] = ()  # where floating numbers come in and go out, their shapes
    holds_calls: bool = False  # whether other calls took place inside of it
    operation: bool = False  # whether this is no layer: `x + y`, a function
    of_heads: bool = False  # whether this is inside of an attention layer, where an axis is that of the heads
    frames: int = 0  # of a layer that sees the frames of a video (views, patches) one by one: how many there are
    series: bool = False  # whether it does so in as many calls, and not in one with all of them in the batch
    integers: frozenset[int] = frozenset()  # those of its inputs that are no floating numbers: no gradient goes there

    @property
    def output(self) -> Point:
        return Point(self.path, self.call)

    @property
    def linear(self) -> Point:
        """Where this layer's bias has just been added: before a fused activation, else at the output."""
        return Point(self.path, self.call, "linear" if self.activation else "output")


@dataclass(frozen=True)
class Trace:
    """All calls in the order in which they ended, and the values that the model returned."""

    calls: tuple[Call, ...]
    outputs: tuple[int, ...]
    shapes: tuple[tuple[int, ...], ...]
    names: tuple[str, ...] = field(default=())  # of the outputs, where the model returned a dictionary
    heads: tuple[
        tuple[tuple, int, tuple[int, ...]], ...
    ] = ()  # every tensor that the model returned: path, value, shape
    constants: frozenset[int] = field(default=frozenset())  # the values that are weights, or came in besides the images
    images: int = 1  # how many there were
    known: dict[Any, Any] = field(default_factory=dict, compare=False, repr=False)  # what was found in it, by question
    fed: frozenset[int] = field(default=frozenset())  # the values that came in besides the images

    def at(self, point: Point) -> Call | None:
        return self._by_number.get(point[:2])

    @cached_property
    def beside(self) -> frozenset[int]:
        """The values that are known to depend on weights, or other inputs than the images, and on nothing else: also
        those that an operation makes of no tensor (`torch.arange`)."""
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
        """Whether what a call gives has nothing to do with the images."""
        return bool(call.outputs) and self.beside.issuperset(call.outputs)

    @cached_property
    def _by_number(self) -> dict[tuple[str, int], Call]:
        return {(c.path, c.call): c for c in self.calls}

    def head(self, which: tuple = ()) -> int:
        """The value of the output at a path, an index standing for a name; of the first one without a path."""
        return self._head(which)[1] if which else self.outputs[0]

    def head_shape(self, which: tuple = ()) -> tuple[int, ...]:
        """The shape of that output."""
        return self._head(which)[2] if which else self.shapes[0]

    def _head(self, which: tuple) -> tuple[tuple, int, tuple[int, ...]]:
        found = [head for head in self.heads if head[0] == which]
        numbered = [self.heads[i] for i in which[:1] if isinstance(i, int) and len(which) == 1 and i < len(self.heads)]
        return next(iter(found or numbered), ((), -1, ()))  # what cannot be found is refused where it is taken

    def above(self, value: int) -> frozenset[int]:
        """The values that a value is known to be made of."""
        found: set[int] = set()
        waiting = [value]
        while waiting:
            for call in self._makers.get(waiting.pop(), ()):  # of attention the whole layer, whose inside is not seen
                known = set(call.inputs).union(*self._inside(call)) if call.holds_calls else set(call.inputs)
                waiting.extend(known - found)
                found.update(known)
        return frozenset(found)

    def _inside(self, owner: Call) -> Iterator[tuple[int, ...]]:
        """What the calls inside of one make, where none of it is seen to become what that one gives."""
        calls = [c for c in self.calls if c.path.startswith((f"{owner.path}/", f"{owner.path}."))]
        made = {value for call in calls for value in call.outputs}
        return (call.outputs for call in calls) if made.isdisjoint(owner.outputs) else iter(())

    @cached_property
    def _makers(self) -> dict[int, list[Call]]:
        """The calls that made each value, and did not only hand it on."""
        makers: dict[int, list[Call]] = {}
        for call in self.calls:
            for value in set(call.outputs).difference(call.inputs):
                makers.setdefault(value, []).append(call)
        return makers

    def producer(self, value: int) -> Call | None:
        """The leaf call (else any) that made a value."""
        made = self._makers.get(value, [])
        return next((c for c in made if c.leaf), made[0] if made else None)


class Deviation(NamedTuple):
    """What a layer normalisation divides by, sqrt(mean(x^2 over axes) + epsilon) of its input, less the mean where it
    is centred; `gain(rank)` is what it multiplies by, shaped for values of that rank."""

    axes: tuple[int, ...]
    epsilon: float
    centred: bool
    gain: Callable[[int], Any]
    groups: int = 0  # of channels, each of which has a deviation of its own, over space as well
    channels: int = -1  # where these are
