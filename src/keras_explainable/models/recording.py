"""What both adapters need to watch a model run: changes that threads share, one run's session, a trace of its calls."""

import functools
import threading
from collections.abc import Callable, Container, Hashable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import keras
from keras import ops

from keras_explainable.models.contract import Tap
from keras_explainable.models.state import still
from keras_explainable.models.trace import IMAGES, Call, Point

Found = TypeVar("Found")


class Shared:
    """A change to objects for the time of a scope. Scopes of several threads may overlap: the first one in makes the
    change, with `make(object)`, and the last one out calls what that returned."""

    def __init__(self, make: Callable[[Any], Callable[[], None]]) -> None:
        self.make, self.lock = make, threading.RLock()
        self.held: dict[int, list] = {}  # id of an object -> [how many scopes hold it, how to undo the change]

    @contextmanager
    def __call__(self, objects: Iterable[Any]) -> Iterator[None]:
        inside = []
        try:
            for one in objects:
                with self.lock:
                    entry = self.held.get(id(one))
                    if entry is None:
                        entry = self.held[id(one)] = [0, self.make(one)]
                    entry[0] += 1
                    inside.append(one)
            yield
        finally:
            for one in reversed(inside):
                with self.lock:
                    entry = self.held[id(one)]
                    entry[0] -= 1
                    if not entry[0]:
                        del self.held[id(one)]
                        entry[1]()


class Session:
    """One run of a model in one thread: which points its tap sees, and how often each layer was called so far."""

    def __init__(self, paths: dict[int, str], tap: Tap, points: frozenset[Point] | None) -> None:
        self.paths, self.tap, self.points = paths, tap, points
        self.counts: dict[str, int] = {}
        self.parts: dict[tuple, set[int]] = {}  # which of the tensors of a structure its tap sees
        for point in points or ():
            self.parts.setdefault(point[:3], set()).add(point.part)

    def begin(self, path: str) -> int:
        """The number of the call of a layer that begins now."""
        number = self.counts[path] = self.counts.get(path, -1) + 1
        return number

    def see(self, point: Point, value: Any) -> Any:
        return self.tap(point, value) if self.points is None or point in self.points else value

    def see_all(self, path: str, call: int, link: str, values: Any) -> Any:
        """A structure of tensors, each through the tap."""
        wanted = None if self.points is None else self.parts.get((path, call, link))
        if self.points is not None and not wanted:
            return values
        numbers = count()

        def see(value):
            index = next(numbers)
            return self.tap(Point(path, call, link, index), value) if wanted is None or index in wanted else value

        return each(values, see)

    def see_again(self, path: str, call: int, function: Callable, args: tuple, kwargs: dict) -> None:
        """Shows a tap that asks for it how a call is made again, as `again({part: tensor})` with these in the place of
        its own, at "again", or what it gives where its tensor `part` is zero, at "zero"."""
        for link in ("again", "zero"):
            for part in self.parts.get((path, call, link), ()):
                again = functools.partial(_again, function, args, kwargs)
                point = Point(path, call, link, part)
                self.tap(point, again if link == "again" else again({part: None}))


def _again(function: Callable, args: tuple, kwargs: dict, tensors: dict[int, Any]) -> Any:
    """A call with other tensors in the place of some, by their number; None for zeros."""
    numbers = count()

    def other(value):
        number = next(numbers)
        new = tensors.get(number, value)
        return ops.zeros_like(value) if new is None else new

    args, kwargs = each((args, kwargs), other)
    return function(*args, **kwargs)


def each(values: Any, see: Callable, of: Callable[[Any], bool] = ops.is_tensor) -> Any:
    """A structure with every tensor in it (or what else `of` picks) replaced by what `see` makes of it; what does not
    change is the same object.

    Not `keras.tree`: on PyTorch it leaves its tensors in reference cycles, and with them the graph of a whole run."""
    if of(values):
        return see(values)
    if not isinstance(values, (tuple, list, dict)):
        return values
    old = list(values.values() if isinstance(values, dict) else values)
    new = [each(value, see, of) for value in old]
    if all(a is b for a, b in zip(new, old, strict=True)):
        return values
    if isinstance(values, dict):
        return type(values)(zip(values, new, strict=True))
    return type(values)(*new) if hasattr(values, "_fields") else type(values)(new)


def watcher(look: Callable[[Any], Any]) -> Tap:
    """A tap that only looks at each value."""

    def tap(_: Point, value: Any) -> Any:
        look(value)
        return value

    return tap


