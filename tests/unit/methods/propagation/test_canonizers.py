"""What is known of a network before relevance is sent through it: where no signal is below 0, and which layers are one."""

import keras
import numpy as np
import pytest
from keras import layers as L
from keras import ops

from keras_explainable import models as views
from keras_explainable.errors import LayerError
from keras_explainable.methods.propagation import canonizers, composites, engine, rules
from support.calls import raw
from support.compare import close
from support.selection import BACKEND, slow_compiled

pytestmark = slow_compiled

RNG = np.random.default_rng(5)
on_torch = pytest.mark.skipif(BACKEND != "torch", reason="modules need Keras on PyTorch")

# A layer behind `before`, and whether nothing that it gives is below 0.
BEHIND = {
    "relu": ([L.ReLU()], True),
    "relu6": ([L.ReLU(max_value=6.0)], True),
    "by name": ([L.Activation("relu")], True),
    "fused": ([L.Conv2D(4, 1, activation="relu")], True),
    "nothing": ([], False),
    "a slope": ([L.ReLU(negative_slope=0.1)], False),
    "leaky": ([L.LeakyReLU()], False),
    "silu": ([L.Activation("silu")], False),
    "pooled": ([L.ReLU(), L.MaxPooling2D(), L.AveragePooling2D(2)], True),
    "moved": ([L.ReLU(), L.ZeroPadding2D(), L.Cropping2D(), L.Permute((2, 1, 3)), L.Dropout(0.5)], True),
    "bicubic": ([L.ReLU(), L.UpSampling2D(interpolation="bicubic")], False),
    "normalised": ([L.ReLU(), L.BatchNormalization()], False),
    "averages of anything": ([L.AveragePooling2D(2)], False),
}


def known(model, x):
    """Whether what goes into the last convolution is known not to be below 0."""
    view = views.view(model, x)
    steps = view.steps()
    last = [step for step in steps if step.role == "convolution"][-1]
    return last.call.inputs[0] in canonizers.nonnegative(view.adapter, steps)


@pytest.mark.parametrize("name", BEHIND)
def test_signals_that_cannot_be_below_0_are_known(name):
    stack, expected = BEHIND[name]
    x = inputs = keras.Input((12, 12, 3))
    for layer in (L.Conv2D(4, 3), *(type(layer).from_config(layer.get_config()) for layer in stack)):
        x = layer(x)
    model = keras.Model(inputs, L.Dense(3)(L.Flatten()(L.Conv2D(2, 1)(x))))
    images = RNG.normal(size=(2, 12, 12, 3)).astype("float32")
    assert known(model, images) is expected
    if expected:
        assert ops.convert_to_numpy(keras.Model(inputs, x)(images)).min() >= 0


@pytest.mark.parametrize(("second", "expected"), [("relu", True), ("tanh", False)])
def test_a_sum_is_known_where_all_its_terms_are(second, expected):
    inputs = keras.Input((8, 8, 3))
    x = L.Add()([L.Conv2D(4, 3, activation="relu")(inputs), L.Conv2D(4, 3, activation=second)(inputs)])
    model = keras.Model(inputs, L.Dense(3)(L.Flatten()(L.Conv2D(2, 1)(x))))
    assert known(model, np.ones((1, 8, 8, 3), "float32")) is expected


@pytest.mark.parametrize(
    "join", [lambda x: L.Concatenate()([x, x]), lambda x: ops.concatenate([x, -np.ones((1, 6, 6, 4))])]
)
def test_constants_that_are_joined_to_a_signal_are_not_overlooked(join):
    inputs = keras.Input((8, 8, 3), batch_size=1)
    model = keras.Model(inputs, L.Flatten()(L.Conv2D(2, 1)(join(L.Conv2D(4, 3, activation="relu")(inputs)))))
    lowest = keras.Model(inputs, model.layers[-2].input)(np.ones((1, 8, 8, 3), "float32"))
    assert known(model, np.ones((1, 8, 8, 3), "float32")) is bool(ops.convert_to_numpy(lowest).min() >= 0)


@on_torch
def test_numbers_that_a_module_adds_or_pads_with_are_not_taken_for_nothing():
    import torch
    from torch import nn
    from torch.nn import functional

    class Net(nn.Module):
        def __init__(self, between):
            super().__init__()
            self.first, self.last, self.between = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 1), between

        def forward(self, x):
            return self.last(self.between(torch.relu(self.first(x)))).mean((2, 3))

    x = np.ones((1, 3, 8, 8), "float32")
    for between, expected in [
        (lambda h: h, True),
        (lambda h: h + h, True),
        (lambda h: h - 1, False),
        (lambda h: h.add(-1), False),
        (lambda h: functional.pad(h, (1, 1), value=-1.0), False),
    ]:
        try:
            assert known(Net(between).eval(), x) is expected
        except LayerError:  # an operation that none of the rules covers
            assert not expected
    with pytest.raises(LayerError, match="hypot"):
        raw("lrp_epsilon_plus", Net(lambda h: torch.hypot(h, h.tanh())).eval(), x, 0)


