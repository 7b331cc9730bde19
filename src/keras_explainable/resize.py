"""Linear interpolation as one small matrix per axis: any number of spatial axes, the same numbers on every backend."""

import string
from typing import Any

import numpy as np
from keras import ops


def weights(size: Any, new: Any, align_corners: bool = False) -> Any:
    """The (new, size) matrix W of linear interpolation along one axis: resized = W @ values.

    Output i lies at source position (i + 1/2) size/new - 1/2, held inside the axis, or with `align_corners` at
    i (size - 1)/(new - 1)."""
    of: Any = np if isinstance(size, int) and isinstance(new, int) else ops  # what is known need not be computed
    i, source = of.arange(new, dtype="float32"), of.arange(size, dtype="float32")
    size, new = (np.float32(n) if of is np else ops.cast(n, "float32") for n in (size, new))
    if align_corners:
        at = i * ((size - 1) / of.maximum(new - 1, 1))
    else:
        at = (i + 0.5) * (size / new) - 0.5
    at = of.clip(at, 0.0, size - 1)
    return of.maximum(1 - of.abs(at[:, None] - source[None, :]), 0.0)


def resize(maps: Any, size: Any, align_corners: bool = False, axis: int = 1) -> Any:
    """Maps with their spatial axes, which start at `axis`, brought to `size` by linear interpolation."""
    shape = ops.shape(maps)
    letters = string.ascii_lowercase[: len(maps.shape)]
    for k, new in enumerate(size):
        old = shape[axis + k]
        if isinstance(old, int) and isinstance(new, int) and old == new:
            continue
        a = letters[axis + k]
        maps = ops.einsum(f"z{a},{letters}->{letters.replace(a, 'z')}", weights(old, new, align_corners), maps)
    return maps
