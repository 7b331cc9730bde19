"""What is linear passes, whoever made it: shown by numbers, and equal to layers that have a rule."""

import keras
import numpy as np
import pytest
from keras import layers as L
from keras import ops

import keras_explainable as ke
from keras_explainable import models as views
from keras_explainable.errors import LayerError
from support.calls import raw
from support.compare import close
from support.selection import BACKEND, crossed, slow

pytestmark = slow

RNG = np.random.default_rng(7)
X = RNG.normal(size=(2, 10, 10, 3)).astype("float32")
ALL = ("lrp_epsilon", "lrp_epsilon_plus", "deeplift", "attnlrp", "excitation_backprop", "guided_backprop")
UNITS = [1, 0]
TABLE = RNG.normal(size=(4,)).astype("float32")


class Own(L.Layer):
    """A function of a signal, that can be seen inside of, or not."""

    def __init__(self, function, hidden=False):
        super().__init__(name="own")
        self.function, self.hidden = function, hidden

    def call(self, x):
        if self.hidden and isinstance(x, keras.KerasTensor):
            raise TypeError("numbers, please")
        return self.function(x)

    def compute_output_shape(self, shape):
        return (None, *self.function(ops.zeros((1, *shape[1:]))).shape[1:])


def net(middle, biases=True):
    """Conv - middle - ReLU - pooling - Dense, drawn from one seed."""
    keras.utils.set_random_seed(3)
    x = inputs = keras.Input((10, 10, 3))
    x = L.Conv2D(4, 3, name="conv", use_bias=biases, bias_initializer="normal")(x)
    x = L.ReLU()(middle(x))
    return keras.Model(inputs, L.Dense(3, use_bias=biases, name="head")(L.Flatten()(x)))


def linear_of(function):
    """The matrix of a linear function of signals (8, 8, 4) as a layer with a kernel that has a rule, and its shape."""
    basis = np.eye(8 * 8 * 4, dtype="float32").reshape(-1, 8, 8, 4)
    still = ops.convert_to_numpy(function(ops.zeros((1, 8, 8, 4))))
    columns = ops.convert_to_numpy(function(ops.convert_to_tensor(basis))) - still
    layer = L.Dense(columns[0].size, name="as_dense")
    layer.build((None, len(basis)))
    layer.set_weights([columns.reshape(len(basis), -1), still.ravel()])
    return lambda x: L.Reshape(columns.shape[1:])(layer(L.Flatten()(x)))


def average_of_two(x):
    return L.Average()([x, L.Lambda(ops.flip, arguments={"axis": 1}, name="turned")(x)])


LAYERS = {
    "separable": lambda: L.SeparableConv2D(5, 3, bias_initializer="normal", name="middle"),
    "resized": lambda: L.Resizing(5, 6, name="middle"),
    "bicubic": lambda: L.Resizing(11, 12, interpolation="bicubic", name="middle"),
    "cropped": lambda: L.CenterCrop(4, 5, name="middle"),
}


@pytest.mark.parametrize(("method", "name"), crossed(["lrp_epsilon", "deeplift", "attnlrp"], LAYERS, torch=slow))
def test_a_layer_that_is_linear_is_a_dense_layer_of_its_matrix(method, name):
    layer = LAYERS[name]()
    ours, theirs = net(layer), net(linear_of(layer))
    close([ops.convert_to_numpy(ours(X))], [ops.convert_to_numpy(theirs(X))], 1e-4)
    params = {"gamma": 0.0} if method == "attnlrp" else {}
    close(raw(method, ours, X, UNITS, **params), raw(method, theirs, X, UNITS, **params), 2e-3)


