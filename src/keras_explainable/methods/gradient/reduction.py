"""Reductions of gradients with channels to maps."""

from collections.abc import Callable
from typing import Any

from keras import ops

from keras_explainable.methods.fullgrad.full_gradients import full_gradients as full_gradients
from keras_explainable.methods.fullgrad.full_gradients import simple_full_gradients as simple_full_gradients
from keras_explainable.runtime.validation import check_choice

REDUCE = {
    "mean": lambda g: ops.mean(ops.abs(g), axis=-1),
    "max": lambda g: ops.max(ops.abs(g), axis=-1),
    "sum": lambda g: ops.sum(ops.abs(g), axis=-1),
}


def units_last(maps: Any) -> Any:
    """(B, K, *S) as (B, *S, K)."""
    return ops.moveaxis(maps, 1, -1)


def channel_reducer(reduce: str | None) -> Callable:
    """A function from gradients (B, K, *S, C) to maps (B, *S, K). If `reduce` is None, it changes nothing."""
    return _reducer(REDUCE, reduce, "for signed gradients")


PARTS = {
    "sum": lambda v: ops.sum(v, axis=-1),
    "absolute": lambda v: ops.sum(ops.abs(v), axis=-1),
}


def part_reducer(reduce: str | None) -> Callable:
    """A function from attributions (B, K, *S, C) to maps (B, *S, K). If `reduce` is None, it changes nothing."""
    return _reducer(PARTS, reduce, "to keep channels")


def _reducer(kinds: dict[str, Callable], reduce: str | None, otherwise: str) -> Callable:
    if reduce is None:
        return lambda v: v
    check_choice("reduce", reduce, kinds, f", or None {otherwise}")
    return lambda v: units_last(kinds[reduce](v))
