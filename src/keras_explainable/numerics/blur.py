"""Gaussian blur of images."""

import string
from typing import Any

from keras import ops


def blur_weights(size: int, sigma: Any) -> tuple[Any, Any]:
    """The (size, size) matrix W of a Gaussian blur along an axis, and dW/dsigma. Rows of W sum to 1 also at the border,
    so plain colours are preserved and a wide blur leaves the mean."""
    i = ops.arange(size, dtype="float32")
    squares = ops.square(i[:, None] - i[None])
    weights = ops.softmax(-squares / (2 * ops.square(sigma)), axis=-1)
    # The derivative of softmax(z) is W (z' - sum W z'), with z' = squares / sigma^3.
    moved = weights * (squares - ops.sum(weights * squares, axis=-1, keepdims=True))
    return weights, moved / ops.power(sigma, 3)


def blur(x: Any, sigma: Any, axes: tuple) -> tuple[Any, Any]:
    """Blur images along some axes; also return the derivative with respect to sigma."""
    letters = string.ascii_lowercase[: len(x.shape)]
    change = ops.zeros_like(x)
    for axis in axes:
        weights, moved = blur_weights(x.shape[axis], sigma)
        a = letters[axis]
        along = f"z{a},{letters}->{letters.replace(a, 'z')}"
        change = ops.einsum(along, weights, change) + ops.einsum(along, moved, x)
        x = ops.einsum(along, weights, x)
    return x, change
