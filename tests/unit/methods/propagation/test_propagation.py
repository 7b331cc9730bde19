"""What goes back through a network by rules: refusals, conservation, and peers."""

import keras
import numpy as np
import pytest
from keras import layers as L

import keras_explainable as ke
from keras_explainable.errors import LayerError
from support import keras_models
from support.calls import raw
from support.compare import close
from support.selection import BACKEND, very_slow_compiled

pytestmark = very_slow_compiled

UNITS = [1, 0, 3]


@pytest.mark.parametrize("method", ["guided_backprop", "deconvnet"])
def test_a_model_without_relus_is_refused(method):
    model = keras.Sequential([keras.Input((8, 8, 3)), L.Conv2D(4, 3, activation="gelu"), L.Flatten(), L.Dense(5)])
    with pytest.raises(LayerError, match="no ReLU"):
        raw(method, model, np.ones((1, 8, 8, 3)), 0)


@pytest.mark.parametrize("method", ["guided_backprop", "deconvnet", "guided_gradcam"])
def test_the_relus_that_were_replaced_are_counted(method):
    x = inputs = keras.Input((8, 8, 3))
    twice = L.ReLU()
    x = L.Conv2D(4, 3, activation="relu")(x)
    x = twice(L.Conv2D(4, 1)(twice(L.Conv2D(4, 1)(x))))
    beside = L.ReLU()(L.Flatten()(x))
    x = L.Dense(5, name="score")(L.Activation("relu")(L.Flatten()(x)))
    model = ke.inspection.expose(keras.Model(inputs, {"score": x, "other": L.Dense(2)(beside)}), outputs="score")
    images = np.random.default_rng(0).normal(size=(1, 8, 8, 3))
    assert raw(method, model, images, 0).about["relus"] == 4


@pytest.mark.parametrize(
    ("numbers_only", "where"),
    [(False, r"own/maximum \(Maximum\)"), (True, r"own \(Own\)")],
)
def test_a_layer_in_which_a_relu_may_hide_is_refused(numbers_only, where):
    class Own(L.Layer):
        def call(self, x):
            if numbers_only and isinstance(x, keras.KerasTensor):
                raise TypeError("numbers, please")
            return keras.ops.maximum(x, 0.0)

    model = keras.Sequential([keras.Input((8, 8, 3)), Own(name="own"), L.ReLU(), L.Flatten(), L.Dense(5)])
    with pytest.raises(LayerError, match=where):
        raw("guided_backprop", model, np.ones((1, 8, 8, 3)), 0)


def test_a_relu_in_a_layer_of_the_users_own_is_replaced():
    class Own(L.Layer):
        def call(self, x):
            return keras.ops.relu(x)

    stack = [L.Conv2D(4, 3, name="conv"), L.Flatten(), L.Dense(5)]
    seen, own = (keras.Sequential([keras.Input((8, 8, 3)), stack[0], relu, *stack[1:]]) for relu in (L.ReLU(), Own()))
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("float32")
    close(raw("guided_backprop", own, x, 1), raw("guided_backprop", seen, x, 1))


def without_biases(name):
    """A model whose biases, also those of normalisations, are zero."""
    model = keras_models.build(name)
    for weight in model.weights:
        if weight.name in ("bias", "beta", "moving_mean"):
            weight.assign(np.zeros(weight.shape))
    return model


def test_a_bias_keeps_its_share():
    x, dense = np.array([[[1.0], [2.0]]]), L.Dense(1, name="logits")
    model = keras.Sequential([keras.Input((2, 1)), L.Flatten(), dense])
    dense.set_weights([np.array([[3.0], [-1.0]]), np.array([4.0])])
    scores, maps = raw("lrp_epsilon", model, x)  # 3 - 2 + 4
    close(scores, [[5.0]], rtol=1e-7)
    close(maps[0, :, 0], [3.0, -2.0], rtol=1e-5)


def test_the_score_of_a_margin_is_given_back():
    model, x = without_biases("functional"), keras_models.images("functional")
    scores, maps = raw("lrp_epsilon", model, x, None, score=ke.scores.margin(1, 3))
    close(maps.sum((1, 2)), scores, rtol=1e-3)


@pytest.mark.skipif(BACKEND != "torch", reason="Captum explains modules of PyTorch")
def test_lrp_is_captums():
    lrp = pytest.importorskip("captum.attr").LRP
    rules = pytest.importorskip("captum.attr._utils.lrp_rules")
    import torch
    from torch import nn

    def module():
        torch.manual_seed(0)
        stack = [nn.Conv2d(3, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 6, 3), nn.ReLU(), nn.Flatten()]
        return nn.Sequential(*stack, nn.Linear(6 * 4 * 5, 5)).eval()

    x, net = torch.randn(3, 3, 14, 16, generator=torch.Generator().manual_seed(0)), module()
    for layer in net:
        layer.rule = rules.EpsilonRule(0.01 if hasattr(layer, "weight") else 1e-9)  # it has one for pooling, too
    theirs = lrp(net).attribute(x.clone(), target=torch.tensor(UNITS)).sum(1).detach().numpy()
    _, ours = raw("lrp_epsilon", module(), x, UNITS, epsilon=0.01)
    close(ours[..., 0], theirs, atol=1e-4 * abs(theirs).max())