class Recorder:
    """A tap that notes what it sees, under equal numbers for values with equal keys: the same tensors. With `whole` it
    sees all that the model computes."""

    def __init__(self, key: Callable[[Any], Hashable] = id, whole: bool = False) -> None:
        self.key, self.numbers = key, {}  # type: ignore[var-annotated]
        self.alive: list[Any] = []  # so that no two values share an id
        self.events: list[tuple[Point, int, tuple[int, ...]]] = []
        self.floating: set[Point] = set()
        self.integers: set[int] = set()
        self.latest: dict[tuple, tuple[str, int]] = {}  # the type and number of the last value of a shape
        self.types: dict[tuple, dict[int, set[str]]] = {}  # of a shape, in which types each value was seen
        self.whole = whole

    def number(self, value: Any) -> int:
        self.alive.append(value)
        return self.numbers.setdefault(self.key(value), len(self.numbers))

    @property
    def others(self) -> frozenset[int]:
        """What came into the model besides the images."""
        return frozenset(number for point, number, _ in self.events if not point.path) - {IMAGES}

    def unmade(self, calls: Iterable[Call], constants: Container[int]) -> dict[Hashable, int]:
        """The keys and numbers of the values that no call made, and that came in with nothing."""
        made = {IMAGES}.union(*(set(call.outputs).difference(call.inputs) for call in calls))
        return {key: number for key, number in self.numbers.items() if number not in made and number not in constants}

    def __call__(self, point: Point, value: Any) -> Any:
        if point.link == "given":  # the images, with their channels elsewhere
            self.alive.append(value)
            self.numbers[self.key(value)] = IMAGES
            return value
        dtype, shape = keras.backend.standardize_dtype(value.dtype), tuple(value.shape)
        if point.link == "input" and "float" in dtype:
            source = self._cast_from(dtype, shape)
            if source is not None:
                self.numbers.setdefault(self.key(value), source)
        number = self.number(value)
        self.latest[shape] = dtype, number
        self.types.setdefault(shape, {}).setdefault(number, set()).add(dtype)
        self.events.append((point, number, shape))
        if "float" in dtype:
            self.floating.add(point)
        elif "int" in dtype or dtype == "bool":
            self.integers.add(number)
        return value

    def _cast_from(self, dtype: str, shape: tuple[int, ...]) -> int | None:
        """The value that a new one of this type can be: layers of mixed precision cast what they get. Where all that
        is computed is seen, it is the one that came in another type, if there is one alone."""
        before, number = self.latest.get(shape, (dtype, -1))
        if before != dtype and "float" in before:
            return number
        found = [n for n, types in self.types.get(shape, {}).items() if any("float" in t and t != dtype for t in types)]
        return found[0] if self.whole and len(found) == 1 else None

    def calls(self, describe: Callable[[Call, bool], Call], layers: Container | None = None) -> Iterator[Call]:
        """The calls, in the order in which they ended; `describe(call, fused)` adds what only the adapter knows, where
        `fused` tells whether a fused activation was seen. Of what is not in `layers`, nothing holds a call."""
        seen: dict[tuple, dict[str, list]] = {}
        signals: dict[tuple, list] = {}
        spans: dict[tuple, list[int]] = {}
        i = 0
        for point, value, shape in self.events:
            key = point[:2]
            i += layers is None or point.path in layers
            links = seen.setdefault(key, {})
            if point.link == "output":
                seen[key] = seen.pop(key)  # to the end
            links.setdefault(point.link, []).append((value, shape))
            spans.setdefault(key, []).append(i)
            if point in self.floating and point.link != "linear":
                signals.setdefault(key, []).append((point, shape))
        for key, links in seen.items():
            if key[0] and "output" in links:
                values = {link: tuple(value for value, _ in pairs) for link, pairs in links.items()}
                made = values["output"], links["output"][0][1]
                inputs, span = values.get("input", ()), spans[key]
                holds = span[-1] - span[0] >= len(span)  # events of other calls lie between its own
                call = Call(key[0], key[1], "", True, inputs, *made, holds_calls=holds)
                integers = self.integers.intersection(inputs)
                call = replace(call, signals=tuple(signals.get(key, ())), integers=frozenset(integers))
                yield describe(call, "linear" in links)


class Traces:
    """Traces and what else was found, kept as long as their model lives and has the same structure."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.known: WeakKeyDictionary = WeakKeyDictionary()

    def get(self, model: Any, structure: tuple, key: Hashable, make: Callable[[], Found]) -> Found:
        structure = still(model, structure)
        with self.lock:
            old, found = self.known.get(model, (None, {}))
            if old != structure:
                self.known[model] = structure, found = structure, {}
        if key not in found:
            found[key] = made = make()
            with self.lock:  # meanwhile the model may have been found to change a part of its state by itself
                kept, (old, now) = still(model, structure), self.known.get(model, (None, found))
                if now is found or old == kept:
                    now[key] = made
                    self.known[model] = kept, now
        return found[key]

    def peek(self, model: Any, key: Hashable) -> Any:
        """What was found, as long as nobody asks for another structure; None if nothing was."""
        with self.lock:
            return self.known.get(model, (None, {}))[1].get(key)

    def forget(self, model: Any) -> None:
        """Let the next question be answered anew."""
        with self.lock:
            self.known.pop(model, None)
