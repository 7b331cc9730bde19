"""Nested tuples, lists and dictionaries of inputs or outputs."""

from collections.abc import Callable, Iterator, Mapping
from numbers import Number
from typing import Any

from keras_explainable.models.leaf import Leaf as Leaf


def leaves(tree: Any, path: tuple = ()) -> Iterator[tuple[tuple, Any]]:
    """The arrays in a structure, by path. A list of numbers counts as an array; None does not."""
    parts = _parts(tree)
    if parts is None:
        yield from () if tree is None else [(path, tree)]
        return
    for name, part in parts.items():
        yield from leaves(part, (*path, name))


def alternatives(tree: Any) -> str:
    """The leaves of a structure, for messages."""
    return " or ".join(path_text(path) for path, _ in leaves(tree)) or "none, as x is empty"


def path_text(path: tuple) -> str:
    """A path as a user writes it."""
    return repr(path[0] if len(path) == 1 else path)


def _parts(tree: Any) -> dict | None:
    """The parts of a structure, by name or index; None for an array."""
    if isinstance(tree, Mapping):
        return dict(tree)
    if isinstance(tree, (tuple, list)) and not (tree and all(isinstance(part, Number) for part in tree)):
        return dict(enumerate(tree))
    return None


def placed(tree: Any, numbers: dict, path: tuple = ()) -> Any:
    """The structure with a number in place of each array."""
    parts = _parts(tree)
    if parts is None:
        return numbers.get(path)
    return _like(tree, {name: placed(part, numbers, (*path, name)) for name, part in parts.items()})


def mapped(tree: Any, function: Callable) -> Any:
    """A structure of numbers with `function` applied to each."""
    if isinstance(tree, dict):
        return {name: mapped(part, function) for name, part in tree.items()}
    if isinstance(tree, (tuple, list)):
        return _like(tree, {i: mapped(part, function) for i, part in enumerate(tree)})
    return None if tree is None else function(tree)


def _like(tree: Any, parts: dict) -> Any:
    if isinstance(tree, Mapping):
        return parts
    return type(tree)(*parts.values()) if hasattr(tree, "_fields") else type(tree)(parts.values())
