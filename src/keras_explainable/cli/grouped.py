"""Options that several commands share are said once, as a dataclass."""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any


def grouped(command: Callable) -> Callable:
    """Wrap a command: it takes the fields of its dataclasses as options of its own, and gets the dataclasses."""
    own = inspect.signature(command, eval_str=True).parameters
    groups: dict[str, Any] = {
        name: one.annotation for name, one in own.items() if dataclasses.is_dataclass(one.annotation)
    }

    @functools.wraps(command)
    def run(**given: Any) -> None:
        made = {name: group(**{f.name: given.pop(f.name) for f in _fields(group)}) for name, group in groups.items()}
        command(**made, **given)

    shown = [
        one.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in own.items()
        for one in (_parameters(groups[name]) if name in groups else [parameter])
    ]
    run.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in shown}
    del run.__wrapped__
    return run


def _fields(group: Any) -> tuple[dataclasses.Field, ...]:
    return dataclasses.fields(group)


def _parameters(group: Any) -> Iterator[inspect.Parameter]:
    """A parameter for each field of a dataclass; all have defaults."""
    for field in _fields(group):
        default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        yield inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=field.type)
