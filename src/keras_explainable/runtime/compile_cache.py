"""A cache of compiled steps for each model. The steps are kept as long as the model exists."""

import functools
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import keras

from keras_explainable import backend, models, registry
from keras_explainable.runtime.interruptible import interruptible

KEPT = 64  # compiled functions per model

_lock = threading.Lock()
_programs: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()
_options: ContextVar[tuple] = ContextVar("options", default=(None, None))
_counts = {"hits": 0, "misses": 0}


class CacheInfo(NamedTuple):
    """How often a compiled function was found in the cache, how often one was compiled, and how many are kept."""

    hits: int
    misses: int
    models: int
    functions: int


def cache_info() -> CacheInfo:
    """The state of the cache of compiled functions."""
    with _lock:
        return CacheInfo(_counts["hits"], _counts["misses"], len(_programs), sum(map(len, _programs.values())))


def clear_cache() -> None:
    """Delete all compiled functions."""
    with _lock:
        _programs.clear()
        _counts.update(hits=0, misses=0)


@contextmanager
def options(run_eagerly: bool | None, jit_compile: bool | None) -> Iterator[None]:
    """A scope that sets how functions are compiled: not at all, with XLA, or (None) as the model and backend decide.
    Ctrl-C interrupts functions in this scope."""
    tokens = _options.set((run_eagerly, jit_compile)), interruptible.set(True)
    try:
        yield
    finally:
        _options.reset(tokens[0])
        interruptible.reset(tokens[1])


class Program:
    """A step to compile: a frozen dataclass. Its fields are all that it depends on, and are its key in the cache.

    It is called with a model or a view, and with tensors. It must not hold a model or a view: the cache would keep them
    alive."""

    def __call__(self, *args: Any) -> Any:
        raise NotImplementedError


def compiled(step: Program, model: Any, spread: bool = False) -> Callable:
    """`step(model, *args)` as a compiled function of `args`, which are tensors or None.

    With `spread`, all inputs and outputs have the images on the first axis, and may be split over several devices."""
    run_eagerly, jit_compile = _options.get()
    whole, (model, inputs) = model, models.unbind(model)
    run_eagerly = bool(getattr(model, "run_eagerly", False)) if run_eagerly is None else run_eagerly
    if run_eagerly:
        return functools.partial(step, whole)
    key = frozen(step), jit_compile, models.current_precision(), models.adapter(model).structure(), inputs.form
    with _lock:
        kept = _programs.setdefault(model, OrderedDict())
        _counts["hits" if key in kept else "misses"] += 1
        if key not in kept:
            kept[key] = _compile(step, weakref.ref(model), inputs, jit_compile, spread)
        kept.move_to_end(key)
        while len(kept) > KEPT:
            kept.popitem(last=False)
        found = kept[key]
    return (lambda *args: found(*args, *inputs.others)) if inputs.others else found


def _compile(function: Callable, reference: Callable, inputs: Any, jit_compile: bool | None, spread: bool) -> Callable:
    """A compiled function of `args` and of the model's inputs other than images. It refers to the model weakly:
    otherwise the cache would keep the model alive forever."""
    number, form = len(inputs.others), inputs.fed(())

    def run(*args: Any) -> Any:
        args, others = args[: len(args) - number], args[len(args) - number :]
        return function(models.bound(reference(), form.fed(others)), *args)

    def variables() -> list:
        return models.adapter(reference()).variables()

    return backend.compile(run, variables, jit_compile, spread)


@dataclass(frozen=True)
class OnView(Program):
    """A program that opens a view of a model, inputs and indices, and calls a step with it."""

    step: Program
    score: Any

    def __call__(self, model: Any, inputs: Any, indices: Any, *args: Any) -> Any:
        return self.step(models.view(model, inputs, indices, self.score), *args)


def repeated(step: Program, view: models.View, method: Callable | None = None) -> Callable:
    """`step(view, *args)` as a compiled function of `args`, for a method that calls it many times.

    It is not compiled inside another program, if the model is a function, or if the step calls a `method` that itself
    repeats: a loop of gradients inside one program is 10 to 30 times slower on CPUs (a while loop of XLA)."""
    if backend.is_traced(view.inputs) or view.adapter.black_box or registry.traits(method).repeats:
        return functools.partial(step, view)
    return functools.partial(compiled(OnView(step, view.user_score), view.model), view.inputs, view.chosen())


class _Same:
    """A key for an object that cannot be hashed. It equals a key of the same object only, and keeps that object alive,
    so that no other object gets its id."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __hash__(self) -> int:
        return id(self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.value is other.value


def frozen(value: Any) -> Any:
    """A hashable value, equal for equal parameters. An object that cannot be hashed equals only itself."""
    if isinstance(value, Program):
        return type(value), tuple(frozen(getattr(value, field.name)) for field in fields(value))  # type: ignore[arg-type]
    if isinstance(value, dict):
        return tuple(sorted((k, frozen(v)) for k, v in value.items()))
    if isinstance(value, (list, tuple)):
        return tuple(map(frozen, value))
    try:
        hash(value)
    except TypeError:
        return _Same(value)
    return _Same(value) if keras.ops.is_tensor(value) else value
