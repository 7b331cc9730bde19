"""Arrays as tensors of the backend or as NumPy arrays."""

from typing import Any

import numpy as np
from keras import ops

from keras_explainable import models
from keras_explainable.errors import InputError


def check_dense(x: Any) -> None:
    """Raise if `x` is ragged, that is, holds images of several sizes."""
    if hasattr(x, "ragged_rank"):
        raise InputError(
            f"A {type(x).__name__} of shape {tuple(x.shape)} came, and images of one size were expected: resize them "
            "to one size, or explain the images of each size separately."
        )


def native(value: Any) -> Any:
    """Return a tensor of the backend as it is. Anything else, such as another framework's tensor, becomes a NumPy
    array."""
    if isinstance(value, models.Several):
        return value.map(native)
    check_dense(value)
    return value if ops.is_tensor(value) else host(value)


def host(value: Any) -> np.ndarray:
    """An array or tensor as a NumPy array in host memory."""
    if hasattr(value, "detach"):  # a torch tensor, on any device
        value = value.detach().cpu()
    return np.asarray(value)
