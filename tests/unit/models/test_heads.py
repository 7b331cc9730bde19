"""Which output is explained, and where its scores are: before the last softmax or sigmoid, whatever computes it."""

import keras
import numpy as np
import pytest
from keras import layers as L
from keras import ops

import keras_explainable as ke
from support import keras_models
from support.calls import raw
from support.compare import close
from support.keras_models import SHAPE
from support.selection import BACKEND, crossed, slow_compiled

pytestmark = slow_compiled

X = keras_models.images("functional", 2)


class Ends(keras.Model):
    """Pooled channels, four units, and what comes behind them in `call`, outside of layers."""

    def __init__(self, end):
        super().__init__()
        self.end, self.conv, self.pool, self.head = (
            end,
            L.Conv2D(6, 3, activation="relu"),
            L.GlobalAveragePooling2D(),
            L.Dense(4),
        )

    def call(self, x):
        return self.end(self.head(self.pool(self.conv(x))))


ENDS = {
    "softmax": ops.softmax,
    "softmax along an axis": lambda z: ops.softmax(z, axis=1),
    "log softmax": ops.log_softmax,
    "sigmoid": ops.sigmoid,
    "activation": keras.activations.softmax,
    "logarithm": lambda z: ops.log(ops.clip(ops.softmax(z), 1e-7, 1.0)),
    "reversed": lambda z: ops.flip(ops.softmax(z), axis=1),
    "columns": lambda z: ops.reshape(ops.expand_dims(ops.softmax(z), 1), (-1, 4)),
}
METHODS = ["gradients", "gradcam", "lrp_epsilon_plus"]


@pytest.mark.parametrize(("end", "method"), crossed(ENDS, METHODS))
def test_what_ends_in_a_function_is_explained_before_it(end, method):
    plain, other = (keras_models.randomize(built(Ends(e))) for e in (lambda z: z, ENDS[end]))
    y = 4 - 1 - 1 if end == "reversed" else 1
    ours, theirs = raw(method, other, X, y), raw(method, plain, X, 1)
    close(ours, theirs, 1e-5)
    close([theirs.scores], [plain.predict(X, verbose=0)[:, 1:2]])


def built(model):
    model(X)
    return model


def test_a_functional_model_that_ends_in_an_operation():
    inputs = keras.Input(SHAPE)
    pooled = L.GlobalAveragePooling2D()(L.Conv2D(6, 3, activation="relu", name="conv")(inputs))
    z = L.Dense(1, name="z")(pooled)
    plain, ended = keras.Model(inputs, z), keras.Model(inputs, ops.squeeze(ops.sigmoid(z), -1))
    keras_models.randomize(plain)
    close(raw("gradcam", ended, X, 0), raw("gradcam", plain, X, 0))


def heads():
    """Three heads on one signal, the second of which is confident: a regression, a softmax, a decoder of several layers."""
    inputs = keras.Input(SHAPE, name="image")
    signal = L.Conv2D(8, 3, padding="same", activation="relu", name="signal")(inputs)
    pooled = L.GlobalAveragePooling2D()(signal)
    z = L.Rescaling(300.0)(L.Dense(3, name="kind")(pooled))
    mask = L.Conv2D(1, 3, padding="same", activation="sigmoid", name="mask")(
        L.Conv2D(4, 3, padding="same", activation="relu", name="decoder")(signal)
    )
    outputs = {"age": L.Dense(1, name="age")(pooled), "logits": z, "kind": L.Softmax()(z), "mask": mask}
    return keras_models.randomize(keras.Model(inputs, outputs))


@pytest.mark.parametrize(("order", "method"), crossed(["list", "dictionary"], METHODS))
def test_any_head_is_explained_before_its_softmax(order, method):
    whole = heads()
    out = whole.output
    several = (
        [out["age"], out["kind"], out["mask"]] if order == "list" else {k: out[k] for k in ("age", "kind", "mask")}
    )
    model, twin = keras.Model(whole.input, several), keras.Model(whole.input, out["logits"])
    which = 1 if order == "list" else "kind"
    explained = raw(method, model, X, 2, score=ke.scores.output(which))
    close(explained, raw(method, twin, X, 2))
    margin = ke.scores.margin(0, 2)
    close(raw(method, model, X, score=ke.scores.output(which, margin)), raw(method, twin, X, score=margin))
    value = (
        raw(method, model, X, score=ke.scores.output(which, ke.scores.value(2)))
        if method != "lrp_epsilon_plus"
        else None
    )
    assert value is None or value.scores.max() <= 1  # a value is what the model says


@pytest.mark.parametrize(
    ("method", "second"),
    crossed(["gradcam", "gradients", "scorecam", "lrp_epsilon_plus"], ["mask", "decoder", "keypoints"]),
)
def test_a_model_of_several_outputs_is_its_first_ones_twin(method, second):
    whole = heads()
    out, y = whole.output, 1
    more = {
        "mask": out["mask"],
        "decoder": whole.get_layer("decoder").output,
        "keypoints": L.Reshape((5, 2, 1))(L.Dense(10)(whole.get_layer("signal").output[:, 0, 0])),
    }[second]
    twin = keras.Model(whole.input, out["kind"])
    ours = raw(method, keras.Model(whole.input, [out["kind"], more]), X, y)
    close(ours, raw(method, twin, X, y))
    if method == "gradcam":
        assert ours.about["signal"] == "signal"


