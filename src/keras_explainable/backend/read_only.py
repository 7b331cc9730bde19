"""The user's model as a read-only thing: nothing that happens while it runs is written to it, and what else is written
there is seen."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import keras


@contextmanager
def read_only(values: tuple = ()) -> Iterator[None]:
    """Inside, variables read as `values` (pairs of variable and tensor), else as around this scope, and every write
    (losses, counters, seeds) is kept from the model."""
    with keras.StatelessScope(state_mapping=values, collect_losses=True) as scope:
        outer = scope.original_scope
        if outer is not None:  # ours, or that of `model.stateless_call` or `predict`
            scope.state_mapping = outer.state_mapping | scope.state_mapping
        yield
        if isinstance(outer, Onward):
            outer.state_mapping |= {k: value for k, value in scope.state_mapping.items() if k not in outer.others}


class Onward(keras.StatelessScope):
    """Inside, each run goes on from what the one before has written, as seeds, but for some variables."""

    def __init__(self, others: Iterable) -> None:
        super().__init__()
        self.others = set(map(id, others))


class Mark:
    """An object in a state. It equals one of the same object in the same state, and keeps it, so that no other object
    can be taken for it."""

    def __init__(self, value: Any, *state: int | None) -> None:
        self.value, self.state = value, state

    def __hash__(self) -> int:
        return hash((id(self.value), self.state))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mark) and self.value is other.value and self.state == other.state
