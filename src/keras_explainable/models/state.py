"""What a model's forward pass may depend on besides its weights (flags, settings, functions), as values that can be
compared.

What is cached for a model (a trace, a compiled program) is valid as long as this state stays the same. Attributes that
a run itself changes, such as a counter, are left out: the state would never stay the same."""

import contextlib
import enum
import os
import threading
import weakref
from collections.abc import Collection, Iterator, Mapping
from types import FunctionType, ModuleType
from typing import Any

from keras_explainable.models.layer_roles import HOUSES

PLAIN = (type(None), bool, int, float, complex, str, bytes, enum.Enum, type)
QUICK = (bool, int, float, str, type(None))
MANY = 64  # compare at most this many parts of a container or object

State = dict[tuple, Any]  # (path, name) of each attribute: a value that compares

_lock = threading.Lock()
_volatile: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()  # by model: the attributes that its own runs change


def same_object(value: Any) -> Any:
    """A value that equals only that of the same object, and does not keep the object alive."""
    try:
        found = weakref.ref(value)
        hash(found)  # a reference stores its hash; it cannot be computed once the object is gone
        return found
    except TypeError:
        return id(value)


def token(value: Any, depth: int = 2) -> Any:
    """A value that compares equal as long as the argument does not change. None for arrays and layers, whose content is
    not a setting."""
    if isinstance(value, PLAIN):
        return value
    if isinstance(value, FunctionType):
        return same_object(value)
    if not depth or hasattr(value, "shape") or hasattr(value, "named_modules"):
        return None
    if isinstance(value, Mapping):
        return tuple((repr(key), token(part, depth - 1)) for key, part in [*value.items()][:MANY])
    if isinstance(value, (list, tuple, set, frozenset)):
        return tuple(token(part, depth - 1) for part in [*value][:MANY])
    if _is_settings(value):
        return tuple((name, token(part, depth - 1)) for name, part in [*vars(value).items()][:MANY])
    return None


def _is_settings(value: Any) -> bool:
    """Whether an object is a user's own record of settings."""
    home = type(value).__module__.partition(".")[0]
    plain = hasattr(value, "__dict__") and not callable(value) and not isinstance(value, ModuleType)
    return plain and home not in HOUSES and home != "tensorflow"


def settings(path: str, values: dict[str, Any]) -> State:
    """An object's attributes as values that can be compared."""
    return {(path, name): value if type(value) in QUICK else token(value) for name, value in values.items()}


def of_class(kind: type) -> Iterator[tuple[tuple, Any]]:
    """The settings of a user's class, and what its methods read from outside of the object."""
    for one in kind.__mro__:
        if one.__module__.partition(".")[0] in (*HOUSES, "builtins", "typing"):
            continue
        where = f"{one.__module__}.{one.__qualname__}"
        for name, value in vars(one).items():
            if isinstance(value, PLAIN) and not name.startswith("__"):
                yield (where, name), value
            if isinstance(value, FunctionType):
                yield (where, name), same_object(value)
                yield from (((where, name, key), part) for key, part in _read_by(value))


def _read_by(function: FunctionType, depth: int = 3) -> Iterator[tuple[Any, Any]]:
    """The settings that a function reads: from its module, from functions that it calls there, from the environment,
    and from its closure."""
    names = function.__code__.co_names
    found = {name: function.__globals__[name] for name in names if name in function.__globals__}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with contextlib.suppress(ValueError):  # not set yet
            found[name] = cell.cell_contents
    for name, value in found.items():
        if isinstance(value, FunctionType):
            yield name, same_object(value)
            if depth and value.__module__.partition(".")[0] not in HOUSES:
                yield from (((name, key), part) for key, part in _read_by(value, depth - 1))
        elif isinstance(value, (*PLAIN, Mapping, list, tuple, set)) or _is_settings(value):
            yield name, token(value)
    if "environ" in names or "getenv" in names:
        yield "environ", tuple(sorted(os.environ.items()))


def stable(model: Any, state: State) -> tuple:
    """A state without the attributes that the model's own runs change."""
    return stable_pairs(model, tuple(state.items()))


def stable_pairs(model: Any, pairs: tuple) -> tuple:
    """The same for a state as pairs, which may have been taken before these changes were known."""
    with _lock:
        volatile: Collection = _volatile.get(model, ())
    return tuple(pair for pair in pairs if pair[0] not in volatile)


def ran(model: Any, before: State, after: State) -> None:
    """Record which attributes a run of the model changed. Layers that the run created do not count."""
    there = {key[0] for key in before}
    changed = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
    changed = {key for key in changed if len(key) > 1 and key[0] in there}
    if changed:
        with _lock:
            _volatile.setdefault(model, set()).update(changed)
