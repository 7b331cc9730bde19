"""Biases as users ask for them, units, and activations that users set."""

import keras
import numpy as np
import pytest
from keras import layers as L
from keras import ops

import keras_explainable as ke
from keras_explainable.errors import InputError
from support import keras_models
from support.calls import few, subject
from support.compare import close
from support.selection import REPRESENTATIVE, every_method, slow_compiled

pytestmark = slow_compiled

BIASED = {
    "BatchNormalization": lambda: L.BatchNormalization(epsilon=0.02),
    "without gamma": lambda: L.BatchNormalization(scale=False),
    "without beta": lambda: L.BatchNormalization(center=False),
    "without both": lambda: L.BatchNormalization(scale=False, center=False),
    "LayerNormalization": lambda: L.LayerNormalization(),
    "GroupNormalization": lambda: L.GroupNormalization(2),
    "Rescaling": lambda: L.Rescaling(2.0, 0.75),
    "Rescaling by channel": lambda: L.Rescaling(2.0, [0.5, -0.25, 0.0, 1.0]),
    "Normalization": lambda: L.Normalization(mean=[1.0, 2.0, -1.0, 0.5], variance=[4.0, 1.0, 0.25, 9.0]),
    "inverted Normalization": lambda: L.Normalization(
        mean=[1.0, 2.0, -1.0, 0.5], variance=[4.0, 1.0, 0.25, 9.0], invert=True
    ),
    "Conv2D": lambda: L.Conv2D(5, 3, padding="same"),
    "SeparableConv2D": lambda: L.SeparableConv2D(5, 3),
    "DepthwiseConv2D": lambda: L.DepthwiseConv2D(3, depth_multiplier=2),
    "Conv2DTranspose": lambda: L.Conv2DTranspose(5, 3, strides=2),
    "Dense": lambda: L.Dense(5),
    "EinsumDense": lambda: L.EinsumDense("bhwc,cd->bhwd", (None, None, 5), bias_axes="d"),
}
UNBIASED = {
    "Conv2D": lambda: L.Conv2D(5, 3, use_bias=False),
    "LayerNormalization": lambda: L.LayerNormalization(center=False),
    "GroupNormalization": lambda: L.GroupNormalization(2, center=False),
    "Rescaling": lambda: L.Rescaling(2.0),
    "ReLU": lambda: L.ReLU(),
}


def around(layer, channels=4):
    image = keras.Input((6, 8, channels))
    return keras_models.randomize(keras.Model(image, layer(image)))


@pytest.mark.parametrize("case", BIASED)
def test_the_bias_is_what_a_zero_image_gives(case):
    """An affine layer gives its bias for zeros; normalisations by the image itself give beta for constants."""
    layer = BIASED[case]()
    model = around(layer)
    layers, biases = ke.inspection.layers_with_biases(model)
    assert layers == [layer]
    expected = ops.convert_to_numpy(model(np.zeros((1, 6, 8, 4), "float32")))
    close(np.broadcast_to(ops.convert_to_numpy(biases[0]), expected.shape), expected, rtol=1e-5, atol=1e-6)
    assert abs(expected).max() > 0.01
    np.testing.assert_array_equal(
        ops.convert_to_numpy(ke.inspection.biases([layer])[0]), ops.convert_to_numpy(biases[0])
    )


@pytest.mark.parametrize("case", UNBIASED)
def test_layers_without_a_bias_are_left_out(case):
    assert ke.inspection.layers_with_biases(around(UNBIASED[case]()), return_biases=False) == []


def test_biases_are_read_at_call_time():
    layer = L.BatchNormalization(epsilon=0.5)
    model = around(layer)
    before = ops.convert_to_numpy(ke.inspection.biases([layer])[0])
    gamma, beta, mean, variance = layer.get_weights()
    layer.set_weights([2 * gamma, beta, mean, variance])
    after = ops.convert_to_numpy(ke.inspection.layers_with_biases(model)[1][0])
    close(after - beta, 2 * (before - beta), rtol=1e-4)
    close(after, beta - mean * 2 * gamma / np.sqrt(variance + 0.5), rtol=1e-4)


def test_layers_with_biases_of_nested_models_less_those_excluded():
    model = keras_models.build("nested_functional")
    inner, logits = model.get_layer("backbone"), model.get_layer("logits")
    expected = [inner.get_layer("bn1"), inner.get_layer("conv2")]
    assert ke.inspection.layers_with_biases(model, return_biases=False) == [*expected, logits]
    layers, biases = ke.inspection.layers_with_biases(model, exclude=[logits])
    assert layers == expected
    assert [b.shape[0] for b in biases] == [8, 10]


# Units


def test_units_are_gathered_for_every_form_of_index(rng):
    scores = rng.normal(size=(3, 5)).astype("float32")
    gather = lambda indices: ops.convert_to_numpy(ke.inspection.gather_units(scores, indices))  # noqa: E731
    rows = np.arange(3)[:, None]
    np.testing.assert_array_equal(gather(None), scores)
    np.testing.assert_array_equal(gather(2), scores[:, 2:3])
    np.testing.assert_array_equal(gather(np.int64(2)), scores[:, 2:3])
    np.testing.assert_array_equal(
        gather([4, 0, 1]), scores[rows, np.array([[4], [0], [1]])]
    )  # one per sample, not (3, 3)
    np.testing.assert_array_equal(gather([[4, 0], [1, 1], [2, 3]]), scores[rows, np.array([[4, 0], [1, 1], [2, 3]])])
    np.testing.assert_array_equal(gather(ops.convert_to_tensor([4, 0, 1])), gather([4, 0, 1]))
    for bad, message in ((5, "Unit 5"), (-1, "Unit -1"), ([0.5, 1, 2], "float64"), (np.zeros((3, 1, 1), int), "shape")):
        with pytest.raises(InputError, match=message):
            gather(bad)


# Activations that users set


@pytest.mark.parametrize(
    "method", every_method(name for name in sorted(REPRESENTATIVE) if subject(name) == "functional")
)
def test_an_activation_given_as_a_string_works_and_stays(method):
    model, images = keras_models.build("nested_sequential"), keras_models.images("nested_sequential")
    logits_first = ke.explain(method, model, images, 1, verbose=0, **few(method))  # what comes before the softmax
    model.layers[-1].activation = "linear"
    after = ke.explain(method, model, images, 1, verbose=0, **few(method))
    assert model.layers[-1].activation == "linear"
    close(after, logits_first)
    if method == "gradcam":
        close(ke.explain(method, model, images, 1, verbose=0, run_eagerly=True), after, 1e-4)
    assert model.layers[-1].activation == "linear"
