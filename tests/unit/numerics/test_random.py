"""Random numbers: the same everywhere, and as random as numbers of their distribution are."""

import keras
import numpy as np
import pytest

from keras_explainable.numerics import random
from support.compare import close

N = 100_000


def normal(*args, **kwargs):
    return keras.ops.convert_to_numpy(random.normal(*args, **kwargs))


def uniform(*args, **kwargs):
    return keras.ops.convert_to_numpy(random.uniform(*args, **kwargs))


def test_the_same_on_every_backend():
    close(normal((4,), 3, 7), [1.6022711, -0.8107406, -1.3615863, -0.19133002], rtol=1e-5)


def test_moments():
    x = normal((N,), 1)
    moments = [np.mean(x**k) for k in (1, 2, 3, 4)]
    close(moments, [0, 1, 0, 3], atol=5 * np.sqrt([1, 2, 15, 96]).max() / np.sqrt(N))


def test_uniform_fills_its_interval_evenly():
    x = uniform((N,), 1)
    assert x.min() > 0 and x.max() < 1
    counts = np.histogram(x, bins=50, range=(0, 1))[0]
    assert ((counts - N / 50) ** 2 / (N / 50)).sum() < 90  # chi squared with 49 degrees of freedom: 1 in 3000


@pytest.mark.parametrize(("a", "b"), [((1, 0), (2, 0)), ((1, 0), (1, 1)), ((0, 1), (1, 0))])
def test_seeds_and_steps_are_independent(a, b):
    assert abs(np.corrcoef(normal((N,), *a), normal((N,), *b))[0, 1]) < 5 / np.sqrt(N)


def test_neighbours_are_independent():
    x = normal((N,), 5)
    for lag in (1, 2, 3, 224):
        assert abs(np.corrcoef(x[:-lag], x[lag:])[0, 1]) < 5 / np.sqrt(N)


def test_the_same_on_the_host():
    for arguments in [((5, 7), 3, 7, 1), ((1000,), -2, 0, 0), ((3,), 2**40 + 5, 2, 9)]:
        np.testing.assert_array_equal(random.on_host(*arguments), uniform(*arguments))
        on_device = keras.ops.convert_to_numpy(random.on_device(*arguments))
        np.testing.assert_array_equal(random.on_host(*arguments), on_device)
