"""Checks of the arguments of `explain`."""

import numbers
import re
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Any

import numpy as np

from keras_explainable import data, models, registry
from keras_explainable.errors import InputError, shortly


def shared_arguments(method: Callable, model: Any, given: dict, seed: Any, batch_size: Any) -> dict[str, Any]:
    """The arguments of `explain` that the method takes as well."""
    check_seed(seed)
    found = {"seed": seed} if seed is not None and registry.takes(method, "seed") else {}
    several = batch_size is not None and given.get("at_once") is None and registry.takes(method, "at_once")
    if several and models.adapter(model).black_box:
        found["at_once"] = batch_size
    return found


def check_seed(seed: Any) -> None:
    """Raise if this is not a seed, even if nothing is drawn."""
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, numbers.Integral)):
        raise InputError(f"seed={shortly(seed)} came, and a whole number or None was expected.")


def check_arguments(postprocessing: Any, resizing: Any, channels: Any, flags: dict[str, Any], placement: Any) -> None:
    """Raise if an argument is wrong that would otherwise fail only after the first batch."""
    for name, value in flags.items():
        if not (value is None or isinstance(value, (bool, int, np.bool_))):
            raise InputError(f"{name}={shortly(value)} came, and True or False was expected.")
    if placement not in ("measured", "stretch"):
        raise InputError(f'placement={shortly(placement)} came, and "measured" or "stretch" was expected.')
    if not (channels is None or isinstance(channels, (str, int))):
        raise InputError(
            f'channels={shortly(channels)} came, and "first", "last", "none" or the number of an axis was expected.'
        )
    usual = isinstance(postprocessing, str) and postprocessing == "usual"
    filters = postprocessing is None or usual or registry.accepts(postprocessing, "maps")
    if not (filters or registry.accepts(postprocessing, "maps", axis=())):
        raise InputError(
            f"postprocessing={shortly(postprocessing)} came, and a function such as ke.filters.normalize was expected."
        )
    sizes = resizing if isinstance(resizing, (tuple, list)) else ()
    if not (resizing is None or isinstance(resizing, bool) or sizes) or not all(data.is_count(s) for s in sizes):
        raise InputError(
            f"resizing={shortly(resizing)} came, and True, False, or a size such as (224, 224) was expected."
        )


def named_units(y: Any, labels: Sequence[str] | None) -> Any:
    """`y`, where names of classes are replaced by their numbers in `labels`.

    Raises:
        InputError: a name is not in `labels`, or is in it twice, or there are no labels.
    """
    if labels is not None and (isinstance(labels, str) or not all(isinstance(label, str) for label in labels)):
        raise InputError(f"labels={shortly(labels)} came, and the names of all classes in a list were expected.")
    if isinstance(y, str):
        ranked = re.fullmatch(r"predicted|top-\d+", y) and not (labels and y in labels)
        return y if ranked or labels is None else _number_of(y, list(labels))
    if not isinstance(y, (list, tuple, np.ndarray)):
        return y
    names = np.asarray(y) if labels is not None else np.empty(0)
    if names.dtype.kind != "U":
        return y
    return np.array([_number_of(name, list(labels or ())) for name in names.ravel().tolist()]).reshape(names.shape)


def _number_of(name: str, labels: list[str]) -> int:
    if labels.count(name) == 1:
        return labels.index(name)
    near = get_close_matches(name, labels, 3)
    hint = f"Did you mean {' or '.join(map(repr, near))}?" if near else f"labels= has {len(labels)} others."
    problem = (
        f"is {labels.count(name)} times in labels=: give its number." if name in labels else f"is not a class. {hint}"
    )
    raise InputError(f"y={name!r} came, which {problem}")
