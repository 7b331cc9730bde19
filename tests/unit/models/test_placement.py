"""Where the map of a layer lies in the image: where its cells look."""

import keras
import numpy as np
import pytest
from keras import layers as L
from keras import ops

import keras_explainable as ke
from keras_explainable import models as adapters
from keras_explainable.errors import InputError
from keras_explainable.models import placement
from keras_explainable.numerics.resize import resize, weights
from support import keras_models
from support.compare import close
from support.selection import BACKEND, crossed, slow_compiled

pytestmark = slow_compiled

SIZE, KERNEL = 24, 9


class Look(L.Layer):
    """A convolution without padding, of which nothing tells how it is made."""

    def build(self, shape):
        self.kernel = self.add_weight(shape=(KERNEL, KERNEL, 1, 3))

    def call(self, x):
        return ops.conv(x, self.kernel, padding="valid")


def one_weight(at, front=(), size=SIZE, units=2):
    """A convolution without padding that has one weight that is not 0, so that its cells look at single pixels."""
    image = keras.Input((size, size, 1))
    x = image
    for layer in front:
        x = layer(x)
    seen = Look(name="conv")(x)
    model = keras.Model(image, L.Dense(units, use_bias=False, name="head")(L.GlobalAveragePooling2D()(seen)))
    kernel = np.zeros((KERNEL, KERNEL, 1, 3), "float32")
    kernel[at[0], at[1]] = [[1, 2, 0.5]]
    model.get_layer("conv").set_weights([kernel])
    model.get_layer("head").set_weights([np.ones((3, units), "float32")])
    return model


def looked(model, size=SIZE):
    view = adapters.view(model, np.zeros((1, size, size, 1), "float32"), 0)
    return view.windows(view.signal("conv"))


@pytest.mark.parametrize("at", [(0, 0), (8, 8), (0, 8), (4, 4)])
def test_cells_that_look_at_one_pixel_lie_there(at):
    found = looked(one_weight(at))
    expected = [(a / SIZE, (a + SIZE - KERNEL + 1) / SIZE) for a in at]
    close([window[:2] for window in found], expected, atol=1e-6)
    assert [window[2:] for window in found] == [(0, 1), (0, 1)]


@pytest.mark.parametrize(
    ("method", "at"), crossed(["gradcam", "scorecam", "layercam", "guided_gradcam"], [(0, 0), (8, 8), (2, 6)])
)
def test_a_map_is_at_the_object(method, at):
    model, x = one_weight(at), np.zeros((1, SIZE, SIZE, 1), "float32")
    x[0, 11:14, 9:12] = 1
    if method == "guided_gradcam":
        model = relu_behind(model)
    found = ke.explain(method, model, x, 0, layer=None if method == "guided_gradcam" else "conv", verbose=0)
    heat = found.maps[0, ..., 0]
    centre = [float((heat * np.indices(heat.shape)[k]).sum() / heat.sum()) for k in (0, 1)]
    close(centre, [12, 10], atol=0.1)
    where = np.array(found.about["placement"])
    close(where, [(a, a + 16) for a in at], atol=0.06)


def relu_behind(model):
    """Guided backpropagation needs a ReLU."""
    seen = L.ReLU()(model.get_layer("conv").output)
    return keras.Model(model.input, model.get_layer("head")(L.GlobalAveragePooling2D()(seen)))


def narrow(*layers, size=SIZE):
    image = keras.Input((size, size, 1))
    x = image
    for layer in layers:
        x = layer(x)
    return keras_models.randomize(keras.Model(image, L.Dense(2)(L.GlobalAveragePooling2D()(x))))


@pytest.mark.parametrize(
    ("layers", "begin", "step", "count"),
    [
        ([L.Conv2D(3, 9)], 4, 1, 16),
        ([L.Conv2D(3, 5, strides=2), L.MaxPooling2D(3, strides=2)], 2.5, 4, 4),
        ([L.ZeroPadding2D(((4, 0), (4, 0))), L.Conv2D(3, 9)], 0, 1, 20),
        ([L.Conv2D(3, 3, padding="same", strides=2), L.Conv2D(3, 5)], 4.5, 2, 8),
        ([L.Conv2D(3, 3, dilation_rate=4, activation="relu"), L.AveragePooling2D(2)], 4, 2, 8),
    ],
)
def test_steps_and_paddings_of_layers_tell_where_cells_look(layers, begin, step, count):
    model = narrow(*(type(layer).from_config(layer.get_config()) for layer in layers))
    view = adapters.view(model, np.zeros((1, SIZE, SIZE, 1), "float32"), 0)
    found = view.windows(view.signal())
    expected = (begin / SIZE, (begin + count * step) / SIZE, 0, 1)
    close(found, [expected, expected], atol=1e-6)


