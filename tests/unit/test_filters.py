"""Filters equal their twins, and what they are by definition."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest

import keras_explainable as ke
from reference import filters as twins
from support.compare import close
from support.selection import slow

NAMES = [
    "normalize",
    "positive",
    "negative",
    "absolute",
    "positive_normalize",
    "negative_normalize",
    "absolute_normalize",
]


def run(name, x, **params):
    return keras.ops.convert_to_numpy(getattr(ke.filters, name)(x, **params))


@pytest.mark.parametrize("name", NAMES)
def test_filter_equals_its_twin(name, rng):
    x = rng.normal(size=(3, 5, 7, 2)).astype("float32")
    close(run(name, x), getattr(twins, name)(x), atol=1e-6)


def test_by_hand():
    x = np.array([-1.0, 0.0, 2.0], "float32").reshape(1, 3, 1, 1)
    assert run("negative", x).ravel().tolist() == [1, 0, 0]
    assert run("positive", x).ravel().tolist() == [0, 0, 2]
    close(run("normalize", x).ravel(), [0, 1 / 3, 1], rtol=1e-6)
    close(run("absolute_normalize", x).ravel(), [0.5, 0, 1], rtol=1e-6)


@pytest.mark.parametrize("name", ["normalize", "positive_normalize", "absolute_normalize"])
def test_a_constant_map_becomes_zeros(name):
    assert not run(name, np.full((2, 4, 4, 1), 3.0, "float32")).any()


@pytest.mark.parametrize("space", [(6,), (3, 4, 5)])
def test_any_number_of_spatial_axes(space, rng):
    x = rng.normal(size=(2, *space, 3)).astype("float32")
    flat = x.reshape(2, -1, 1, 3)
    axis = tuple(range(1, 1 + len(space)))
    close(run("normalize", x, axis=axis).ravel(), twins.normalize(flat).ravel(), atol=1e-6)


SCRIPT = """
import keras_explainable as ke
images, _, _ = ke.demo.load_scenes(6, seed=0)
print(ke.gradients(ke.demo.load_model(), images, verbose=0).maps.min())
"""


@slow
def test_a_normalised_map_does_not_go_below_0_by_rounding():
    """As a program of its own, compiled with the optimisations that other tests leave out: they join steps."""
    environment = {**os.environ, "JAX_DISABLE_MOST_OPTIMIZATIONS": "0"}
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, env=environment, check=True)
    assert float(done.stdout) == 0