def test_outputs_that_the_scores_depend_on_are_exposed():
    whole = heads()
    first = whole.get_layer("signal").output
    model = keras.Model(whole.input, [whole.output["logits"], first])
    assert raw("gradcam", model, X, 1).about["signal"] == "signal"
    close(raw("gradcam", model, X, 1), raw("gradcam", keras.Model(whole.input, whole.output["kind"]), X, 1))


torch_only = pytest.mark.skipif(BACKEND != "torch", reason="modules need Keras on PyTorch")


def net(end, **parts):
    """A module of two convolutions outside of `torch.nn.Sequential`, and an end of its own."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(3)
            self.conv1, self.conv2 = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 8, 3, padding=1, stride=2)
            self.head, self.decoder = nn.Linear(8, 4), nn.ConvTranspose2d(8, 2, 2, stride=2)

        def forward(self, x):
            h = F.relu(self.conv2(F.relu(self.conv1(x))))
            return end(self, h, self.head(h.mean((2, 3))))

    return Net().eval()


def images():
    import torch

    return torch.from_numpy(np.moveaxis(X, -1, 1).copy())


@torch_only
@pytest.mark.parametrize("method", ["gradients", "gradcam", "lrp_epsilon", "full_gradients", "integrated_gradients"])
@pytest.mark.parametrize(
    "end",
    ["F.softmax", "softmax", "F.log_softmax", "torch.sigmoid", "F.logsigmoid", "special", "log", "squeeze", "flip"],
)
def test_a_module_that_ends_in_a_function_is_explained_before_it(end, method):
    import torch
    from torch.nn import functional as F

    ends = {
        "F.softmax": lambda z: F.softmax(z, 1),
        "softmax": lambda z: z.softmax(1),
        "F.log_softmax": lambda z: F.log_softmax(z, dim=1),
        "torch.sigmoid": torch.sigmoid,
        "F.logsigmoid": F.logsigmoid,
        "special": torch.special.expit,
        "log": lambda z: torch.log(z.softmax(1).clamp(min=1e-9)),
        "squeeze": lambda z: z[..., None, None].softmax(1).squeeze(-1).squeeze(-1),
        "flip": lambda z: z.softmax(1).flip(1),
    }
    x, y = images(), 1 if end != "flip" else 2
    ours = raw(method, net(lambda self, h, z: ends[end](40 * z)), x, y)
    theirs = raw(method, net(lambda self, h, z: 40 * z), x, 1)
    close(ours, theirs, 1e-5)


@torch_only
def test_a_head_of_one_unit_and_a_segmentation_behind_a_squeeze():
    import torch

    x = images()
    one = raw("gradcam", net(lambda self, h, z: torch.sigmoid(z[:, :1]).squeeze(1)), x, 0)
    close(one, raw("gradcam", net(lambda self, h, z: z), x, 0))
    mask = np.zeros(X.shape[1:3], "float32")
    mask[2:6, 3:9] = 1
    score = ke.scores.region(mask, 0, axis=1)
    ended = net(lambda self, h, z: self.decoder(h).sigmoid()[:, :1].clone())
    close(
        raw("gradcam", ended, x, score=score), raw("gradcam", net(lambda self, h, z: self.decoder(h)), x, score=score)
    )


@torch_only
@pytest.mark.parametrize("which", [1, "kind"])
def test_any_head_of_a_module_is_explained_before_its_softmax(which):
    def end(self, h, z):
        parts = z[:, 3:], (90 * z[:, :3]).softmax(1), self.decoder(h).sigmoid()
        return parts if which == 1 else dict(zip(("age", "kind", "mask"), parts, strict=True))

    for method in ("gradients", "gradcam"):
        ours = raw(method, net(end), images(), 2, score=ke.scores.output(which))
        close(ours, raw(method, net(lambda self, h, z: 90 * z[:, :3]), images(), 2))
    assert ours.about["signal"] == "conv2"


@torch_only
def test_a_decoder_that_the_scores_do_not_depend_on_is_no_signal():
    ours = raw("gradcam", net(lambda self, h, z: (z, self.decoder(h))), images(), 2)
    close(ours, raw("gradcam", net(lambda self, h, z: z), images(), 2))
    assert ours.about["signal"] == "conv2"


@torch_only
@pytest.mark.parametrize("run", ["forward", "function"])
def test_a_convolution_that_is_not_called_as_a_layer_is_the_signal_all_the_same(run):
    import torch
    from torch import nn
    from torch.nn import functional as F

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(3)
            self.a, self.b, self.head = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 5, 3, stride=2), nn.Linear(5, 4)

        def forward(self, x):
            x = F.relu(self.a(x))
            x = self.b.forward(x) if run == "forward" else F.conv2d(x, self.b.weight, self.b.bias, stride=2)
            return self.head(F.relu(x).mean((2, 3)))

    class Plain(Net):
        def forward(self, x):
            return self.head(F.relu(self.b(F.relu(self.a(x)))).mean((2, 3)))

    ours, theirs = (raw("gradcam", module().eval(), images(), 2) for module in (Net, Plain))
    close(ours, theirs)
    assert (ours.about["signal"], theirs.about["signal"]) == ("conv2d", "b")
