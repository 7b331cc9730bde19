"""Gates, attention and normalisations in LRP and DeepLIFT: equal to what they weigh by as a constant, complete, and
by closed forms."""

import keras
import numpy as np
import pytest
from keras import layers as L
from keras import ops

from keras_explainable.errors import LayerError
from support import keras_models
from support.calls import raw
from support.compare import close
from support.selection import BACKEND, crossed, slow

pytestmark = slow

RNG = np.random.default_rng(11)
X = RNG.normal(size=(2, 8, 9, 3)).astype("float32")


class Attended(L.Layer):
    """softmax(Q K^T) V of all pixels, by operations."""

    def build(self, shape):
        self.parts = [L.Dense(shape[-1], use_bias=False, name=name) for name in "qkv"]
        for part in self.parts:
            part.build(shape)

    def call(self, x):
        b, h, w, c = x.shape
        flat = ops.reshape(x, (-1, h * w, c))
        q, k, v = (part(flat) for part in self.parts)
        mixed = ops.matmul(ops.softmax(ops.matmul(q, ops.transpose(k, (0, 2, 1))), axis=-1), v)
        return ops.reshape(mixed, (-1, h, w, c))


def squeezed(x):
    """A block that weighs each channel by what all pixels have."""
    gate = L.Dense(4, activation="sigmoid")(L.Dense(3, activation="relu")(L.GlobalAveragePooling2D(keepdims=True)(x)))
    return L.Multiply()([x, gate])


THINGS = {
    "squeezed": squeezed,
    "gate of its own": lambda x: L.Multiply()([L.Dense(4)(x), L.Dense(4, activation="sigmoid")(x)]),
    "two signals": lambda x: L.Multiply()([L.Dense(4)(x), L.Dense(4)(x)]),
    "layer norm": lambda x: L.LayerNormalization()(x),
    "rms norm": lambda x: L.RMSNormalization()(x),
    "group norm": lambda x: L.GroupNormalization(2)(x),
    "instance norm": lambda x: L.GroupNormalization(-1)(x),
    "attention": lambda x: Attended()(x),
}


def net(thing, biases=True):
    """Conv, ReLU, one thing beside a shortcut, ReLU, pooling, scores."""
    x = inputs = keras.Input((8, 9, 3))
    x = L.Conv2D(4, 3, use_bias=biases)(x)
    x = L.ReLU()(L.Add()([x, THINGS[thing](x)]))
    model = keras_models.randomize(keras.Model(inputs, L.Dense(3, use_bias=biases)(L.GlobalAveragePooling2D()(x))))
    for weight in model.weights:
        if not biases and weight.name in ("bias", "beta"):
            weight.assign(np.zeros(weight.shape))
    return model


@pytest.mark.parametrize("thing", THINGS)
def test_without_biases_all_of_the_score_is_given_back(thing):
    scores, maps = raw("lrp_epsilon", net(thing, biases=False), X, None)
    assert abs(scores).max() > 1e-2
    close(maps.sum((1, 2)), scores, atol=2e-3 * abs(scores).max())


@pytest.mark.parametrize(("thing", "baseline"), crossed(THINGS, [0.0, "each"], torch=slow))
def test_differences_add_up_to_that_of_the_scores(thing, baseline):
    model = net(thing)
    behind = RNG.normal(size=X.shape).astype("float32") if baseline == "each" else np.zeros_like(X)
    scores, maps = raw("deeplift", model, X, None, baseline=behind if baseline == "each" else baseline)
    change = scores - raw("gradients", model, behind, None).scores
    assert abs(change).max() > 1e-2
    close(maps.sum((1, 2)), change, atol=1e-4 * abs(change).max())


@pytest.mark.parametrize("method", ["lrp_epsilon", "lrp_epsilon_plus"])
def test_a_gate_counts_as_the_number_that_it_is(method):
    """One image: its gate is the same as constants in its place."""
    model = net("squeezed")
    gate = keras.Model(model.input, _layer(model, L.Multiply).input[1])
    numbers = ops.convert_to_numpy(gate(X[:1]))
    x = inputs = keras.Input((8, 9, 3))
    x = _layer(model, L.Conv2D)(x)
    x = L.ReLU()(L.Add()([x, L.Rescaling(numbers.ravel().tolist())(x)]))
    frozen = keras.Model(inputs, model.layers[-1](L.GlobalAveragePooling2D()(x)))
    close(raw(method, model, X[:1], None), raw(method, frozen, X[:1], None), 1e-4)


def _layer(model, kind):
    return next(layer for layer in model.layers if isinstance(layer, kind))


