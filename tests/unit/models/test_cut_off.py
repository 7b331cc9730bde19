"""Scores that no gradient leads back from: one error says where the gradient ends, and black-box methods work."""

import keras
import numpy as np
import pytest
from keras import layers as L
from keras import ops

from keras_explainable.errors import LayerError
from support import keras_models
from support.calls import few, raw
from support.compare import close
from support.keras_models import SHAPE
from support.selection import BACKEND, crossed, slow_compiled

pytestmark = slow_compiled

X = keras_models.images("functional", 2)
GRADIENTS = ["gradients", "integrated_gradients", "full_gradients", "gradcam", "smoothgrad"]
torch_only = pytest.mark.skipif(BACKEND != "torch", reason="modules need Keras on PyTorch")


class Cut(keras.Model):
    """Two convolutions, with a function between them, and one behind the scores."""

    def __init__(self, between=None, behind=None):
        super().__init__()
        self.between, self.behind = between or ops.relu, behind or ops.relu
        self.one, self.two = (L.Conv2D(6, 3, padding="same", name=name) for name in ("one", "two"))
        self.pool, self.head = L.GlobalAveragePooling2D(), L.Dense(4, name="head")

    def call(self, x):
        return self.behind(self.head(self.pool(self.two(self.between(self.one(x))))))


def built(**parts):
    model = Cut(**parts)
    model(X)
    return keras_models.randomize(model)


@pytest.mark.parametrize(("where", "method"), crossed(["between", "behind"], GRADIENTS))
def test_a_model_that_stops_the_gradient_is_told_where(where, method):
    model = built(**{where: ops.stop_gradient})
    layer = {"layer": "one"} if method == "gradcam" else {}
    with pytest.raises(LayerError, match=r"No gradient goes from the score to .*: it ends at stopgradient"):
        raw(method, model, X, 1, **few(method), **layer)


def test_a_layer_behind_the_end_of_the_gradient_has_one():
    close(raw("gradcam", built(between=ops.stop_gradient), X, 1), raw("gradcam", built(between=lambda x: x), X, 1))


@pytest.mark.parametrize("method", ["occlusion", "scorecam", "rise"])
def test_what_needs_no_gradient_does_not_miss_it(method):
    same = few(method) | ({"seed": 1} if method == "rise" else {})
    ours, theirs = (raw(method, built(behind=f), X, 1, **same) for f in (ops.stop_gradient, lambda x: x))
    close(ours, theirs)


@pytest.mark.parametrize("method", ["gradients", "integrated_gradients", "deeplift", "lrp_epsilon", "full_gradients"])
def test_an_input_of_integers_is_explained_as_one_of_floats(method):
    def model(dtype):
        inputs = keras.Input(SHAPE, dtype=dtype)
        x = L.Conv2D(6, 3, activation="relu", name="conv")(L.Rescaling(1 / 127.5, offset=-1)(inputs))
        return keras_models.randomize(keras.Model(inputs, L.Dense(3, name="out")(L.GlobalAveragePooling2D()(x))))

    images = np.random.default_rng(0).integers(0, 256, size=(2, *SHAPE)).astype("uint8")
    whole, floats = model("uint8"), model("float32")
    close(raw(method, whole, images, 1, **few(method)), raw(method, floats, images, 1, **few(method)))
    assert ops.convert_to_numpy(whole(X * 0 + 3.9)) == pytest.approx(
        ops.convert_to_numpy(floats(X * 0 + 3))
    )  # as before


def net(kind="plain"):
    import torch
    from torch import nn

    torch.manual_seed(0)
    inner = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
    if kind == "quantized":
        return torch.ao.quantization.quantize_dynamic(inner.eval(), {nn.Linear}, dtype=torch.qint8)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.n = inner

        def forward(self, x):
            if kind == "frozen":
                with torch.no_grad():
                    x = self.n[:4](x)
                return self.n[4](x)
            found = self.n(x)
            return {"detached": found.detach, "classes": lambda: found.argmax(1)}.get(kind, lambda: found)()

    if kind in ("no_grad", "inference"):
        Net.forward = (torch.no_grad if kind == "no_grad" else torch.inference_mode)()(Net.forward)
    return Net().eval()


ENDS = {
    "detached": r"detach \(detach\)",
    "classes": r"argmax \(argmax\)",
    "no_grad": r"n\.0 \(Conv2d\), which runs where gradients are switched off",
    "inference": r"n\.0 \(Conv2d\), which runs where gradients are switched off",
    "frozen": r"n\.0 \(Conv2d\), which runs where gradients are switched off",
    "quantized": r"4.* \((Linear|linear_dynamic)\)",
}


@torch_only
@pytest.mark.filterwarnings("ignore:.*deprecated")
@pytest.mark.parametrize("method", GRADIENTS)
@pytest.mark.parametrize("kind", ENDS)
def test_a_module_that_cuts_its_score_off_is_told_where(kind, method):
    import torch

    x = torch.from_numpy(np.moveaxis(X, -1, 1).copy())
    with pytest.raises(LayerError, match=f"No gradient goes from the score to .*: it ends at {ENDS[kind]}"):
        raw(method, net(kind), x, 0 if kind == "classes" else 1, **few(method))


@torch_only
@pytest.mark.filterwarnings("ignore:.*deprecated")
@pytest.mark.parametrize("method", ["occlusion", "rise", "scorecam", "kernel_shap"])
def test_quantized_modules_are_black_boxes_like_others(method):
    import torch

    x = torch.from_numpy(np.moveaxis(X, -1, 1).copy())
    same = {"repetitions": 200} if method in ("rise", "kernel_shap") else {}
    ours, theirs = (raw(method, net(kind), x, 1, **same) for kind in ("quantized", "plain"))
    assert np.corrcoef(ours.maps.ravel(), theirs.maps.ravel())[0, 1] > 0.95  # weights of eight bits
    close([ours.scores], [theirs.scores], 0.05)
