"""Biases of functions that run outside of layers, and layers that run past `__call__`: the same as those of layers."""

import keras
import numpy as np
import pytest
from keras import layers as L
from keras import ops

import keras_explainable as ke
from support.calls import raw
from support.compare import close
from support.selection import BACKEND, crossed, slow_compiled

pytestmark = slow_compiled

RNG = np.random.default_rng(11)
METHODS = (
    *("full_gradients", "simple_full_gradients", "smooth_full_gradients", "lrp_epsilon", "lrp_epsilon_plus"),
    *("lrp_epsilon_gamma_box", "lrp_epsilon_alpha2_beta1", "deeplift", "attnlrp", "guided_backprop", "gradcam"),
)
SEEDED = {"smooth_full_gradients": {"seed": 0, "repetitions": 2}}
UNITS = [2, 0]


class Calls(keras.Model):
    """Conv - ReLU - Conv - ReLU - pooling - Dense, in one of several ways."""

    def __init__(self, how):
        super().__init__()
        self.how = how
        options = {"bias_initializer": "normal"}
        self.first, self.second = L.Conv2D(4, 3, name="first", **options), L.Conv2D(5, 3, name="second", **options)
        self.head, self.pool, self.relu = L.Dense(3, name="head", **options), L.GlobalAveragePooling2D(), L.ReLU()
        for layer, *shape in ((self.first, 12, 12, 3), (self.second, 10, 10, 4), (self.head, 5)):
            layer.build((None, *shape))

    def call(self, x):
        if self.how == "layers":
            x = self.relu(self.second(self.relu(self.first(x))))
            return self.head(self.pool(x))
        if self.how == "call":
            x = self.relu(self.second.call(self.relu(self.first.call(x))))
            return self.head.call(self.pool(x))
        x = self.relu(ops.conv(x, self.first.kernel) + self.first.bias)
        x = self.relu(ops.conv(x, self.second.kernel) + self.second.bias)
        return ops.matmul(self.pool(x), self.head.kernel) + self.head.bias


def pair(how):
    x = RNG.normal(size=(2, 12, 12, 3)).astype("float32")
    ours, theirs = Calls(how), Calls("layers")
    for model in (ours, theirs):
        model(x)
    for one, other in ((ours.first, theirs.first), (ours.second, theirs.second), (ours.head, theirs.head)):
        one.set_weights(other.get_weights())
    return ours, theirs, x


# The last signal is then one before the bias.
BY_OPERATIONS = ("gradcam",)


@pytest.mark.parametrize(("method", "how"), crossed(METHODS, ["call", "operations"]))
def test_layers_of_keras_past_their_call_are_layers(method, how):
    if how == "operations" and method in BY_OPERATIONS:
        pytest.skip("another signal")
    ours, theirs, x = pair(how)
    expected = raw(method, theirs, x, UNITS, **SEEDED.get(method, {}))
    close(raw(method, ours, x, UNITS, **SEEDED.get(method, {})), expected, 2e-3 if "lrp" in method else 1e-5)


@pytest.mark.parametrize("how", ["call", "operations"])
def test_a_decomposition_has_the_biases_of_keras_past_their_call(how):
    ours, theirs, x = pair(how)
    found, expected = (ke.full_gradient_decomposition(model, x, UNITS) for model in (ours, theirs))
    assert expected.completeness.relative_gap.max() < 1e-5
    assert found.completeness.relative_gap.max() < 1e-5
    for one, other in zip(found.bias_gradients.values(), expected.bias_gradients.values(), strict=True):
        close(one, other, atol=1e-6)