def test_the_difference_of_a_product_is_shared_at_the_means():
    """Of x y, (y + y0) / 2 times the difference of x, and the same of y."""
    inputs = keras.Input((2, 3))
    left, right = L.Dense(4, name="left")(inputs), L.Dense(4, name="right")(inputs)
    model = keras.Model(inputs, L.Dense(2)(L.Flatten()(L.Multiply()([left, right]))))
    keras_models.randomize(model)
    x, x0 = RNG.normal(size=(2, 3, 2, 3)).astype("float32")
    (a, p), (b, q), (w, _) = (model.get_layer(n).get_weights() for n in ("left", "right", model.layers[-1].name))
    half = [((x + x0) / 2 @ m + n) for m, n in ((a, p), (b, q))]
    g = w.T.reshape(2, 2, 4)  # units, places, channels
    slopes = np.einsum("utc,btc,ic->buti", g, half[1], a) + np.einsum("utc,btc,ic->buti", g, half[0], b)
    expected = slopes * (x - x0)[:, None]
    close([raw("deeplift", model, x, None, baseline=x0, reduce=None).maps], [expected], 1e-4)


def test_the_difference_of_a_softmax_is_shared_by_logarithmic_means():
    inputs = keras.Input((5, 1))
    kernel = RNG.normal(size=(5, 2)).astype("float32")
    head = L.Dense(2, use_bias=False)
    model = keras.Model(inputs, head(L.Softmax(name="softmax")(L.Flatten()(inputs))))
    head.set_weights([kernel])
    # The last of these differ by little: there is no chord to tell.
    x, x0 = RNG.normal(size=(2, 3, 5)).astype("float32")
    x[1], x[2] = x0[1] + 1e-4 * x[1], x0[2]
    x[0, :2], x0[0, :2] = (200, -50), (-30, 150)  # all of it elsewhere
    s, s0 = (np.exp(v.astype("float64")) / np.exp(v.astype("float64")).sum(1, keepdims=True) for v in (x, x0))
    with np.errstate(invalid="ignore"):
        means = np.where(s == s0, s, (s - s0) / (np.log(s) - np.log(s0)))[:, None]  # float64 has these numbers
    g = kernel.T[None]
    slopes = means * (g - (g * means).sum(-1, keepdims=True) / means.sum(-1, keepdims=True))
    parts = raw("deeplift", model, x[..., None], None, baseline=x0[..., None], reduce=None)
    close([parts.maps[..., 0]], [slopes * (x - x0)[:, None]], 1e-4)
    close(parts.maps.sum((2, 3)), (s - s0) @ kernel, atol=1e-6)


def test_a_softmax_on_the_way_of_relevance_is_refused_by_lrp():
    x = inputs = keras.Input((8, 8, 3))
    x = L.Softmax(name="bad")(L.Conv2D(4, 3)(x))
    model = keras.Model(inputs, L.Dense(5)(L.Flatten()(x)))
    with pytest.raises(LayerError, match=r"covers bad \(Softmax\)"):
        raw("lrp_epsilon_plus", model, np.ones((1, 8, 8, 3)), 0)


@pytest.mark.parametrize("method", ["lrp_epsilon", "deeplift"])
def test_products_of_three_stay_refused(method):
    inputs = keras.Input((8, 8, 3))
    parts = [L.Conv2D(4, 3)(inputs) for _ in range(3)]
    model = keras.Model(inputs, L.Dense(5)(L.Flatten()(L.Multiply(name="bad")(parts))))
    with pytest.raises(LayerError, match=r"covers bad"):
        raw(method, model, np.ones((1, 8, 8, 3)), 0)


@pytest.mark.parametrize("queries", [0.0, 1.0])
def test_of_attention_the_values_have_all(queries):
    """All of the score where there are no biases; and without queries every token is the mean of all, which is linear."""
    x = inputs = keras.Input((8, 9, 3))
    x = L.Reshape((-1, 4))(L.Conv2D(4, 3, use_bias=False)(x))
    attention = L.MultiHeadAttention(2, 3, use_bias=False)
    x = attention(x, x)
    model = keras.Model(inputs, L.Dense(3, use_bias=False)(L.GlobalAveragePooling1D()(x)))
    weights = keras_models.randomize(model).get_weights()
    model.set_weights([weights[0], weights[1] * queries, *weights[2:]])
    scores, maps = raw("lrp_epsilon", model, X, None)
    close(maps.sum((1, 2)), scores, atol=2e-3 * abs(scores).max())
    plain = raw("input_x_gradient", model, X, None, reduce="sum").maps
    assert (abs(maps - plain).max() < 1e-3 * abs(plain).max()) == (not queries)
    if queries:  # without, it is seen to be linear
        with pytest.raises(LayerError, match="No rule covers multi_head_attention"):
            raw("deeplift", model, X, 0)


