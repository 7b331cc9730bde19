"""Check the indices of the units to explain, and turn them into a tensor."""

from typing import Any

import numpy as np
from keras import ops

from keras_explainable import backend
from keras_explainable.errors import InputError, shortly


def unit_indices(indices: Any, batch: Any, units: int | None) -> Any:
    """Indices as a (B, K) tensor, from an int, (B,), or (B, K). Indices with known values are checked against
    `units`."""
    if ops.is_tensor(indices) and "float" in str(indices.dtype) and not backend.is_traced(indices):
        indices = backend.to_host(ops.cast(indices, "float32"))
    if isinstance(indices, (int, float, np.number, list, tuple, np.ndarray)):
        check_units(np.asarray(indices), units)
        indices = np.asarray(indices).astype("int32")
    indices = ops.cast(ops.convert_to_tensor(indices), "int32")
    if len(indices.shape) == 0:
        return ops.broadcast_to(indices, (batch, 1))
    return indices[:, None] if len(indices.shape) == 1 else indices


def check_units(indices: np.ndarray, units: int | None, of: str = "model") -> None:
    """Raise if these are not valid unit indices for a model, or a score, with so many units."""
    if indices.dtype.kind == "O" and indices.size and all(isinstance(n, int) for n in indices.flat):
        large = max(indices.flat, key=abs)
        raise InputError(f"Unit {shortly(large)} came, and numbers from 0 to the number of units - 1 were expected.")
    if indices.dtype.kind == "U" and indices.size:
        raise InputError(
            f"y has names, such as {str(indices.flat[0])!r}, and numbers of units were expected: give ke.explain the "
            "names of all classes as labels=[...]."
        )
    if indices.dtype.kind not in "iuf":
        raise InputError(
            f"Unit indices of type {indices.dtype} came, and integers were expected, one per unit to explain: "
            "use y.argmax(-1) for one-hot labels."
        )
    if indices.ndim > 2:
        raise InputError(f"Unit indices of shape {indices.shape} came: give an int, (batch,) or (batch, K).")
    if not indices.size:
        raise InputError(
            f"Unit indices of shape {indices.shape} came, with none in them: give some, or leave y out to explain "
            "every unit."
        )
    if indices.dtype.kind == "f":
        _check_whole(indices)
    if units is not None and (indices.max() >= units or indices.min() < 0):
        bad = int(indices[(indices >= units) | (indices < 0)].flat[0])
        one_unit = (
            ": in a classifier it is the positive class. To explain against it, give y=0, "
            "score=ke.scores.negated(); if y has a dataset's labels of 0 and 1, score=ke.scores.binary()"
        )
        alone = of == "model" and units == 1 and bad > 0
        has = f"one unit, number 0{one_unit}" if alone else f"units 0 to {units - 1}"
        raise InputError(f"Unit {bad} was asked for, and the {of} has {has}.")


def _check_whole(indices: np.ndarray) -> None:
    """Raise if floats are not unit indices."""
    rows = indices.ndim == 2 and indices.shape[1] > 1
    if rows and np.isin(indices, (0, 1)).all():
        raise one_hot(indices)
    broken = ~np.isfinite(indices) | (indices != np.round(indices))
    if broken.any():
        raise InputError(
            f"Unit indices of type {indices.dtype} came, {indices[broken].flat[0]} among them, and integers were "
            f"expected, one per unit to explain{': use y.argmax(-1) for rows of one value per unit' if rows else ''}."
        )


def check_scores(made: Any) -> Any:
    """Return what a score function returned. Raise if it is not an array."""
    plain = isinstance(made, (np.ndarray, np.generic, list, tuple, int, float))
    words = isinstance(made, np.ndarray) and made.dtype.kind not in "biuf"
    words = words or (isinstance(made, (list, tuple)) and any(isinstance(v, (str, bytes)) or v is None for v in made))
    if words or not (plain or hasattr(made, "shape")):
        what = "None (is a return statement missing?)" if made is None else f"a {type(made).__name__}"
        what += f" of {made.dtype}" if words and isinstance(made, np.ndarray) else ""
        raise InputError(f"score(outputs) returned {what}, and an array or tensor (batch, units) was expected.")
    return made


def one_hot(rows: np.ndarray) -> InputError:
    """The error for one-hot rows in place of unit indices."""
    return InputError(
        f"y of shape {rows.shape} has one-hot rows, of 0 and 1 alone, and unit indices were expected: pass "
        "y.argmax(-1), or, if images have several labels, their indices, the same number for each image."
    )
