"""The one comparison of numbers in all tests."""

import keras
import numpy as np


def close(actual, expected, tolerance=1e-5, *, atol=None, rtol=None):
    """Assert that shapes are equal, and that values differ by less than `tolerance` times the largest expected one.

    A tuple or list is compared array by array, and an array of several axes image by image (along its first axis):
    what is small beside another array or image must be right as well.

    With `atol` or `rtol`, each value may differ by atol + rtol |expected|, and a number stands for an array of it."""
    if atol is not None or rtol is not None:
        np.testing.assert_allclose(as_numpy(actual), as_numpy(expected), atol=atol or 0, rtol=rtol or 0)
    elif isinstance(expected, (tuple, list)) or np.ndim(expected) > 1:
        for a, e in zip(actual, expected, strict=True):
            _close(as_numpy(a), as_numpy(e), tolerance)
    else:
        _close(as_numpy(actual), as_numpy(expected), tolerance)


def as_numpy(value):
    """An array of any framework, or a number, as a NumPy array."""
    return np.asarray(keras.ops.convert_to_numpy(value.detach()) if hasattr(value, "detach") else value)


def _close(actual, expected, tolerance):
    assert actual.shape == expected.shape, (actual.shape, expected.shape)
    np.testing.assert_allclose(actual, expected, atol=tolerance * max(abs(expected).max(initial=0), 1e-12), rtol=0)
