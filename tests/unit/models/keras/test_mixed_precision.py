"""Models of mixed precision: what Keras casts on the way is no operation of the model's."""

import keras
import numpy as np
import pytest
from keras import layers as L

from support.calls import raw
from support.compare import close
from support.selection import BACKEND, fast_on_torch, slow_compiled

pytestmark = slow_compiled

X = np.random.default_rng(0).normal(size=(2, 12, 12, 3)).astype("float32")
TYPES = [pytest.param("mixed_bfloat16", marks=fast_on_torch), *([] if BACKEND == "torch" else ["mixed_float16"])]


def made(nested, policy, two):
    """Convolutions - pooling - Dense as one graph, or the convolutions as a model inside of a Sequential one."""
    x = inputs = keras.Input((12, 12, 3))
    keras.utils.set_random_seed(1)
    y = L.ReLU(dtype=policy)(L.Conv2D(4, 3, padding="same", dtype=policy)(x))
    if two:
        y = L.Add(dtype=policy)([y, L.Conv2D(4, 1, dtype=policy)(x)])
    top = [L.GlobalAveragePooling2D(dtype=policy), L.Dense(3, dtype="float32")]
    if nested:
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(policy)
        try:
            return keras.Sequential([keras.Model(inputs, y), *top])
        finally:
            keras.config.set_dtype_policy(before)
    return keras.Model(inputs, top[1](top[0](y)))


@pytest.mark.parametrize("two", [False, True])
@pytest.mark.parametrize("policy", TYPES)
@pytest.mark.parametrize("method", ["deeplift", "lrp_epsilon_plus", "attnlrp", "guided_backprop"])
def test_a_model_inside_of_another_is_cast_as_its_layers_are(method, policy, two):
    nested, flat = made(True, policy, two), made(False, policy, two)
    nested.build((None, 12, 12, 3))
    nested.set_weights(flat.get_weights())
    expected = raw(method, flat, X, [1, 2])
    assert abs(expected.maps).max() > 1e-3
    close(raw(method, nested, X, [1, 2]), expected, 0.05)
    exact = raw(method, made(False, "float32", two), X, [1, 2])
    assert abs(expected.maps - exact.maps).max() < 0.15 * abs(exact.maps).max()