@pytest.mark.parametrize(
    "rule", [rules.z_plus, rules.alpha_beta(2.0, 1.0), rules.gamma(0.25), rules.excitation, rules.epsilon(0.1)]
)
def test_rules_are_the_same_and_half_the_work_where_nothing_is_below_0(rule):
    kernel, bias, r = (RNG.normal(size=size).astype("float32") for size in ((20, 3), 3, (2, 3)))
    x, runs = abs(RNG.normal(size=(2, 20))).astype("float32"), []

    def run(v, kernel):
        runs.append(kernel)
        return v @ kernel

    kernel, bias, x, r = map(ops.convert_to_tensor, (kernel, bias, x, r))
    slow, fast = (rule(rules.Linear(run, kernel, bias, known), x, r) for known in (False, True))
    of_both = {rules.epsilon(0.1): 2, rules.excitation: 2, rules.z_plus: 3}.get(rule, 6)
    assert len(runs) == of_both
    close(*map(ops.convert_to_numpy, (fast, slow)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("norm", [True, False])
def test_a_layer_and_what_passes_relevance_on_behind_it_are_one(norm):
    inputs = keras.Input((8, 8, 3))
    x = L.Conv2D(4, 3, name="first")(inputs)
    x = L.ReLU(name="relu")(L.BatchNormalization(name="norm")(x) if norm else x)
    y = L.Conv2D(4, 3, padding="same", activation="relu", name="second")(x)
    x = L.ReLU(name="last")(L.Add(name="sum")([x, y]))
    model = keras.Model(inputs, L.Dense(3, name="head")(L.Flatten(name="flat")(x)))
    view = views.view(model, np.ones((1, 8, 8, 3), "float32"))
    found = engine.rules_of(view, composites.epsilon_plus(0.1), view.steps())
    assert {str(rule.at): [str(p) for p in rule.of] for rule in found} == {
        "relu": ["input of first"],
        "second": ["input of second"],
        "last": ["input of sum", "input of sum"],
        "pre-activation of head": ["input of head"],
    }


def test_what_others_take_as_well_stays_by_itself():
    """The signal before a ReLU goes elsewhere, too: relevance comes to it on two ways."""
    inputs = keras.Input((6, 6, 3))
    conv, dense = L.Conv2D(4, 3), L.Dense(2)
    x = conv(inputs)
    x = L.Concatenate()([x, L.ReLU()(x)])
    model = keras.Model(inputs, dense(L.Flatten()(x)))
    images = RNG.uniform(0.5, 1.5, size=(2, 6, 6, 3)).astype("float32")
    # Without biases epsilon is x times the gradient, however the ways come together. No sum that is divided by nearly
    # cancels: two channels are above 0 everywhere and two below, and what the scores add up has one sign.
    sign = np.array([1, 1, -1, -1], "float32")
    conv.set_weights([abs(conv.get_weights()[0]) * sign, np.zeros(4)])
    dense.set_weights([abs(dense.get_weights()[0]) * np.tile([*sign, *sign], 16)[:, None], np.zeros(2)])
    ours = raw("lrp_epsilon", model, images, [0, 1])
    theirs = raw("input_x_gradient", model, images, [0, 1])
    close(ours, theirs, 1e-5)


@on_torch
@pytest.mark.parametrize("method", ["guided_backprop", "deconvnet", "lrp_epsilon_plus", "deeplift", "attnlrp"])
def test_what_is_changed_in_place_is_what_a_module_would_have_made_anew(method):
    import torch
    from torch import nn
    from torch.nn import functional

    class Net(nn.Module):
        def __init__(self, inplace):
            super().__init__()
            torch.manual_seed(0)
            self.first, self.second, self.head = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3, padding=1), nn.Linear(4, 5)
            self.relu, self.last, self.inplace = nn.ReLU(inplace), nn.ReLU(inplace), inplace

        def forward(self, x):
            x = self.relu(self.first(x))
            y = functional.relu(self.second(x), self.inplace)
            if self.inplace:
                y *= torch.tensor([[[0.5]], [[2.0]], [[1.0]], [[-1.0]]])
                y += x
            else:
                y = y * torch.tensor([[[0.5]], [[2.0]], [[1.0]], [[-1.0]]]) + x
            return self.head(self.last(y).mean((2, 3)))

    x = RNG.normal(size=(2, 3, 8, 9)).astype("float32")
    found, expected = (raw(method, Net(inplace).eval(), x, [1, 3]) for inplace in (True, False))
    assert abs(expected.maps).max() > 1e-3
    close(found, expected, 1e-6)