def test_deep_shap_is_the_mean_over_baselines():
    model, x = keras_models.build("functional"), keras_models.images("functional")
    baselines = keras_models.images("functional", 2, seed=5)
    each = [raw("deeplift", model, x, UNITS, baseline=b).maps for b in baselines]
    maps = raw("deep_shap", model, x, UNITS, baselines=baselines).maps
    close(maps, np.mean(each, axis=0), atol=1e-5 * abs(maps).max())


def test_excitation_is_a_probability():
    model, x = keras_models.build("fused"), keras_models.images("fused")
    for weight in model.weights:
        if weight.name == "bias":
            weight.assign(np.ones(weight.shape))  # so that every neuron is excited
    maps = raw("excitation_backprop", model, x, UNITS, layer="stem").maps
    assert maps.min() >= 0
    close(maps.sum((1, 2)), 1, rtol=1e-3)


@pytest.mark.skipif(BACKEND != "torch", reason="Captum explains modules of PyTorch")
def test_deeplift_is_captums():
    attr = pytest.importorskip("captum.attr")
    import torch
    from torch import nn

    torch.manual_seed(0)
    # No MaxPool2d beside a ReLU: there Captum's parts do not add up (its own convergence delta says so), and ours do.
    stack = [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AvgPool2d(2), nn.Conv2d(8, 6, 3), nn.Sigmoid()]
    net = nn.Sequential(
        *stack, nn.AvgPool2d(2), nn.Flatten(), nn.Linear(6 * 2 * 2, 7), nn.ELU(), nn.Linear(7, 5)
    ).eval()
    x, behind = torch.randn(5, 3, 14, 16).split([3, 2])
    targets = torch.tensor(UNITS)
    theirs = attr.DeepLift(net).attribute(x, behind[:1].expand_as(x), targets).sum(1).detach().numpy()
    ours = raw("deeplift", net, x, UNITS, baseline=behind[0].numpy()).maps[..., 0]
    close(ours, theirs, atol=1e-4 * abs(theirs).max())
    theirs = attr.DeepLiftShap(net).attribute(x, behind, targets).sum(1).detach().numpy()
    ours = raw("deep_shap", net, x, UNITS, baselines=behind.numpy()).maps[..., 0]
    close(ours, theirs, atol=1e-4 * abs(theirs).max())


@pytest.mark.skipif(BACKEND != "torch", reason="Captum explains modules of PyTorch")
@pytest.mark.parametrize(("method", "peer"), [("guided_backprop", "GuidedBackprop"), ("deconvnet", "Deconvolution")])
def test_rectified_gradients_are_captums(method, peer):
    attr = pytest.importorskip("captum.attr")
    import torch
    from torch import nn

    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 6, 3), nn.ReLU(), nn.Flatten())
    net = net.append(nn.Linear(6 * 4 * 5, 5)).eval()
    x = torch.randn(3, 3, 14, 16)
    theirs = getattr(attr, peer)(net).attribute(x.clone(), torch.tensor(UNITS)).detach().numpy()
    ours = raw(method, net, x, UNITS, reduce=None).maps[:, 0]
    close(np.moveaxis(ours, -1, 1), theirs, atol=1e-4 * abs(theirs).max())


@pytest.mark.skipif(BACKEND != "torch", reason="modules need Keras on PyTorch")
@pytest.mark.parametrize("method", ["guided_backprop", "lrp_epsilon_plus", "deeplift"])
def test_a_relu_of_a_module_counts_however_it_is_written(method):
    import torch
    from torch.nn import functional as F

    class Net(torch.nn.Module):
        def __init__(self, rectify):
            super().__init__()
            torch.manual_seed(0)
            self.first, self.head, self.rectify = torch.nn.Conv2d(3, 6, 3), torch.nn.Linear(6, 4), rectify

        def forward(self, x):
            x = self.first(x)
            made = self.rectify(x)
            return self.head((x if made is None else made).mean((2, 3)))

    def in_place(x):
        x.relu_()  # a statement, whose result is not used

    def unknown(x):
        return torch.where(x > 0, x, torch.zeros_like(x))

    x = keras_models.images("channels_first", 2)
    expected = raw(method, Net(F.relu), x, 1)
    assert expected.about.get("relus") == (1 if method == "guided_backprop" else None)
    for rectify in (in_place, torch.relu, lambda x: F.relu(x, inplace=True)):
        close(raw(method, Net(rectify), x, 1).maps, expected.maps, atol=1e-6)
    with pytest.raises(LayerError):
        raw(method, Net(unknown), x, 1)
