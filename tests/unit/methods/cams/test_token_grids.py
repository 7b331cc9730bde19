"""Class activation maps on token grids: every method of the family equals its twin on a transformer, whose tokens the
twin sees as the grid that they are."""

import keras
import numpy as np
import pytest

import keras_explainable as ke
from keras_explainable.methods import meta
from keras_explainable.numerics import random
from reference import cams, smooth_gradcampp
from reference import meta as twins
from reference.net import jacobian
from reference.resize import bilinear
from reference.token_layers import on_grid
from support import keras_models
from support.calls import raw
from support.compare import close
from support.keras_models import on
from support.selection import BACKEND, very_slow_compiled
from support.to_reference import as_reference
from support.twins import TWINS

pytestmark = very_slow_compiled

UNITS = np.array([[1, 4], [0, 2]])
# Where the maps are of one signal; `cam` needs a pooled head and `guided_gradcam` ReLUs.
FAMILY = [m.name for m in ke.methods.list() if m.family == "cam" and m.name not in ("cam", "guided_gradcam")]
TOKENS = {"name": "block1_norm2", "prefix": 7, "grid": (4, 6)}  # not the grid that would be found
LAYERS = {"found": (None, ("block2_norm1", 1, (5, 6))), "given": (TOKENS, ("block1_norm2", 7, (4, 6)))}
DRAWS = 3


model, x = on("transformer", 2)


@pytest.fixture(scope="module")
def nets():
    net = as_reference(keras_models.build("transformer"))
    return {case: on_grid(net, *where) for case, (_, where) in LAYERS.items()}


def noises(x, level):
    draws = [keras.ops.convert_to_numpy(random.normal((1, *x.shape[1:]), 0, i)) for i in range(DRAWS)]
    return [level * draw.astype("float64") for draw in draws]


def of(method, x):
    """The twin of a method, and the parameters of the method."""
    if method == "smooth_gradcampp":
        draws = noises(x, 0.2 * twins.ranges(x))
        return lambda *args: smooth_gradcampp.smooth_gradcampp(*args, draws), {"repetitions": DRAWS, "noise": 0.2}
    return TWINS[method], {}


def rounding(method, net, x):
    """What float32 may add to a method's error here: Grad-CAM++ divides by 2 + g sum(A), which comes near 0, and an error
    of the sum of some 30 numbers near 1 is an error of the quotient by one over the square of that."""
    if method != "gradcampp":
        return 0.0
    _, values, gradients = jacobian(net, x, UNITS, [net.signal])
    a, g = values[net.signal], gradients[net.signal]
    below = 2 + g * a.sum(axis=(1, 2))[:, None, None, None]
    return 30 * np.finfo("float32").eps / 2 / np.square(below[g > 0]).min()


@pytest.mark.parametrize("case", LAYERS)
@pytest.mark.parametrize("method", FAMILY)
def test_every_class_activation_map_of_tokens_is_its_twins(model, x, nets, method, case):
    twin, params = of(method, x)
    ours = raw(method, model, x, UNITS, layer=LAYERS[case][0], **params)
    wide = x.astype("float64")
    close(ours, twin(nets[case], wide, UNITS), 1e-4 + rounding(method, nets[case], wide))


@pytest.mark.parametrize("case", LAYERS)
@pytest.mark.parametrize("method", ["gradcam", "ablationcam"])
def test_meta_methods_of_them_are_their_twins(model, x, nets, method, case):
    twin, layer = vars(cams)[method], LAYERS[case][0]
    wide = x.astype("float64")
    mirrored = raw(meta.tta(ke.get(method), scales=[1.0]), model, x, UNITS, layer=layer)
    close(mirrored, twins.tta(twin, [1.0])(nets[case], wide, UNITS), 1e-4)
    smoothed = raw(meta.smooth(ke.get(method), DRAWS, 0.2), model, x, UNITS, layer=layer)
    close(smoothed, twins.smooth(twin, noises(x, 0.2))(nets[case], wide, UNITS), 1e-4)


def test_layers_of_tokens_are_fused(model, x, nets):
    fused = raw("layercam", model, x, UNITS, layers=["block2_norm1", TOKENS])
    found = [cams.layercam(nets[case], x.astype("float64"), UNITS)[1] for case in LAYERS]
    parts = []
    for maps in (np.maximum(m, 0) for m in found):
        high = maps.max((1, 2), keepdims=True)
        parts.append(bilinear(maps / np.where(high > 0, high, 1), (5, 6)))
    close([fused.maps], [np.maximum(*parts)], 1e-4)


def test_exposed_tokens_are_the_signal(model, x):
    exposed = ke.inspection.expose(model, "block1_norm2", "logits")
    close(raw("gradcam", exposed, x, UNITS), raw("gradcam", model, x, UNITS, layer="block1_norm2"))


@pytest.mark.skipif(BACKEND != "torch", reason="modules need Keras on PyTorch")
def test_cam_is_refused_where_the_scores_are_those_of_a_class_token():
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.patches, self.token = nn.Conv2d(3, 8, 4, 4), nn.Parameter(torch.ones(1, 1, 8))
            self.block, self.head = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, 5)

        def forward(self, x):
            x = self.patches(x).flatten(2).transpose(1, 2)
            x = torch.cat([self.token.expand(len(x), -1, -1), x], dim=1)
            return self.head(self.block(x, x, x)[0][:, 0])

    images = np.ones((1, 3, 12, 16), "float32")
    with pytest.raises(ke.errors.LayerError, match="1 tokens beside its grid"):
        raw("cam", Net().eval(), images, 1, layer="block")
    assert raw("gradcam", Net().eval(), images, 1, layer="block").maps.shape == (1, 3, 4, 1)


def test_what_mixes_tokens_without_attention_is_explained_by_its_last_tokens():
    L = keras.layers
    small = keras.initializers.RandomNormal(stddev=0.03)  # so that the tokens stay what they are of
    inputs = keras.Input((20, 24, 3))
    tokens = L.Reshape((30, 8))(L.Conv2D(8, 4, strides=4)(inputs))
    for block in range(2):
        y = L.Permute((2, 1))(L.LayerNormalization(name=f"norm{block}")(tokens))
        tokens = L.Add()([tokens, L.Permute((2, 1))(L.Dense(30, kernel_initializer=small)(y))])
    normalised = L.LayerNormalization(name="norm")(tokens)
    head = L.Dense(5, name="head")
    mixer = keras.Model(inputs, head(L.GlobalAveragePooling1D()(normalised)))
    images = keras_models.images("transformer", 2)
    seen = keras.ops.convert_to_numpy(keras.Model(inputs, normalised)(images))
    weights = keras.ops.convert_to_numpy(head.kernel)[:, [1, 3]]
    expected = (seen @ weights / 30).reshape(2, 5, 6, 2)
    scores, maps = explained = raw("gradcam", mixer, images, [[1, 3], [1, 3]])
    assert explained.about["signal"] == "norm"
    close((scores, maps), (mixer.predict(images, verbose=0)[:, [1, 3]], expected), 1e-5)


def test_what_needs_more_than_tokens_is_refused(model, x):
    with pytest.raises(ke.errors.LayerError, match="no linear layer right after a global pooling"):
        raw("cam", model, x, 1)
    with pytest.raises(ke.errors.LayerError, match="no ReLU"):
        raw("guided_gradcam", model, x, 1)
