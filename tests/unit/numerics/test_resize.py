"""Resizing equals its twin, in any number of dimensions and with sizes that are known only when it runs."""

import keras
import numpy as np
import pytest

from keras_explainable.numerics.resize import resize, weights
from reference.resize import bilinear
from support.compare import close


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize(
    ("old", "new"), [((5, 7), (9, 4)), ((1, 3), (6, 6)), ((4, 4), (1, 1)), ((6,), (13,)), ((2, 3, 4), (5, 2, 7))]
)
def test_resize_equals_its_twin(old, new, align_corners, rng):
    x = rng.normal(size=(2, *old, 3)).astype("float32")
    ours = keras.ops.convert_to_numpy(resize(x, new, align_corners))
    close(ours, bilinear(x.astype("float64"), new, align_corners), atol=1e-5)


def test_weights_are_shares():
    w = keras.ops.convert_to_numpy(weights(5, 12))
    close(w.sum(1), 1, rtol=1e-6)
    assert w.min() >= 0


def test_units_in_front_of_space(rng):
    x = rng.normal(size=(2, 3, 4, 5)).astype("float32")
    ours = keras.ops.convert_to_numpy(resize(x, (8, 7), axis=2))
    expected = np.moveaxis(bilinear(np.moveaxis(x, 1, -1).astype("float64"), (8, 7)), -1, 1)
    close(ours, expected, atol=1e-5)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="only TensorFlow has sizes that are not known yet")
def test_unknown_sizes(rng):
    import tensorflow as tf

    grow = tf.function(
        lambda x, size: resize(x, [size[0], size[1]]),
        input_signature=[tf.TensorSpec([None] * 4), tf.TensorSpec([2], "int32")],
    )
    x = rng.normal(size=(2, 4, 5, 3)).astype("float32")
    close(grow(x, [7, 6]).numpy(), bilinear(x.astype("float64"), (7, 6)), atol=1e-5)
