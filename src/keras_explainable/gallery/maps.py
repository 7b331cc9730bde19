"""The maps of several methods for a command. Methods that cannot explain the model are left out, with the reason."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import keras_explainable as ke


@contextmanager
def leaving_out(name: str, left_out: dict[str, str]) -> Iterator[None]:
    """Run a body that may fail for one method or image. On failure, enter the reason under its name and continue."""
    try:
        yield
    except ke.errors.OutputError:  # it would fail for all others as well
        raise
    except ke.errors.ExplainError as error:
        left_out[name] = str(error)
    except MemoryError:
        left_out[name] = "It needs more memory than is available."


def groups(names: Sequence[str]) -> list[list[str]]:
    """The names of methods, those that share passes of the model together."""
    return [[method.__name__ for method in group] for group in ke.registry.groups(map(ke.get, names))]


def explained(
    methods: Mapping[str, Mapping[str, Any]],
    model: Any,
    inputs: Any,
    units: Any,
    left_out: dict[str, str],
    **shared: Any,
) -> dict[str, ke.Explanation]:
    """The explanations by methods, each a name with its parameters. The reasons of those that fail are entered in
    `left_out`."""
    chosen = {name: (name, params) for name, params in methods.items()}
    found: Mapping[str, ke.Explanation] = {}
    failed: Mapping[str, Exception] = {}
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*: left out, and its exception")
            found = ke.explain(chosen, model, inputs, units, **({"postprocessing": "usual"} | shared))
        failed = found.failed  # type: ignore[attr-defined]
    except (ke.errors.ExplainError, MemoryError) as error:
        failed = getattr(error, "failed", dict.fromkeys(methods, error))
    for name, reason in failed.items():
        with leaving_out(name, left_out):
            raise reason
    return dict(found)
