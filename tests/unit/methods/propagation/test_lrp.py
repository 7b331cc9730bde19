"""LRP by a composite of one's own, the bounds of its box rule, factors that no image changes, and what is refused."""

from functools import partial

import keras
import numpy as np
import pytest
from keras import layers as L
from keras import ops

import keras_explainable as ke
from keras_explainable.errors import InputError, LayerError
from keras_explainable.methods.propagation import rules
from keras_explainable.methods.propagation.composites import Box, Composite
from keras_explainable.methods.propagation.lrp import lrp
from reference import propagation as twins
from support import keras_models
from support.calls import raw
from support.compare import close
from support.selection import BACKEND, fast_on_torch, slow_compiled, very_slow_compiled
from support.to_reference import as_reference

pytestmark = slow_compiled

UNITS = np.array([[1, 4], [0, 0], [3, 2]])
on_torch = pytest.mark.skipif(BACKEND != "torch", reason="modules need Keras on PyTorch")


def slow_but(first, *others):
    return [first, *(pytest.param(other, marks=very_slow_compiled) for other in others)]


@pytest.mark.parametrize("name", slow_but("functional", "fused", "channels_first", "rescaled", "one_dimensional"))
def test_a_composite_of_ones_own_equals_its_twin(name):
    own = Composite(convolution=rules.alpha_beta(3, 2), dense=rules.gamma(0.5), first=rules.w_square)
    x = keras_models.images(name)
    conv, dense = partial(twins.alpha_beta_rule, alpha=3, beta=2), partial(twins.gamma_rule, gamma=0.5)
    x64 = keras_models.channels_last(name, x.astype("float64"))
    theirs = twins.lrp(as_reference(keras_models.build(name)), x64, UNITS, conv, dense, twins.w_square_rule)
    close(raw(lrp, keras_models.build(name), x, UNITS, composite=own), theirs, 1e-4)


@pytest.mark.parametrize("name", slow_but("rescaled", "channels_first"))
def test_a_box_is_in_the_range_of_the_images(name):
    x, random = keras_models.images(name), np.random.default_rng(1)
    low = x.min(axis=0, keepdims=True) - random.uniform(size=x.shape[1:]).astype("float32")
    high = x.max(axis=0, keepdims=True) + random.uniform(size=x.shape[1:]).astype("float32")
    own = Composite(rules.z_plus, rules.epsilon(0.01), Box(low, high))
    net = as_reference(keras_models.build(name))
    x64, *bounds = (
        keras_models.channels_last(name, np.broadcast_to(v, x.shape).astype("float64")) for v in (x, low, high)
    )
    dense = partial(twins.epsilon_rule, epsilon=0.01)
    theirs = twins.lrp(net, x64, UNITS, twins.plus_rule, dense, twins.boxed(net, *bounds))
    close(raw(lrp, keras_models.build(name), x, UNITS, composite=own), theirs, 1e-4)


def test_equal_composites_compile_once():
    model, x = keras_models.build("flatten"), keras_models.images("flatten")

    def explained():
        return raw(lrp, model, x, UNITS, composite=Composite(rules.gamma(0.1), rules.epsilon(0.1), rules.flat))

    first, before = explained(), ke.cache_info()
    close(explained(), first, 0)
    after = ke.cache_info()
    assert (after.misses, after.hits) == (before.misses, before.hits + 1)


COMPOSITES = [
    ("epsilon", "composite='epsilon' came, and a composites.Composite"),
    (Composite(rules.gamma, rules.epsilon(0.1)), "convolution=.* came, and a rule .* was expected"),
    (Composite(rules.flat, None), "dense=None came"),
    (Composite(rules.flat, rules.flat, rules.alpha_beta), "first=.* came"),
    (Composite(Box(0, 1), rules.flat), "convolution=Box"),
]


@fast_on_torch
@pytest.mark.parametrize(("composite", "message"), COMPOSITES)
def test_what_is_no_composite_is_refused(composite, message):
    with pytest.raises(InputError, match=message):
        raw(lrp, keras_models.build("flatten"), keras_models.images("flatten"), 1, composite=composite)


PARAMETERS = [
    ("lrp_epsilon", {"epsilon": 0.0}, "epsilon=0.0 came, and a number above 0"),
    ("lrp_epsilon_plus", {"epsilon": float("nan")}, "epsilon=nan came, and a number"),
    ("lrp_epsilon_plus_flat", {"epsilon": -1.0}, "epsilon=-1.0 came, and a number"),
    ("lrp_epsilon_alpha2_beta1", {"epsilon": None}, "epsilon=None came, and a number"),
    ("lrp_epsilon_gamma_box", {"gamma": -0.5}, "gamma=-0.5 came, and a number of 0 or more"),
    ("attnlrp", {"gamma": -0.5}, "gamma=-0.5 came, and a number"),
    ("lrp_epsilon_gamma_box", {"low": np.zeros((3, 4))}, r"low: .* shape \(3, 4\) came for images of shape \(., 20"),
    ("lrp_epsilon_gamma_box", {"high": np.zeros(2)}, r"high: .* shape \(2,\) came for images"),
    (
        "deeplift",
        {"baseline": "black"},
        "baseline='black' came, and a number, a colour, images, 'mean', 'blur' or 'noise'",
    ),
    ("deeplift", {"baseline": []}, r"shape \(0,\) came for images"),
    ("deep_shap", {"baselines": "mean"}, "baselines='mean' came, and a number, a colour or reference images"),
    ("deep_shap", {"baselines": np.zeros((0, 20, 24, 3))}, r"shape \(0, 20, 24, 3\) came for images"),
]


