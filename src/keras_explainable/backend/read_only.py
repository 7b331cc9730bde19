"""Run the user's model read-only: nothing is written to it while it runs, and later changes to it are detected."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import keras


@contextmanager
def read_only(values: tuple = ()) -> Iterator[None]:
    """Keep every write (losses, counters, seeds) from the model. Inside, variables have the given `values` (pairs of
    variable and tensor); all others have the values of the enclosing scope."""
    with keras.StatelessScope(state_mapping=values, collect_losses=True) as scope:
        outer = scope.original_scope
        if outer is not None:  # ours, or that of `model.stateless_call` or `predict`
            scope.state_mapping = outer.state_mapping | scope.state_mapping
        yield
        if isinstance(outer, Onward):
            outer.state_mapping |= {k: value for k, value in scope.state_mapping.items() if k not in outer.others}


def overridden(variables: Iterable) -> bool:
    """Whether the enclosing scope gives one of the variables another value."""
    with keras.StatelessScope() as scope:
        outer = scope.original_scope
    return outer is not None and any(id(variable) in outer.state_mapping for variable in variables)


class Onward(keras.StatelessScope):
    """A scope in which each run continues from what the previous one wrote, such as seeds, except for some
    variables."""

    def __init__(self, others: Iterable) -> None:
        super().__init__()
        self.others = set(map(id, others))


class Mark:
    """An object in a given state. It equals a mark of the same object in the same state. It keeps the object alive, so
    that no other object can be mistaken for it."""

    def __init__(self, value: Any, *state: int | None) -> None:
        self.value, self.state = value, state

    def __hash__(self) -> int:
        return hash((id(self.value), self.state))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mark) and self.value is other.value and self.state == other.state