@pytest.mark.skipif(BACKEND != "torch", reason="modules need Keras on PyTorch")
def test_modules_tell_it_as_well():
    import torch
    from torch import nn

    torch.manual_seed(0)
    layers = [nn.ZeroPad2d((1, 0, 2, 0)), nn.Conv2d(1, 3, (5, 3), 2, (0, 1)), nn.ReLU(), nn.MaxPool2d(3, 2)]
    module = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2)).eval()
    view = adapters.view(*adapters.bind(module, torch.zeros(1, 1, 24, 24)), 0)
    rows, columns = view.windows(view.signal(layer="3"))
    # 26 rows, of which 2 are padding: centres -2 + 2 + 2 (1 + 2 i) = 2 + 4 i; 25 columns: -1 + 0 + 2 (1 + 2 i) = 1 + 4 i
    close(rows, [0.5 / 24, 20.5 / 24, 0, 1], atol=1e-6)
    assert columns == (-1 / 24, 1)  # 1 + 4 i: less than half a cell from where the model looks anyway


def test_what_lies_beyond_the_cells_is_held_and_what_the_model_crops_is_zero():
    model = narrow(L.Cropping2D(((4, 4), (4, 4))), L.Conv2D(3, 9, name="conv"), size=32)  # sees 4 to 28; cells 8 to 24
    x = np.random.default_rng(0).uniform(size=(1, 32, 32, 1)).astype("float32")
    found = ke.gradcam(model, x, 0, layer="conv", verbose=0, postprocessing=None)
    close(found.about["placement"], [(8, 24), (8, 24)], atol=0.06)
    raw = ke.gradcam(model, x, 0, layer="conv", verbose=0, postprocessing=None, resizing=False).maps[0, ..., 0]
    expected = np.pad(np.pad(raw, 4, mode="edge"), 4)
    close(found.maps[0, ..., 0], expected, atol=1e-5)


def test_stretch_is_the_usual_way():
    model, x = one_weight((8, 8)), np.random.default_rng(0).uniform(size=(2, SIZE, SIZE, 1)).astype("float32")
    raw = ke.gradcam(model, x, 0, layer="conv", verbose=0, postprocessing=None, resizing=False).maps
    found = ke.gradcam(model, x, 0, layer="conv", verbose=0, postprocessing=None, placement="stretch")
    close(found.maps, ops.convert_to_numpy(resize(raw, (SIZE, SIZE))), atol=1e-6)
    assert "placement" not in found.about
    with pytest.raises(InputError, match='placement=\'left\' came, and "measured" or "stretch"'):
        ke.gradcam(model, x, 0, placement="left")


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_maps_of_common_networks_are_stretched_as_ever(padding):
    """Convolutions without padding as well, where the cells are off by less than half of one."""
    image = keras.Input((33, 33, 3))
    x = L.Conv2D(8, 3, strides=2, padding=padding, activation="relu")(image)
    x = L.MaxPooling2D(2)(L.Conv2D(8, 3, padding="same", activation="relu")(x))
    model = keras_models.randomize(keras.Model(image, L.Dense(3)(L.GlobalAveragePooling2D()(x))))
    images = np.random.default_rng(0).normal(size=(2, 33, 33, 3)).astype("float32")
    one, other = (ke.gradcam(model, images, 1, verbose=0, placement=p) for p in ("measured", "stretch"))
    np.testing.assert_array_equal(one.maps, other.maps)


def test_medians_are_those_of_the_squared_gradient():
    density = np.zeros(10)
    density[3], density[7] = 3.0, 1.0  # half of 4 is two thirds into place 3
    assert placement._median(density) == pytest.approx(3 + 2 / 3)
    assert np.isnan(placement._median(np.zeros(4)))


def test_the_weights_of_a_window_hold_the_ends_within_what_is_seen():
    held = weights(2, 8, window=(0.25, 0.75, 0.0, 1.0))
    close(held @ np.array([1.0, 3.0]), [1, 1, 1, 1.5, 2.5, 3, 3, 3], rtol=1e-7)
    cut = weights(2, 8, window=(0.25, 0.75, 0.125, 0.75))
    close(cut @ np.array([1.0, 3.0]), [0, 1, 1, 1.5, 2.5, 3, 0, 0], rtol=1e-7)
