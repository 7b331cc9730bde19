"""What both adapters need to observe a running model: changes that threads share, the session of a run, and the
recorder of a trace."""

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
from keras_explainable.models.state import stable_pairs
from keras_explainable.models.trace import IMAGES, Call, Point

Found = TypeVar("Found")


class Shared:
    """A temporary change to objects, for the time of a scope. Scopes of several threads may overlap: the first one to
    enter makes the change with `make(object)`, the last one to leave calls the function that `make` returned."""

    def __init__(self, make: Callable[[Any], Callable[[], None]]) -> None:
        self.make, self.lock = make, threading.RLock()
        self.active: dict[int, list] = {}  # id of an object -> [how many scopes hold it, how to undo the change]

    @contextmanager
    def __call__(self, objects: Iterable[Any]) -> Iterator[None]:
        inside = []
        try:
            for one in objects:
                with self.lock:
                    entry = self.active.get(id(one))
                    if entry is None:
                        entry = self.active[id(one)] = [0, self.make(one)]
                    entry[0] += 1
                    inside.append(one)
            yield
        finally:
            for one in reversed(inside):
                with self.lock:
                    entry = self.active[id(one)]
                    entry[0] -= 1
                    if not entry[0]:
                        del self.active[id(one)]
                        entry[1]()


class Session:
    """One run of a model in one thread: which points its tap sees, and how often each layer was called so far."""

    def __init__(self, paths: dict[int, str], tap: Tap, points: frozenset[Point] | None) -> None:
        self.paths, self.tap, self.points = paths, tap, points
        self.counts: dict[str, int] = {}
        self.parts: dict[tuple, set[int]] = {}  # which tensors of a structure its tap sees
        for point in points or ():
            self.parts.setdefault(point[:3], set()).add(point.part)

    def begin(self, path: str) -> int:
        """Count a call of a layer that begins now, and return its number."""
        number = self.counts[path] = self.counts.get(path, -1) + 1
        return number

    def see(self, point: Point, value: Any) -> Any:
        return self.tap(point, value) if self.points is None or point in self.points else value

    def see_all(self, path: str, call: int, link: str, values: Any) -> Any:
        """Pass each tensor of a structure through the tap."""
        wanted = None if self.points is None else self.parts.get((path, call, link))
        if self.points is not None and not wanted:
            return values
        numbers = count()

        def see(value):
            index = next(numbers)
            return self.tap(Point(path, call, link, index), value) if wanted is None or index in wanted else value

        return each(values, see)

    def see_again(self, path: str, call: int, function: Callable, args: tuple, kwargs: dict) -> None:
        """Show the tap, if it asks for it, how to repeat a call.

        At the link "again" it gets a function `again({part: tensor})` that repeats the call with these tensors in place
        of its own. At "zero" it gets the call's output with its tensor `part` set to zero."""
        for link in ("again", "zero"):
            for part in self.parts.get((path, call, link), ()):
                again = functools.partial(_again, function, args, kwargs)
                point = Point(path, call, link, part)
                self.tap(point, again if link == "again" else again({part: None}))


def _again(function: Callable, args: tuple, kwargs: dict, tensors: dict[int, Any]) -> Any:
    """Repeat a call with other tensors in place of some, by number; None stands for zeros."""
    numbers = count()

    def other(value):
        number = next(numbers)
        new = tensors.get(number, value)
        return ops.zeros_like(value) if new is None else new

    args, kwargs = each((args, kwargs), other)
    return function(*args, **kwargs)


def each(values: Any, see: Callable, of: Callable[[Any], bool] = ops.is_tensor) -> Any:
    """Apply `see` to every tensor in a structure (or to everything that `of` selects). What does not change stays the
    same object.

    This is not `keras.tree`: on PyTorch that leaves tensors in reference cycles, and with them the graph of a whole
    run."""
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
    """A tap that records what it sees. Values with equal keys are the same tensor, and get the same number. With
    `whole` it sees everything that the model computes."""

    def __init__(self, key: Callable[[Any], Hashable] = id, whole: bool = False) -> None:
        self.key, self.numbers = key, {}  # type: ignore[var-annotated]
        self.alive: list[Any] = []  # kept alive so that no two values share an id
        self.events: list[tuple[Point, int, tuple[int, ...]]] = []
        self.floating: set[Point] = set()
        self.integers: set[int] = set()
        self.latest: dict[tuple, tuple[str, int]] = {}  # by shape: the type and number of the last value
        self.types: dict[tuple, dict[int, set[str]]] = {}  # by shape: the types in which each value was seen
        self.whole = whole

    def number(self, value: Any) -> int:
        self.alive.append(value)
        return self.numbers.setdefault(self.key(value), len(self.numbers))

    @property
    def others(self) -> frozenset[int]:
        """The values of the model's inputs other than the images."""
        return frozenset(number for point, number, _ in self.events if not point.path) - {IMAGES}

    def without_producer(self, calls: Iterable[Call], constants: Container[int]) -> dict[Hashable, int]:
        """The keys and numbers of the values that no call made and that are neither inputs nor constants."""
        made = {IMAGES}.union(*(set(call.outputs).difference(call.inputs) for call in calls))
        return {key: number for key, number in self.numbers.items() if number not in made and number not in constants}

    def __call__(self, point: Point, value: Any) -> Any:
        if point.link == "given":  # the images in the user's layout
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
        """The value that a new value of this type may be a cast of: layers of mixed precision cast their inputs. If all
        that is computed is seen, it is the only value of this shape that came in another type."""
        before, number = self.latest.get(shape, (dtype, -1))
        if before != dtype and "float" in before:
            return number
        found = [n for n, types in self.types.get(shape, {}).items() if any("float" in t and t != dtype for t in types)]
        return found[0] if self.whole and len(found) == 1 else None

    def calls(self, describe: Callable[[Call, bool], Call], layers: Container | None = None) -> Iterator[Call]:
        """The calls, in the order in which they ended.

        Args:
            describe: `describe(call, fused)` adds what only the adapter knows. `fused` tells whether a fused activation
                was seen.
            layers: only these paths count when it is decided which calls contain others; None for all.
        """
        seen: dict[tuple, dict[str, list]] = {}
        signals: dict[tuple, list] = {}
        spans: dict[tuple, list[int]] = {}
        i = 0
        for point, value, shape in self.events:
            key = point[:2]
            i += layers is None or point.path in layers
            links = seen.setdefault(key, {})
            if point.link == "output":
                seen[key] = seen.pop(key)  # move to the end
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
    """A cache of traces and other findings, kept as long as their model lives and has the same structure."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.known: WeakKeyDictionary = WeakKeyDictionary()

    def get(self, model: Any, structure: tuple, key: Hashable, make: Callable[[], Found]) -> Found:
        structure = stable_pairs(model, structure)
        with self.lock:
            old, found = self.known.get(model, (None, {}))
            if old != structure:
                self.known[model] = structure, found = structure, {}
        if key not in found:
            found[key] = made = make()
            with self.lock:  # `make` may have found that runs of the model change a part of its state
                kept, (old, now) = stable_pairs(model, structure), self.known.get(model, (None, found))
                if now is found or old == kept:
                    now[key] = made
                    self.known[model] = kept, now
        return found[key]

    def peek(self, model: Any, key: Hashable) -> Any:
        """What was found, without asking for the current structure; None if there is nothing."""
        with self.lock:
            return self.known.get(model, (None, {}))[1].get(key)

    def forget(self, model: Any) -> None:
        """Drop what was found about a model."""
        with self.lock:
            self.known.pop(model, None)
