"""The `Score` class: a function from a model's outputs to (batch, K) scores. Scores with equal arguments are equal."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from keras import ops

from keras_explainable.errors import InputError, shortly
from keras_explainable.models import ScoreTraits


@dataclass(frozen=True)
class Score(ScoreTraits):
    """A function from a model's outputs to (batch, K) scores, with its arguments."""

    function: Callable
    arguments: tuple

    def __call__(self, outputs: Any) -> Any:
        return self.function(outputs, *self.arguments)

    def __repr__(self) -> str:
        return f"ke.scores.{self.function.__name__.strip('_')}({', '.join(map(repr, self.arguments))})"


@dataclass(frozen=True, repr=False)
class Chosen(Score):
    """A choice of units. It is made once on the original images, and kept while a method perturbs them."""

    of: Callable | None = None  # the score whose columns are chosen; None for the model's units

    @property
    def count(self) -> int:
        """How many units are chosen for each image."""
        return self.arguments[0]

    def choose(self, scores: Any) -> Any:
        """The chosen (batch, K) units, given the scores of all units."""
        return self.function(scores, *self.arguments)

    def __call__(self, outputs: Any) -> Any:
        values = as_rows(outputs) if self.of is None else self.of(outputs)
        return ops.take_along_axis(values, self.choose(values), axis=-1)

    def __repr__(self) -> str:
        return super().__repr__() + (f" of {self.of!r}" if self.of else "")


@dataclass(frozen=True)
class Labels:
    """A dataset's own labels as `y`, and the score whose columns they number."""

    y: Any
    score: Score


def unit(outputs: Any, units: tuple[int, ...]) -> Any:
    """Columns of an output (batch, units)."""
    values = as_rows(outputs)
    check_units(units, values.shape[-1])
    return ops.stack([values[:, k] for k in units], axis=1)


def as_float(outputs: Any) -> Any:
    """One output as float32. Raise if there are several, or none."""
    if isinstance(outputs, (list, tuple, dict)):
        many = list(outputs) if isinstance(outputs, dict) else f"{len(outputs)}"
        raise InputError(f"The model returns several outputs ({many}): choose one by ke.scores.output(which, score).")
    if outputs is None:
        raise InputError("None came, and outputs (batch, units) were expected: is a return statement missing?")
    return ops.cast(ops.convert_to_tensor(outputs), "float32")


def as_rows(outputs: Any) -> Any:
    """An output as (batch, units)."""
    values = as_float(outputs)
    if len(values.shape) not in (1, 2):
        raise InputError(f"Outputs of shape {tuple(values.shape)} came, and (batch, units) was expected.")
    return values[:, None] if len(values.shape) == 1 else values


def is_count(value: Any) -> bool:
    """Whether it is an integer of at least 1."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool) and bool(value > 0)


def numbers(name: str, value: Any) -> tuple[int, ...]:
    """The units that an argument names, as a tuple."""
    found = np.atleast_1d(np.asarray(value))
    if found.ndim != 1 or found.dtype.kind not in "iu" or not found.size or found.min() < 0:
        raise InputError(
            f"{name}={shortly(value)} came, and a unit's number (0 or more), or a sequence of them, was expected."
        )
    return tuple(int(n) for n in found)


def check_units(units: tuple[int, ...], count: int | None) -> None:
    """Raise if an output with `count` units does not have these units."""
    bad = [k for k in units if count is not None and k >= count]
    if bad:
        raise InputError(f"Unit {shortly(bad[0])} was asked for, and this output has units 0 to {count - 1}.")  # type: ignore[operator]