FUNCTIONS = {
    "difference": lambda x: ops.subtract(x, 0.5 * ops.flip(x, axis=2)),
    "a constant": lambda x: x + ops.convert_to_tensor(TABLE),
    "numbers": lambda x: x - 0.3,
    "a matrix": lambda x: ops.matmul(x, np.array([[1, 2], [0, 1], [-1, 0], [0.5, 0.2]], "float32")),
    "larger": lambda x: x[..., None] * ops.convert_to_tensor(np.array([[1.0, -2.0]] * 4, "float32")),
    "patches": lambda x: ops.image.extract_patches(x, (2, 2)),
    "resized": lambda x: ops.image.resize(x, (4, 6)),
    "every second": lambda x: x[:, ::2, 1::2],
    "sums": lambda x: ops.sum(x, axis=1),
}


@pytest.mark.parametrize(("hidden", "name"), crossed([False, True], FUNCTIONS, torch=slow))
def test_a_function_that_is_linear_is_a_dense_layer_of_its_matrix(name, hidden):
    function = FUNCTIONS[name]
    ours, theirs = net(Own(function, hidden)), net(linear_of(function))
    for method in ("lrp_epsilon", "deeplift"):
        close(raw(method, ours, X, UNITS), raw(method, theirs, X, UNITS), 2e-3)


def test_an_average_and_a_difference_of_signals_are_sums():
    def average(x):
        return L.Average()([x, L.Conv2D(4, 1, name="beside")(x)])

    def difference(x):
        return L.Subtract()([x, L.Conv2D(4, 1, name="beside")(x)])

    def as_sum(sign, half):
        def middle(x):
            other = L.Conv2D(4, 1, name="beside")(x)
            if sign < 0:
                turned = L.Conv2D(4, 1, use_bias=False, name="turned", trainable=False)
                turned.build((None, 8, 8, 4))
                turned.set_weights([-np.eye(4, dtype="float32")[None, None]])
                other = turned(other)
            return L.Rescaling(half)(L.Add()([x, other])) if half != 1 else L.Add()([x, other])

        return middle

    for ours, theirs in ((average, as_sum(1, 0.5)), (difference, as_sum(-1, 1))):
        one, other = net(ours), net(theirs)
        for layer in ("conv", "beside", "head"):
            other.get_layer(layer).set_weights(one.get_layer(layer).get_weights())
        close([ops.convert_to_numpy(one(X))], [ops.convert_to_numpy(other(X))], 1e-5)
        for method in ("lrp_epsilon", "deeplift", "attnlrp"):
            close(raw(method, one, X, UNITS), raw(method, other, X, UNITS), 2e-3)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_relevance_is_kept_but_for_what_constants_have(name):
    model = net(Own(FUNCTIONS[name]), biases=False)
    scores, maps = raw("lrp_epsilon", model, X, UNITS)
    if name not in ("a constant", "numbers"):
        close(maps.sum((1, 2)), scores, rtol=2e-3)
        return
    # Of ReLU networks epsilon is x times the gradient, and the constant's share is its own.
    close([maps], [raw("input_x_gradient", model, X, UNITS, reduce="sum").maps], 2e-3)
    assert abs(maps.sum((1, 2)) - scores).max() > 1e-2


CURVED = {
    "abs": ops.abs,
    "square": ops.square,
    "largest": lambda x: ops.maximum(x, ops.flip(x, axis=1)),
    "clipped": lambda x: ops.clip(x, -30.0, 30.0),
    "of two": lambda x: ops.abs(x) * ops.flip(x, axis=1),
    "over another": lambda x: x / ops.abs(x),
    "a gate": lambda x: ops.where(x > 0, x, ops.zeros_like(x)),
    "stopped": ops.stop_gradient,
}


@pytest.mark.parametrize(("name", "hidden"), crossed(CURVED, [False, True], torch=slow))
def test_what_is_not_linear_stays_refused_by_name(name, hidden):
    model = net(Own(CURVED[name], hidden))
    for method in ("lrp_epsilon", "deeplift"):
        with pytest.raises(LayerError, match=r"No rule covers own"):
            raw(method, model, X, UNITS)


def test_a_verdict_is_found_once(monkeypatch):
    model = net(L.CenterCrop(4, 5))
    expected = raw("deeplift", model, X, UNITS)
    monkeypatch.setattr(views.linear, "threading", None)  # in a thread of which a verdict is found
    close(raw("deeplift", model, X, UNITS), expected)
    raw("lrp_epsilon", model, X, UNITS)


