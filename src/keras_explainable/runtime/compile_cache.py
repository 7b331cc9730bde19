"""Compiled functions of a model: made once for each key, kept as long as the model lives, hung on nothing of its."""

import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import keras

from keras_explainable import backend, models
from keras_explainable.runtime.interruptible import heard

KEPT = 64  # compiled functions per model

_lock = threading.Lock()
_kept: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()
_options: ContextVar[tuple] = ContextVar("options", default=(None, None))
_counts = {"hits": 0, "misses": 0}


class CacheInfo(NamedTuple):
    """How often a compiled function was there already, how often it had to be made, and how many are kept."""

    hits: int
    misses: int
    models: int
    functions: int


def cache_info() -> CacheInfo:
    """The state of the cache of compiled functions."""
    with _lock:
        return CacheInfo(_counts["hits"], _counts["misses"], len(_kept), sum(map(len, _kept.values())))


def clear_cache() -> None:
    """Forget all compiled functions."""
    with _lock:
        _kept.clear()
        _counts.update(hits=0, misses=0)


@contextmanager
def options(run_eagerly: bool | None, jit_compile: bool | None) -> Iterator[None]:
    """How functions are compiled inside: not at all, with XLA, or (None) as the model and the backend have it. They run
    so that Ctrl-C is heard."""
    tokens = _options.set((run_eagerly, jit_compile)), heard.set(True)
    try:
        yield
    finally:
        _options.reset(tokens[0])
        heard.reset(tokens[1])


def compiled(function: Callable, key: Any, model: Any, spread: bool = False) -> Callable:
    """`function(model, *args)` as a compiled function of `args`, which are tensors or None.

    With `spread`, what comes in and goes out has images on its first axis, and several devices may share them."""
    run_eagerly, jit_compile = _options.get()
    whole, (model, inputs) = model, models.parted(model)
    run_eagerly = bool(getattr(model, "run_eagerly", False)) if run_eagerly is None else run_eagerly
    if run_eagerly:
        return lambda *args: function(whole, *args)
    key = (key, jit_compile, models.current_precision(), models.adapter(model).structure(), inputs.form)
    with _lock:
        kept = _kept.setdefault(model, OrderedDict())
        _counts["hits" if key in kept else "misses"] += 1
        if key not in kept:
            kept[key] = _compile(function, weakref.ref(model), inputs, jit_compile, spread)
        kept.move_to_end(key)
        while len(kept) > KEPT:
            kept.popitem(last=False)
        found = kept[key]
    return (lambda *args: found(*args, *inputs.others)) if inputs.others else found


def _compile(function: Callable, reference: Callable, inputs: Any, jit_compile: bool | None, spread: bool) -> Callable:
    """A compiled function of `args` and what is fed to the model besides images. A function that kept the model alive
    would never be forgotten, so it has a reference only."""
    number, form = len(inputs.others), inputs.fed(())

    def run(*args: Any) -> Any:
        args, others = args[: len(args) - number], args[len(args) - number :]
        return function(models.bound(reference(), form.fed(others)), *args)

    def variables() -> list:
        return models.adapter(reference()).variables()

    return backend.compile(run, variables, jit_compile, spread)


def repeats(method: Callable) -> Callable:
    """Mark a method that calls compiled functions of its own many times, so that it is not compiled as a whole.

    Loops of gradients inside one program are slow on some processors (a while loop of XLA on CPUs: 10 to 30 times)."""
    method.repeats = True  # type: ignore[attr-defined]
    return method


def repeated(function: Callable, key: Any, model: Any, method: Callable, x: Any) -> Callable:
    """`function(model, *args)` for a method that repeats: compiled, or as it is where it already runs inside a program
    or where `method`, which it calls, repeats as well."""
    if backend.is_traced(x) or getattr(method, "repeats", False):
        return lambda *args: function(model, *args)
    plain = getattr(function, "func", function)  # of a partial function
    return compiled(function, (plain.__module__, plain.__qualname__, key), model)  # no two methods share a key


class _Same:
    """Equal only for the same object: a key for what cannot be hashed, which is kept so that its id stays its own."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __hash__(self) -> int:
        return id(self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.value is other.value


def frozen(value: Any) -> Any:
    """Something hashable that is equal for equal parameters; what cannot be hashed equals only itself."""
    if isinstance(value, dict):
        return tuple(sorted((k, frozen(v)) for k, v in value.items()))
    if isinstance(value, (list, tuple)):
        return tuple(map(frozen, value))
    try:
        hash(value)
    except TypeError:
        return _Same(value)
    return _Same(value) if keras.ops.is_tensor(value) else value
