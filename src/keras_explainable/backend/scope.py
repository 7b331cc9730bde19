"""The user's model as a read-only thing: nothing that happens while it runs is written to it."""

from collections.abc import Iterator
from contextlib import contextmanager

import keras


@contextmanager
def read_only(values: tuple = ()) -> Iterator[None]:
    """Inside, variables read as `values` (pairs of variable and tensor), else as around this scope, and every write
    (losses, counters, seeds) is kept from the model."""
    with keras.StatelessScope(state_mapping=values, collect_losses=True) as scope:
        if scope.original_scope is not None:  # ours, or that of `model.stateless_call` or `predict`
            scope.state_mapping = scope.original_scope.state_mapping | scope.state_mapping
        yield