@fast_on_torch
@pytest.mark.parametrize(("method", "params", "message"), PARAMETERS)
def test_parameters_that_do_not_fit_are_refused(method, params, message):
    with pytest.raises(InputError, match=message):
        raw(method, keras_models.build("flatten"), keras_models.images("flatten"), 1, **params)


@on_torch
def test_bounds_of_a_module_are_in_its_layout():
    import torch

    torch.manual_seed(0)
    net, random = torch.nn.Sequential(torch.nn.Conv2d(3, 5, (6, 7)), torch.nn.Flatten()), np.random.default_rng(1)
    x = random.normal(size=(2, 3, 6, 7)).astype("float32")
    low, high = (x + sign * random.uniform(size=x.shape).astype("float32") for sign in (-1, 1))
    scores, maps = raw("lrp_epsilon_gamma_box", net, x, [1, 3], low=low, high=high)
    w = net[0].weight.detach().numpy()[[1, 3]]
    n = x * w - low * np.maximum(w, 0) - high * np.minimum(w, 0)
    close([maps[..., 0]], [(n / n.sum((1, 2, 3), keepdims=True)).sum(1) * scores[..., None]], 1e-4)
    with pytest.raises(InputError, match=r"low: .*\(1, 6, 7, 3\) came for images of shape \(2, 3, 6, 7\)"):
        raw("lrp_epsilon_gamma_box", net, x, 1, low=np.zeros((1, 6, 7, 3)))


class Scaled(L.Layer):
    """A layer scale, as users write it."""

    def __init__(self, gamma, **options):
        super().__init__(**options)
        self.gamma = self.add_weight(shape=gamma.shape, name="gamma", initializer=lambda *_, **__: gamma)

    def call(self, x):
        return x * self.gamma


class Before(Scaled):
    """The same, the other way round."""

    def call(self, x):
        return ops.multiply(self.gamma, x)


GAMMA = np.array([0.5, -2.0, 1.5, 0.1], "float32")
METHODS = ["lrp_epsilon_plus", "deeplift", "lrp_epsilon_gamma_box", "excitation_backprop", "attnlrp"]


@pytest.mark.parametrize("method", slow_but(*METHODS))
@pytest.mark.parametrize("scaled", slow_but(Scaled, Before))
def test_a_factor_that_no_image_changes_passes_relevance_on(method, scaled):
    stem, last, head = L.Conv2D(4, 3, activation="relu"), L.Conv2D(4, 3, padding="same"), L.Dense(5)

    def model(scale):
        x = inputs = keras.Input((8, 9, 3))
        x = stem(x)
        x = L.Add()([x, scale(last(x))])
        return keras.Model(inputs, head(L.GlobalAveragePooling2D()(x)))

    ours, theirs = model(scaled(GAMMA)), model(L.Rescaling(GAMMA.tolist()))
    for layer in (stem, last, head):
        keras_models.randomize(layer)
    x = np.random.default_rng(0).normal(size=(2, 8, 9, 3)).astype("float32")
    params = {"layer": stem.name} if method == "excitation_backprop" else {}
    found = raw(method, ours, x, [1, 3], **params)
    assert abs(found.maps).max() > 1e-3
    close(found, raw(method, theirs, x, [1, 3], **params))


@on_torch
@pytest.mark.parametrize("method", METHODS)
def test_a_layer_scale_of_a_module_is_a_normalisation(method):
    import torch
    from torch import nn

    norm = nn.BatchNorm2d(4, eps=0.0, affine=True)
    with torch.no_grad():
        norm.weight.copy_(torch.as_tensor(GAMMA))

    class Net(nn.Module):
        def __init__(self, scaled):
            super().__init__()
            torch.manual_seed(0)
            self.first, self.second, self.head = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3, padding=1), nn.Linear(4, 5)
            self.gamma, self.norm, self.scaled = nn.Parameter(torch.as_tensor(GAMMA)[:, None, None]), norm, scaled

        def forward(self, x):
            x = torch.relu(self.first(x))
            return self.head((x + self.scaled(self, torch.relu(self.second(x)))).mean((2, 3)))

    x = np.random.default_rng(0).normal(size=(2, 3, 8, 9)).astype("float32")
    params = {"layer": "first"} if method == "excitation_backprop" else {}
    expected = raw(method, Net(lambda net, h: net.norm(h)).eval(), x, [1, 3], **params)
    assert abs(expected.maps).max() > 1e-3
    for scaled in (lambda net, h: h * net.gamma, lambda net, h: net.gamma * h, lambda net, h: h.mul_(net.gamma)):
        close(raw(method, Net(scaled).eval(), x, [1, 3], **params), expected)


def test_products_with_a_mask_stay_refused():
    class Own(L.Layer):
        def call(self, x):
            return x * ops.cast(x > 0, "float32")

    stack = [L.Conv2D(4, 3), Own(name="own"), L.Flatten(), L.Dense(5)]
    model = keras.Sequential([keras.Input((8, 8, 3)), *stack])
    for method in ("lrp_epsilon_plus", "deeplift"):
        with pytest.raises(LayerError, match=r"No rule covers own/"):
            raw(method, model, np.ones((1, 8, 8, 3), "float32"), 0)