if BACKEND == "torch":
    import torch
    from torch import nn
    from torch.nn import functional as F

    class Module(nn.Module):
        """Images as tokens (B, T, C) through one thing, beside a shortcut."""

        def __init__(self, thing):
            super().__init__()
            torch.manual_seed(0)
            self.thing, self.first, self.head = thing, nn.Conv2d(3, 8, 3), nn.Linear(8, 3)
            self.q, self.k, self.v = (nn.Linear(8, 8) for _ in range(3))
            self.layer, self.group, self.rms = nn.LayerNorm(8), nn.GroupNorm(2, 8), nn.RMSNorm(8, eps=1e-3)
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
            self.fixed, self.queries = nn.Parameter(torch.ones(1)), nn.Parameter(torch.randn(1, 5, 8))
            for norm in (self.layer, self.group, self.rms):
                nn.init.normal_(norm.weight)

        def forward(self, x):
            x = self.first(x).flatten(2).transpose(1, 2)
            return self.head((F.relu(x) + F.pad(self.thing(self, x), (0, 0, 0, 0))).mean(1))

    def heads(x):
        return x.unflatten(-1, (2, 4)).transpose(1, 2)

    def joined(x):
        return x.transpose(1, 2).flatten(2)

    def fused(net, x):
        return joined(F.scaled_dot_product_attention(heads(net.q(x)), heads(net.k(x)), heads(net.v(x)), scale=0.7))

    def by_hand(net, x):
        a = (0.7 * heads(net.q(x)) @ heads(net.k(x)).transpose(-1, -2)).softmax(-1)
        return joined(a @ heads(net.v(x)))

    def biased(net, x):
        """By a mask that depends on the image."""
        mask = x.mean(-1)[:, None, :, None] * torch.arange(x.shape[1])
        return joined(F.scaled_dot_product_attention(heads(net.q(x)), heads(net.k(x)), heads(net.v(x)), mask))

    def biased_by_hand(net, x):
        mask = x.mean(-1)[:, None, :, None] * torch.arange(x.shape[1])
        a = (heads(net.q(x)) @ heads(net.k(x)).transpose(-1, -2) / 2 + mask).softmax(-1)
        return joined(a @ heads(net.v(x)))

    def learned(net, x):
        queries = heads(net.queries.expand(len(x), -1, -1))
        return joined(F.scaled_dot_product_attention(queries, heads(net.k(x)), heads(net.v(x)))).mean(1, keepdim=True)

    def learned_by_hand(net, x):
        a = (heads(net.queries.expand(len(x), -1, -1)) @ heads(net.k(x)).transpose(-1, -2) / 2).softmax(-1)
        return joined(a @ heads(net.v(x))).mean(1, keepdim=True)

    def multi_head(net, x):
        return net.attention(x, x, x, need_weights=False)[0]

    def multi_head_with_weights(net, x):
        y, a = net.attention(x, x, x)
        return y + 0 * a.sum()

    def multi_head_by_hand(net, x):
        own = net.attention
        y = F.linear(x, own.in_proj_weight, own.in_proj_bias).unflatten(-1, (3, 2, 4)).permute(2, 0, 3, 1, 4)
        a = (y[0] @ y[1].transpose(-1, -2) / 2).softmax(-1)
        return own.out_proj(joined(a @ y[2]))

    def grouped(net, x):
        return net.group(x.transpose(1, 2)).transpose(1, 2)

    def grouped_function(net, x):
        own = net.group
        return F.group_norm(x.transpose(1, 2), 2, own.weight, own.bias, own.eps).transpose(1, 2)

    def root(net, x):
        return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + 1e-3) * net.rms.weight

    SAME = {
        "attention": (fused, by_hand),
        "biased attention": (biased, biased_by_hand),
        "learned queries": (learned, learned_by_hand),
        "multi-head": (multi_head, multi_head_by_hand),
        "multi-head with weights": (multi_head_with_weights, multi_head_by_hand),
        "group norm": (grouped, grouped_function),
        "layer norm": (lambda net, x: net.layer(x), lambda net, x: F.layer_norm(x, (8,), net.layer.weight)),
        "windows": (
            lambda net, x: fused(net, x.unflatten(1, (6, 7)).flatten(0, 1)).unflatten(0, (-1, 6)).flatten(1, 2),
            lambda net, x: by_hand(net, x.unflatten(1, (6, 7)).flatten(0, 1)).unflatten(0, (-1, 6)).flatten(1, 2),
        ),
    }
    METHODS = ["lrp_epsilon", "lrp_epsilon_plus", "deeplift", "attnlrp"]

    def images():
        return np.ascontiguousarray(np.moveaxis(X, -1, 1))

    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize("name", SAME)
    def test_what_is_one_call_is_that_written_out(name, method):
        ours, theirs = (Module(thing).eval() for thing in SAME[name])
        found = raw(method, ours, images(), None)
        assert abs(found.maps).max() > 1e-3
        close(found, raw(method, theirs, images(), None), 2e-4)

    @pytest.mark.parametrize("method", ["lrp_epsilon", "attnlrp"])
    def test_a_norm_by_hand_is_that_of_the_library(method):
        ours, theirs = Module(root).eval(), Module(lambda net, x: net.rms(x)).eval()
        close(raw(method, ours, images(), None), raw(method, theirs, images(), None), 2e-4)
        expected = raw(method, Module(lambda net, x: F.normalize(x, dim=-1)).eval(), images(), None)
        for by in (
            lambda net, x: x / x.norm(dim=-1, keepdim=True),
            lambda net, x: x / x.square().sum(-1, keepdim=True).sqrt(),
            lambda net, x: x * torch.rsqrt((x * x).sum(-1, keepdim=True)),
        ):
            close(raw(method, Module(by).eval(), images(), None), expected, 2e-4)

    COMPLETE = {
        **{name: pair[0] for name, pair in SAME.items()},
        "group norm as a function": grouped_function,
        "rms norm": lambda net, x: F.rms_norm(x, (8,), net.rms.weight, 1e-3),
        "normalize": lambda net, x: F.normalize(x, dim=-1),
        "normalize other axis": lambda net, x: F.normalize(x, dim=1),
        "quotient": lambda net, x: x / (2 + x.sigmoid().sum(-1, keepdim=True)),
        "gated in place": lambda net, x: net.q(x).mul_(net.k(x).sigmoid()),
        "outer": lambda net, x: torch.einsum("btc,bsc->bts", x, net.q(x)) @ net.v(x),
        "largest": lambda net, x: x * x.amax(1, keepdim=True) + x.max(-1, keepdim=True)[0],
    }

    @pytest.mark.parametrize("name", COMPLETE)
    def test_differences_of_a_module_add_up(name):
        model, x = Module(COMPLETE[name]).eval(), images()
        scores, maps = raw("deeplift", model, x, None, baseline=0.2)
        change = scores - raw("gradients", model, np.full_like(x, 0.2), None).scores
        close(maps.sum((1, 2)), change, atol=1e-4 * abs(change).max())

    def test_differences_to_black_add_up_past_norms_that_have_no_deviation_there():
        blocks = [[nn.Conv2d(3 if i == 0 else 8, 8, 3, bias=False), nn.GroupNorm(2, 8), nn.ReLU()] for i in range(3)]
        torch.manual_seed(0)
        model = nn.Sequential(*sum(blocks, []), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)).eval()
        scores, maps = raw("deeplift", model, images(), None)
        change = scores - raw("gradients", model, 0 * images(), None).scores
        close(maps.sum((1, 2)), change, atol=1e-4 * abs(change).max())

    def test_a_norm_of_another_power_is_refused_by_deeplift():
        with pytest.raises(LayerError, match="deviation of"):
            raw("deeplift", Module(lambda net, x: F.normalize(x, p=1.0, dim=-1)).eval(), images(), None)

    def test_what_only_gates_are_made_of_needs_no_rule():
        def gated(net, x):
            return x * torch.sin(net.k(x).exp()).mean(1, keepdim=True).sigmoid()

        found = raw("lrp_epsilon", Module(gated).eval(), images()[:1], None)
        net = Module(None).eval()
        with torch.no_grad():
            x = net.first(torch.tensor(images()[:1])).flatten(2).transpose(1, 2)
            net.fixed = nn.Parameter(torch.sin(net.k(x).exp()).mean(1, keepdim=True).sigmoid())
        net.thing = lambda net, x: x * net.fixed
        close(found, raw("lrp_epsilon", net, images()[:1], None), 1e-4)

    @pytest.mark.parametrize("method", [*METHODS, "guided_backprop"])
    def test_a_bias_that_was_written_into_is_a_constant(method):
        class Written(nn.Module):
            def __init__(self, writes):
                super().__init__()
                torch.manual_seed(0)
                self.writes, self.first, self.head = writes, nn.Conv2d(3, 8, 3), nn.Linear(8, 3)
                self.weight, self.bias = nn.Parameter(torch.randn(8, 8)), nn.Parameter(torch.randn(8))
                with torch.no_grad():
                    self.bias[2:4] = 0

            def forward(self, x):
                bias = self.bias
                if self.writes:
                    bias = bias.clone()
                    bias[2:4].zero_()
                x = F.relu(F.linear(self.first(x).flatten(2).transpose(1, 2), self.weight, bias))
                return self.head(x.mean(1))

        ours, theirs = Written(True).eval(), Written(False).eval()
        close(raw(method, ours, images(), None), raw(method, theirs, images(), None))

    def test_past_a_layer_norm_nothing_is_a_probability():
        with pytest.raises(LayerError, match="No rule covers layer"):
            raw("excitation_backprop", Module(lambda net, x: net.layer(x)).eval(), images(), 0, layer="first")