if BACKEND == "torch":
    import torch
    from torch import nn
    from torch.nn import functional as F

    class Net(nn.Module):
        def __init__(self, how="layers"):
            super().__init__()
            torch.manual_seed(4)
            self.first, self.second, self.head = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 5, 3, stride=2), nn.Linear(5, 3)
            self.norm, self.how = nn.BatchNorm2d(4), how
            for value in (self.norm.running_mean, self.norm.weight.data, self.norm.bias.data):
                value.normal_()
            self.eval()

        def forward(self, x):
            first, norm, second, head = HOW[self.how](self)
            x = F.relu(norm(first(x)))
            return head(F.relu(second(x)).mean((2, 3)))

    def by_function(net):
        def norm(x):
            n = net.norm
            return F.batch_norm(x, n.running_mean, n.running_var, n.weight, n.bias, False, 0.0, n.eps)

        return (
            lambda x: F.conv2d(x, net.first.weight, net.first.bias),
            norm,
            lambda x: F.conv2d(x, weight=net.second.weight, bias=net.second.bias, stride=2),
            lambda x: F.linear(x, net.head.weight, net.head.bias),
        )

    def by_parts(net):
        def shifted(x, bias):
            return x + bias[:, None, None]

        return (
            lambda x: shifted(F.conv2d(x, net.first.weight), net.first.bias),
            net.norm,
            lambda x: shifted(F.conv2d(x, net.second.weight, stride=2), net.second.bias),
            lambda x: x @ net.head.weight.T + net.head.bias,
        )

    HOW = {
        "layers": lambda net: (net.first, net.norm, net.second, net.head),
        "forward": lambda net: (net.first.forward, net.norm.forward, net.second.forward, net.head.forward),
        "functions": by_function,
        "parts": by_parts,
    }
    # Of a normalisation that is a function relevance comes by what it adds; as a layer it is merged with the one before.
    APART = ("lrp_epsilon_plus", "lrp_epsilon_gamma_box", "lrp_epsilon_alpha2_beta1", "excitation_backprop")

    @pytest.mark.parametrize("how", ["forward", "functions", "parts"])
    @pytest.mark.parametrize("method", [m for m in METHODS if m not in (*APART, "attnlrp", "gradcam")])
    def test_modules_past_their_call_are_layers(method, how):
        x = torch.as_tensor(RNG.normal(size=(2, 3, 12, 12)).astype("float32"))
        expected = raw(method, Net(), x, UNITS, **SEEDED.get(method, {}))
        assert abs(expected.maps).max() > 1e-4
        close(raw(method, Net(how), x, UNITS, **SEEDED.get(method, {})), expected, 1e-3)

    class Plain(Net):
        """The same without the normalisation."""

        def forward(self, x):
            first, _, second, head = HOW[self.how](self)
            return head(F.relu(second(F.relu(first(x)))).mean((2, 3)))

    @pytest.mark.parametrize("how", ["forward", "functions"])
    @pytest.mark.parametrize("method", [*METHODS, "excitation_backprop"])
    def test_convolutions_past_their_call_are_layers(method, how):
        x = torch.as_tensor(RNG.normal(size=(2, 3, 12, 12)).astype("float32"))
        expected = raw(method, Plain(), x, UNITS, **SEEDED.get(method, {}))
        assert abs(expected.maps).max() > 1e-4
        close(raw(method, Plain(how), x, UNITS, **SEEDED.get(method, {})), expected, 1e-5)

    @pytest.mark.parametrize("how", ["forward", "functions", "parts"])
    def test_a_decomposition_has_the_biases_of_functions(how):
        x = RNG.normal(size=(2, 3, 12, 12)).astype("float32")
        found, expected = (ke.full_gradient_decomposition(Net(way), x, UNITS) for way in (how, "layers"))
        assert expected.completeness.relative_gap.max() < 1e-5
        assert found.completeness.relative_gap.max() < 1e-5
        for one, other in zip(found.bias_gradients.values(), expected.bias_gradients.values(), strict=True):
            close(one, other, atol=1e-6)

    class Inside(nn.Conv2d):
        """What a layer makes with its bias before it goes on."""

        def forward(self, x):
            return F.relu(F.conv2d(x, self.weight, self.bias))

    class Last(nn.LayerNorm):
        """A normalisation over channels that come first."""

        def forward(self, x):
            x = x.permute(0, 2, 3, 1)
            return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps).permute(0, 3, 1, 2)

    def test_a_bias_counts_once_and_where_it_is_added():
        torch.manual_seed(0)
        net = nn.Sequential(Inside(3, 4, 3), Last(4), nn.Flatten(), nn.Linear(4 * 100, 3)).eval()
        net[1].bias.data.normal_()
        x = RNG.normal(size=(2, 3, 12, 12)).astype("float32")
        found = ke.full_gradient_decomposition(net, x, UNITS)
        assert list(found.bias_gradients) == [("0.conv2d", 0), ("1", 0), ("3", 0)]
        for shown, bias in zip(found.bias_gradients.values(), (net[0].bias, net[1].bias), strict=False):
            assert shown.shape[-1] == len(bias)
        conv, norm = net[0], net[1]
        z = F.conv2d(torch.as_tensor(x), conv.weight, conv.bias).detach().requires_grad_()
        for unit, row in ((2, 0), (0, 1)):
            (g,) = torch.autograd.grad(net[1:](F.relu(z))[row, unit], z)
            expected = (g[row] * conv.bias[:, None, None]).permute(1, 2, 0).detach().numpy()
            close(found.bias_gradients["0.conv2d", 0][row, 0], expected, atol=1e-6)
        assert norm.bias.abs().max() > 0.1

    class Table(nn.Module):
        """Positions: a layer on a table that has one row and nothing to do with the images."""

        def __init__(self, kept):
            super().__init__()
            torch.manual_seed(2)
            self.conv, self.mlp, self.head, self.kept = nn.Conv2d(3, 4, 3), nn.Linear(2, 4), nn.Linear(4, 5), kept
            table = torch.rand(1, 2)
            if kept == "buffer":
                self.register_buffer("table", table)
            self.table, self.cache = table, {}

        def forward(self, x):
            table = self.table * 1.0 if self.kept == "computed" else self.table
            if self.kept == "cached":
                table = self.cache.setdefault("table", torch.log1p(self.table))
            return self.head((self.conv(x).relu() + self.mlp(table)[..., None, None]).mean((2, 3)))

    @pytest.mark.parametrize("ran", [False, True])
    @pytest.mark.parametrize("kept", ["buffer", "attribute", "computed", "cached"])
    def test_a_layer_on_a_table_is_no_bias_of_the_images(kept, ran):
        x = torch.as_tensor(RNG.normal(size=(2, 3, 12, 12)).astype("float32"))
        net = Table(kept).eval()
        if ran:
            net(x)
        found = ke.full_gradient_decomposition(net, x, UNITS)
        assert [path for path, _ in found.bias_gradients] == ["conv", "add", "head"]
        assert found.completeness.relative_gap.max() < 1e-5  # what the table adds to each channel is a bias, too
        for implicit in (False, True):
            ke.full_gradient_decomposition(net, x, UNITS, implicit=implicit)

    class Cached(nn.Module):
        """Attention's table of a module that keeps it once it was made, as LeViT does."""

        def __init__(self):
            super().__init__()
            torch.manual_seed(2)
            self.conv, self.head, self.cache = nn.Conv2d(3, 4, 3), nn.Linear(4, 5), None
            self.table = nn.Parameter(torch.rand(4, 3))
            self.register_buffer("rows", torch.tensor([0, 2, 1, 0]), persistent=False)

        def forward(self, x):
            if self.cache is None:
                self.cache = self.table[:, self.rows]
            z = self.conv(x).flatten(2).transpose(1, 2)[:, :4]
            z = torch.softmax(z @ z.transpose(1, 2) + self.cache, dim=-1) @ z
            return self.head(z.mean(1))

    @pytest.mark.parametrize("method", ["attnlrp", "full_gradients", "guided_backprop"])
    def test_what_a_module_keeps_of_its_weights_changes_nothing(method):
        x = torch.as_tensor(RNG.normal(size=(2, 3, 12, 12)).astype("float32"))
        nets = [Cached().eval() for _ in range(3)]
        nets[1](x)
        raw("gradients", nets[2], x, UNITS)
        nets[2].cache = None  # as `train()` does, after the first trace
        if method == "guided_backprop":
            for net in nets:
                with pytest.raises(ke.errors.LayerError, match="no ReLU"):
                    raw(method, net, x, UNITS)
            return
        one, *others = (raw(method, net, x, UNITS) for net in nets)
        for other in others:
            close(other, one, 1e-6)

    class Unseen(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 5)

        def forward(self, x):
            z = self.conv(x)
            z = torch.from_numpy(np.maximum(z.detach().numpy(), 0.1))
            return self.head(z.mean((2, 3)))

    def test_what_cannot_be_seen_on_the_way_stays_refused():
        x = torch.as_tensor(RNG.normal(size=(1, 3, 12, 12)).astype("float32"))
        net = Unseen().eval()
        for _ in range(2):
            for method in ("lrp_epsilon", "deeplift", "attnlrp"):
                with pytest.raises(ke.errors.LayerError, match="that is not a layer|gradient ends"):
                    raw(method, net, x, 0)