if BACKEND == "torch":
    import torch
    from torch import nn
    from torch.nn import functional as F

    class Net(nn.Module):
        def __init__(self, middle=None, conv=None):
            super().__init__()
            torch.manual_seed(1)
            self.conv = conv or nn.Conv2d(3, 8, 3)
            self.relu, self.pool, self.flat, self.head = nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.LazyLinear(3)
            self.middle = middle or (lambda z: z)
            self.eval()
            self(torch.zeros(1, 3, 10, 10))

        def forward(self, x):
            return self.head(self.flat(self.pool(self.relu(self.middle(self.conv(x))))))

    class AsLinear(nn.Module):
        """A linear function of signals (8, 8, 8) as the layer of its matrix."""

        def __init__(self, function):
            super().__init__()
            with torch.no_grad():
                still = function(torch.zeros(1, 8, 8, 8))
                columns = function(torch.eye(512).reshape(-1, 8, 8, 8)) - still
            self.shape, self.flat = columns.shape[1:], nn.Flatten()
            self.dense = nn.Linear(512, columns[0].numel())
            with torch.no_grad():
                self.dense.weight.copy_(columns.flatten(1).T)
                self.dense.bias.copy_(still.flatten())

        def forward(self, x):
            return self.dense(self.flat(x)).reshape(-1, *self.shape)

    POSITIONS = torch.linspace(-1, 1, 8).reshape(1, 8, 1, 1)
    MIDDLES = {
        "bilinear": lambda z: F.interpolate(z, scale_factor=2, mode="bilinear"),
        "nearest": lambda z: F.interpolate(z, size=(6, 6)),
        "bicubic": lambda z: F.interpolate(z, size=(10, 6), mode="bicubic"),
        "nn.Upsample": nn.Upsample(scale_factor=2),
        "nn.PixelShuffle": nn.PixelShuffle(2),
        "nn.ConstantPad2d": nn.ConstantPad2d(1, 0.0),
        "padded with a number": nn.ConstantPad2d(1, 0.4),
        "nn.ReflectionPad2d": nn.ReflectionPad2d(1),
        "F.pad by reflection": lambda z: F.pad(z, (1, 1, 1, 1), mode="reflect"),
        "F.unfold": lambda z: F.unfold(z, 2, stride=2).reshape(len(z), 8, -1, 8),
        "nn.Unfold": nn.Sequential(nn.Unfold(2, stride=2), nn.Unflatten(1, (8, 4))),
        "a tensor attribute": lambda z: z + POSITIONS.type_as(z).detach(),
        "arange": lambda z: z + torch.arange(8.0)[:, None, None],
        "a scaled sum": lambda z: torch.add(z, z.flip(-1), alpha=-0.5),
        "a difference": lambda z: z - 0.5 * z.roll(1, 2),
        "permuted": lambda z: z.permute(0, 2, 3, 1)[:, ::2].permute(0, 3, 1, 2),
        "masked": lambda z: z.masked_fill(POSITIONS > 0.5, 0.0),
        "einsum": lambda z: torch.einsum("nchw,cd->ndhw", z, torch.linspace(-1, 1, 64).reshape(8, 8)),
        "addmm": lambda z: torch.addmm(torch.ones(8), z.flatten(1).reshape(-1, 8), torch.ones(8, 8)).reshape(z.shape),
    }

    @pytest.mark.parametrize("name", MIDDLES)
    @pytest.mark.parametrize("method", ["lrp_epsilon", "deeplift", "attnlrp"])
    def test_what_a_module_does_that_is_linear_is_a_layer_of_its_matrix(method, name):
        middle = MIDDLES[name]
        ours, theirs = Net(middle), Net(AsLinear(middle))
        theirs.load_state_dict(ours.state_dict(), strict=False)
        x = torch.as_tensor(X).movedim(-1, 1).contiguous()
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-5)
        params = {"gamma": 0.0} if method == "attnlrp" else {}
        expected = raw(method, theirs, x, UNITS, **params)
        assert abs(expected.maps).max() > 1e-3
        close(raw(method, ours, x, UNITS, **params), expected, 2e-3)

    @pytest.mark.parametrize("name", MIDDLES)
    def test_guided_gradients_pass_what_is_linear(name):
        x = torch.as_tensor(X).movedim(-1, 1).contiguous()
        model = Net(MIDDLES[name])
        assert raw("guided_backprop", model, x, UNITS).about["relus"] == 1

    class Padded(nn.Conv2d):
        def forward(self, x):
            return F.conv2d(F.pad(x, (1, 1, 1, 1)), self.weight, self.bias)

    class Standardised(nn.Conv2d):
        def forward(self, x):
            return F.conv2d(x, self.standardised(), self.bias)

        def standardised(self):
            mean, spread = (f((1, 2, 3), keepdim=True) for f in (self.weight.mean, self.weight.std))
            return (self.weight - mean) / spread

    class Drawn(nn.Conv2d):
        def __init__(self):
            super().__init__(3, 8, 3)

    class Merged(nn.Conv2d):
        """Weights and others of low rank, added up when it runs."""

        def __init__(self):
            super().__init__(3, 8, 3)
            self.low = nn.Parameter(torch.randn(8, 1, 1, 1))

        def forward(self, x):
            return F.conv2d(input=x, weight=self.weight + 0.1 * self.low, bias=self.bias)

    def same_layer(conv):
        plain = nn.Conv2d(3, 8, 3, padding=1 if isinstance(conv, Padded) else 0)
        weight = conv.weight
        if isinstance(conv, Standardised):
            weight = conv.standardised()
        if isinstance(conv, Merged):
            weight = weight + 0.1 * conv.low
        with torch.no_grad():
            plain.weight.copy_(weight)
            plain.bias.copy_(conv.bias)
        return plain

    CONVOLUTIONS = {
        "pads itself": lambda: Padded(3, 8, 3),
        "standardised": lambda: Standardised(3, 8, 3),
        "own init": Drawn,
        "merged": Merged,
    }

    @pytest.mark.parametrize("norm", [False, True])
    @pytest.mark.parametrize("name", CONVOLUTIONS)
    @pytest.mark.parametrize(
        "method", [*ALL, "lrp_epsilon_alpha2_beta1", "lrp_epsilon_gamma_box", "lrp_epsilon_plus_flat", "full_gradients"]
    )
    def test_a_convolution_of_ones_own_is_one_of_the_same_weights(method, name, norm):
        if method == "lrp_epsilon_plus_flat" and name == "pads itself":
            pytest.skip("to the flat rule what was padded before is connected as pixels are")
        conv = CONVOLUTIONS[name]()
        ours, theirs = Net(conv=conv), Net(conv=same_layer(conv))
        if norm:
            for net in (ours, theirs):
                net.middle = nn.BatchNorm2d(8).eval()
                torch.manual_seed(0)
                for value in (net.middle.running_mean, net.middle.weight.data, net.middle.bias.data):
                    value.normal_()
        theirs.head = ours.head
        x = torch.as_tensor(X).movedim(-1, 1).contiguous()
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-5)
        expected = raw(method, theirs, x, UNITS)
        assert abs(expected.maps).max() > 1e-3
        close(raw(method, ours, x, UNITS), expected, 1e-5)

    @pytest.mark.parametrize("function", [torch.abs, torch.square, lambda z: z.detach(), F.softshrink, torch.sin])
    def test_what_a_module_does_that_is_not_linear_stays_refused(function):
        x = torch.as_tensor(X).movedim(-1, 1).contiguous()
        for method in ("lrp_epsilon", "deeplift"):
            with pytest.raises(LayerError, match="No rule covers"):
                raw(method, Net(function), x, UNITS)
        with pytest.raises(LayerError, match="No rule covers"):
            ke.explain("lrp_epsilon", Net(lambda z: z.clamp(min=-1)), x, UNITS, verbose=0)
