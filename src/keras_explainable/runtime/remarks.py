"""Remarks that a method makes about its maps: kept from batch to batch, and reported after the last one."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import numpy as np

from keras_explainable import backend

_collected: ContextVar[dict | None] = ContextVar("collected", default=None)


class Remark(NamedTuple):
    """What to report: entries of `.about`, and a warning or None."""

    about: dict[str, Any]
    warning: str | None = None


@contextmanager
def collecting() -> Iterator[dict]:
    """A scope that collects remarks. It yields what `collect` takes."""
    found: dict = {}
    token = _collected.set(found)
    try:
        yield found
    finally:
        _collected.reset(token)


@contextmanager
def labelled(label: str) -> Iterator[None]:
    """A scope for one of several methods: what is collected is under its label."""
    found = _collected.get()
    token = _collected.set(None if found is None else found.setdefault(label, {}))
    try:
        yield
    finally:
        _collected.reset(token)


@contextmanager
def unwanted() -> Iterator[None]:
    """A scope that collects no remarks, for a method inside another one, whose maps the user does not get."""
    token = _collected.set(None)
    try:
        yield
    finally:
        _collected.reset(token)


def wanted(x: Any) -> bool:
    """Whether remarks are collected, and `x` is not part of a program being built, where nothing can be kept."""
    return _collected.get() is not None and not backend.is_traced(x)


def keep(remark: Callable, values: tuple, **facts: Any) -> None:
    """Keep the tensors of some images for `remark(*values of all images, **facts)`, which returns a `Remark`."""
    found = _collected.get()
    if found is not None:
        found.setdefault(remark, []).append((values, facts))


def collect(found: dict) -> list[Remark]:
    """The remarks made from everything that was kept."""
    made = []
    for remark, parts in found.items():
        columns = zip(*(map(backend.to_host, values) for values, _ in parts), strict=True)
        made.append(remark(*map(np.concatenate, columns), **parts[-1][1]))
    return made
