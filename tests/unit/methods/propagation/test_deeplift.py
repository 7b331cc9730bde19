"""DeepLIFT where the baseline is one image for all or one for each, where other inputs come along, and in modules."""

import keras
import numpy as np
import pytest
from keras import layers as L

import keras_explainable as ke
from keras_explainable.errors import InputError
from support import keras_models
from support.calls import raw
from support.compare import close
from support.selection import BACKEND, slow_compiled

pytestmark = slow_compiled

RNG = np.random.default_rng(7)
on_torch = pytest.mark.skipif(BACKEND != "torch", reason="modules need Keras on PyTorch")


@pytest.mark.parametrize("name", ["functional", "fused", "channels_first"])
def test_one_baseline_for_all_is_that_baseline_for_each(name):
    model, x = keras_models.build(name), keras_models.images(name)
    behind = RNG.normal(size=x.shape[1:]).astype("float32")
    shared = raw("deeplift", model, x, 1, baseline=behind)
    close(raw("deeplift", model, x, 1, baseline=np.stack([behind] * len(x))), shared)
    assert abs(shared.maps).max() > 1e-3


@pytest.mark.parametrize("name", ["functional", "channels_first"])
def test_channels_are_kept_or_reduced(name):
    model, x, y = keras_models.build(name), keras_models.images(name), [[1, 4], [0, 0], [3, 2]]
    scores, parts = raw("deeplift", model, x, y, reduce=None, baseline=0.3)
    assert parts.shape == (3, 2, *keras_models.SIZE, 3)
    behind = raw("gradients", model, np.full_like(x, 0.3), y).scores
    close(parts.sum((2, 3, 4)), scores - behind, atol=1e-5 * abs(scores).max())
    for reduce, values in [("sum", parts), ("absolute", abs(parts))]:
        expected = np.moveaxis(values.sum(-1), 1, -1)
        close(raw("deeplift", model, x, y, reduce=reduce, baseline=0.3), [scores, expected])
    with pytest.raises(InputError, match="reduce='mean' came: use one of 'sum', 'absolute', or None"):
        raw("deeplift", model, x, y, reduce="mean")


def test_the_parts_of_a_linear_model_are_weight_times_difference():
    """Of every pixel and channel, whatever its neighbours do."""
    model = keras_models.randomize(keras.Sequential([keras.Input((6, 5, 3)), L.Flatten(), L.Dense(2)]))
    x, colour = RNG.normal(size=(2, 6, 5, 3)).astype("float32"), np.array([0.5, -1, 2], "float32")
    w = np.moveaxis(np.array(model.get_weights()[0]).reshape(6, 5, 3, 2), -1, 0)
    close([raw("deeplift", model, x, reduce=None, baseline=colour).maps], [(x - colour)[:, None] * w])


def test_other_inputs_have_a_row_for_each_image():
    """A ReLU of image and number together: its chord is that of the image's own number."""
    images, number = keras.Input((6, 5, 3), name="image"), keras.Input((4,), name="number")
    x = L.Add()([L.Dense(4)(L.GlobalMaxPooling2D()(L.Conv2D(4, 3)(images))), number])
    model = keras.Model({"image": images, "number": number}, L.Dense(2)(L.ReLU()(x)))
    x = {
        "image": RNG.normal(size=(3, 6, 5, 3)).astype("float32"),
        "number": 3 * RNG.normal(size=(3, 4)).astype("float32"),
    }
    scores, maps = ke.explain("deeplift", model, x, 1, leaf="image", baseline=0.5, verbose=0)
    behind = ke.explain("gradients", model, x | {"image": np.full_like(x["image"], 0.5)}, 1, leaf="image", verbose=0)
    assert abs(scores - behind.scores).min() > 1e-3
    close(maps.sum((1, 2)), scores - behind.scores, atol=1e-5 * abs(scores).max())


@on_torch
def test_operations_of_a_module_are_as_its_layers():
    import torch
    from torch import nn
    from torch.nn import functional as F

    torch.manual_seed(0)
    stack = [nn.Conv2d(3, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 6, 3), nn.ReLU(inplace=True), nn.Flatten()]
    layers = nn.Sequential(*stack, nn.Linear(6 * 4 * 5, 5)).eval()

    class Functions(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = layers

        def forward(self, x):
            x = F.max_pool2d(F.relu(self.layers[0](x)), 2)
            return self.layers[6](self.layers[3](x).relu_().flatten(1))

    x = RNG.normal(size=(2, 3, 14, 16)).astype("float32")
    expected = raw("deeplift", layers, x, [[1, 4], [0, 2]], baseline="mean")
    close(raw("deeplift", Functions().eval(), x, [[1, 4], [0, 2]], baseline="mean"), expected)
    behind = np.broadcast_to(x.mean((2, 3), keepdims=True), x.shape)
    change = expected.scores - raw("gradients", layers, behind, [[1, 4], [0, 2]]).scores
    close(expected.maps.sum((1, 2)), change, atol=1e-5)


@on_torch
def test_a_baseline_for_all_is_evaluated_once():
    import torch
    from torch import nn

    net, rows = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 6 * 6, 2)).eval(), []
    net[0].register_forward_hook(lambda module, inputs, output: rows.append(len(output)))
    x = torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    for baseline, expected in [(0.0, [1, 5]), ("mean", [5, 5])]:
        raw("deeplift", net, x, 1, baseline=baseline)  # finds out what is called
        rows.clear()
        raw("deeplift", net, x, 1, baseline=baseline)
        assert rows == expected
