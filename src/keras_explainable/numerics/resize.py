"""Linear interpolation as one small matrix per axis. It takes any number of spatial axes, and gives the same numbers on
every backend."""

import string
from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from keras_explainable.runtime.memory import check_array_fits

ROUNDING = 1e-6


def weights(size: Any, new: Any, align_corners: bool = False, window: tuple[float, ...] = (0.0, 1.0)) -> Any:
    """The (new, size) matrix W of linear interpolation along one axis: resized = W @ values.

    Output i lies at source position (i + 1/2) size/new - 1/2, clipped to the axis, or with `align_corners` at i (size -
    1)/(new - 1). With a `window` (a, b) the values cover only the outputs from a new to b new: the formula then holds
    with i counted from a new, and new' = (b - a) new. Outputs outside the window are 0. With (a, b, c, d), outputs
    outside of c to d are 0, and those between the window and c or d take the value at the window's edge."""
    of: Any = np if isinstance(size, int) and isinstance(new, int) else ops  # known sizes need no tensors
    i, source = of.arange(new, dtype="float32"), of.arange(size, dtype="float32")
    size, new = (np.float32(n) if of is np else ops.cast(n, "float32") for n in (size, new))
    whole, (a, b, *seen) = window == (0.0, 1.0), window
    c, d = seen or (a, b)
    place = (i + 0.5) / new
    i, new = (i, new) if whole else (i - a * new, (b - a) * new)
    if align_corners:
        at = i * ((size - 1) / of.maximum(new - 1, 1))
    else:
        at = (i + 0.5) * (size / new) - 0.5
    found = of.maximum(1 - of.abs(of.clip(at, 0.0, size - 1)[:, None] - source[None, :]), 0.0)
    if whole:
        return found
    inside = of.abs(place - (c + d) / 2) <= abs(d - c) / 2 + ROUNDING
    return found * (inside.astype("float32") if of is np else ops.cast(inside, "float32"))[:, None]


def resize(maps: Any, size: Any, align_corners: bool = False, axis: int = 1, windows: Sequence = ()) -> Any:
    """Resize maps along their spatial axes, which start at `axis`, to `size` by linear interpolation. `windows` gives,
    per axis, where in the result the maps lie (see `weights`)."""
    shape = ops.shape(maps)
    _check_fits(shape, size, axis)
    letters = string.ascii_lowercase[: len(maps.shape)]
    for k, new in enumerate(size):
        old = shape[axis + k]
        window = (windows[k] if windows else None) or (0.0, 1.0)
        if isinstance(old, int) and isinstance(new, int) and old == new and window == (0.0, 1.0):
            continue
        a = letters[axis + k]
        matrix = weights(old, new, align_corners, window)
        maps = ops.einsum(f"z{a},{letters}->{letters.replace(a, 'z')}", matrix, maps)
    return maps


def _check_fits(shape: tuple, size: Any, axis: int) -> None:
    """Raise if the sizes are known and the result does not fit into this machine's memory."""
    old, new = shape[axis : axis + len(size)], tuple(size)
    if not all(isinstance(n, (int, np.integer)) for n in (*old, *new)):
        return
    others = [n for n in (*shape[:axis], *shape[axis + len(size) :]) if isinstance(n, int)]
    matrix = max((int(a) * int(b) for a, b in zip(old, new, strict=True) if a != b), default=0)
    what = f"Maps of size {tuple(map(int, old))}, resized to {new},"
    check_array_fits(what, (*others, *new), "give a smaller size", extra=3 * matrix)
