"""The user's model as a read-only thing: nothing that happens while it runs is written to it."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import keras

_values: ContextVar[tuple] = ContextVar("values", default=())


@contextmanager
def read_only(values: tuple | None = None) -> Iterator[None]:
    """Inside, variables read as `values` (pairs of variable and tensor; those of the enclosing scope if None) or as
    they are, and every write (losses, counters, seeds) is kept from the model."""
    values = _values.get() if values is None else values
    token = _values.set(values)
    try:
        with keras.StatelessScope(state_mapping=values, collect_losses=True):
            yield
    finally:
        _values.reset(token)
