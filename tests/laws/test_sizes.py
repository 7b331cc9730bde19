"""On images of a size that users have, the maps of several units of several images are those of each unit alone: what
compilers do to large signals they do not do to those of the other tests."""

import numpy as np
import pytest

import keras_explainable as ke
from support.compare import close
from support.selection import BACKEND, slow_compiled

METHODS = ["input_x_gradient", "lrp_epsilon", "lrp_epsilon_alpha2_beta1", "attnlrp", "full_gradients", "layercam"]
LAYERS = {"layercam": "stem_relu"}


@pytest.fixture(scope="module")
def subject():
    images, _, _ = ke.demo.load_scenes(2, seed=1)
    return ke.demo.load_model(), images


@slow_compiled
@pytest.mark.parametrize("method", METHODS if BACKEND == "jax" else METHODS[:2])
def test_units_at_once_are_each_alone(method, subject):
    params = {"verbose": 0} | ({"layer": LAYERS[method]} if method in LAYERS else {})
    shortcut, units = getattr(ke, method), np.array([[1, 2], [3, 6]])
    whole = shortcut(*subject, units, **params)
    for k in range(2):
        close((whole.scores[:, [k]], whole.maps[..., [k]]), shortcut(*subject, units[:, k], **params), 1e-3)
