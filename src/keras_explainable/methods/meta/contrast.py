"""Maps of the difference between a unit's score and those of other units."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from keras import ops

from keras_explainable import backend, models, registry
from keras_explainable.errors import InputError
from keras_explainable.registry import Method


@dataclass(frozen=True)
class Contrast(models.ScoreTraits):
    """The score of each unit minus the mean of the others. Contrasts with the same `others` are equal, so that compiled
    programs are reused."""

    others: tuple[int, ...] | None
    before_activation: bool = field(default=True, kw_only=True)
    linear: bool = field(default=True, kw_only=True)

    def __call__(self, outputs: Any) -> Any:
        values = ops.cast(outputs, "float32")
        number = values.shape[-1]
        if number < 2:
            raise InputError(f"The model has {number} unit, so there is no other to compare with: explain it directly.")
        models.check_units(np.asarray(self.others or (0,)), number)
        chosen = np.isin(np.arange(number), self.others or np.arange(number))[:, None] & ~np.eye(number, dtype=bool)
        share = chosen / np.maximum(chosen.sum(axis=0), 1)  # (of others, of units)
        return values - values @ ops.convert_to_tensor(share.astype("float32"))


def contrast(method: Method, other_units: int | Sequence[int] | None = None) -> Callable:
    """Explain why a unit and not others: a method applied to the score of a unit minus the mean of other units' scores.

    score[b, k] = f[b, k] - mean over j in other_units, j not k, of f[b, j]

    Args:
        method: an explaining method that takes `score`, or its name.
        other_units: the numbers j of the other units; None for all.

    Returns:
        A method with the parameters of `method`, except `score`. If `other_units` is a single unit, it cannot be
        explained itself: asking for it raises an `InputError` if `indices` are known beforehand; otherwise its score
        is f[b, k].

    Raises:
        InputError: the method takes no `score`, or `other_units` are not unit numbers.
    """
    known = registry.parameters(method := registry.method_of(method))
    if known is not None and "score" not in known:
        raise InputError(f"{registry.named(method)} takes no score=, so it cannot explain a difference of scores.")
    if other_units is not None:
        models.check_units(np.asarray(other_units), None)
    others = None if other_units is None else tuple(int(k) for k in np.atleast_1d(other_units))

    @registry.with_parameters_of(method, but=["score"])
    def contrasted(model: Any, inputs: Any, indices: Any = None, **params: Any) -> tuple:
        if indices is not None:
            models.units(model, inputs, indices)  # raises for units that the model does not have
            _check_others(others, indices)
        return models.on_view(method, models.view(model, inputs, indices, Contrast(others)), **params)

    registry.with_traits(repeats=registry.traits(method).repeats)(contrasted)
    contrasted.__name__ = f"{registry.named(method)}_contrast"
    return contrasted


def _check_others(others: tuple[int, ...] | None, indices: Any) -> None:
    """Raise if a unit would be compared only with itself. Units inside a traced program are not known."""
    if others and len(set(others)) == 1 and not backend.is_traced(indices) and others[0] in backend.to_host(indices):
        raise InputError(
            f"Unit {others[0]} was asked for, and other_units={others[0]} has no other to compare with: "
            "give another unit."
        )
