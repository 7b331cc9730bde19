"""AttnLRP: its twin on a transformer, what is conserved, every rule by a closed form, and what is refused."""

import keras
import numpy as np
import pytest
from keras import layers as L
from keras import ops

from keras_explainable.errors import LayerError
from reference.propagation import attnlrp
from support import keras_models
from support.calls import raw
from support.compare import close
from support.left_as_found import same, state
from support.selection import BACKEND, slow_compiled, very_slow_compiled
from support.to_reference import as_reference

pytestmark = slow_compiled

UNITS = np.array([[1, 4], [0, 2]])


@pytest.mark.parametrize(
    "gamma", [0.25, pytest.param(0.0, marks=very_slow_compiled), pytest.param(3.0, marks=very_slow_compiled)]
)
def test_a_transformer_has_the_maps_of_its_twin(gamma):
    x = keras_models.images("transformer", 2)
    theirs = attnlrp(as_reference(keras_models.build("transformer")), x.astype("float64"), UNITS, gamma)
    close(raw("attnlrp", keras_models.build("transformer"), x, UNITS, gamma=gamma), theirs, 1e-4)


def tokens(n=2, count=5, size=4, seed=0):
    """Images of one row: as many tokens as pixels."""
    return np.random.default_rng(seed).normal(size=(n, count, size)).astype("float32")


def network(*stack, units=3):
    """Layers between tokens and scores: the mean of all tokens, times weights without a bias."""
    inputs = keras.Input((5, 4), name="tokens")
    x = inputs
    for layer in stack:
        x = layer(x)
    x = L.Dense(units, use_bias=False, name="logits")(L.GlobalAveragePooling1D()(x))
    return keras_models.randomize(keras.Model(inputs, x))


def bare(layer):
    """The layer with all its biases 0."""
    for weight in layer.weights:
        if weight.name in ("bias", "beta"):
            weight.assign(np.zeros(weight.shape))
    return layer


@pytest.mark.skipif(BACKEND != "torch", reason="the same on every backend")
@pytest.mark.parametrize("over", [True, False])
def test_a_quotient_of_a_number_is_a_function_of_numbers(over):
    class Quotient(L.Layer):
        def call(self, x):
            return 3.0 / x if over else x / 3.0

    model, x = network(Quotient(name="quotient")), tokens()
    y = 3.0 / x if over else x / 3.0
    kernel = keras.ops.convert_to_numpy(model.get_layer("logits").kernel)
    scores, maps = raw("attnlrp", model, x)
    close([maps], [y @ kernel / 5])  # all that y has goes to x


NORMS = [L.LayerNormalization, L.RMSNormalization]


@pytest.mark.parametrize("norm", [NORMS[0], pytest.param(NORMS[1], marks=very_slow_compiled)])
def test_without_biases_relevance_is_conserved(norm):
    gate = L.Dense(6, activation="silu", use_bias=False)
    expand, contract = L.Dense(6, use_bias=False), L.Dense(4, use_bias=False)

    def gated(x):
        y = norm(name="norm")(x)
        return L.Add()([x, contract(L.Multiply()([gate(y), expand(y)]))])

    model = network(L.Conv1D(4, 1, use_bias=False), gated)
    bare(model.get_layer("norm"))
    for gamma in (0.0, 0.25):
        scores, maps = raw("attnlrp", model, tokens(), None, gamma=gamma)
        close(maps.sum(1), scores, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("layers", [1, pytest.param(2, marks=very_slow_compiled)])
def test_constant_probabilities_keep_their_half(layers):
    stack = [L.MultiHeadAttention(2, 3, use_bias=False, name=f"attention{i}") for i in range(layers)]
    model = network(*(lambda x, layer=layer: layer(x, x) for layer in stack))
    for layer in stack:
        weights = layer.get_weights()
        layer.set_weights([weights[0] * 0, *weights[1:]])  # no queries: every token is the mean of all
    x = tokens()
    scores, maps = raw("attnlrp", model, x, None)
    close(maps.sum(1), scores / 2**layers, rtol=1e-4, atol=1e-6)
    plain = raw("input_x_gradient", model, x, None, reduce="sum").maps  # here the gradient is right, but for the halves
    close(maps, plain / 2**layers, rtol=1e-3, atol=1e-6)


@pytest.mark.skipif(BACKEND != "torch", reason="the rules are those of every backend")
def test_a_softmax_gives_what_its_gradient_says():
    # Of R_i = s_i g_i / 2 for each token's own softmax over channels: x_i (R_i - s_i sum R).
    model = network(lambda x: L.Multiply()([L.Softmax()(x), x]), units=1)
    x, w = tokens().astype("float64"), model.layers[-1].get_weights()[0][:, 0] / 5
    s = np.exp(x) / np.exp(x).sum(-1, keepdims=True)
    r = s * x * w / 2
    expected = r + x * (r - s * r.sum(-1, keepdims=True))
    close([raw("attnlrp", model, tokens(), None).maps[..., 0]], [expected.sum(-1)], 1e-5)


class Placed(L.Layer):
    """A layer of a user's own that is affine, and that runs on numbers only: a projection with a position added."""

    def build(self, shape):
        self.project = L.Dense(shape[-1], name="project")
        self.project.build(shape)
        self.position = self.add_weight(shape=shape[1:], name="position")

    def call(self, x):
        if isinstance(x, keras.KerasTensor):
            raise TypeError("numbers, please")
        return ops.flip(self.project(x), axis=1) / 2 + self.position


class Hidden(L.Layer):
    """One that looks like it, and is linear for large numbers only."""

    def call(self, x):
        if isinstance(x, keras.KerasTensor):
            raise TypeError("numbers, please")
        return ops.softplus(x)


def test_an_affine_layer_of_ones_own_is_seen_to_be_so():
    model = network(Placed(name="placed"))
    plain = raw("input_x_gradient", model, tokens(), None, reduce="sum")
    before = state(model)
    close(raw("attnlrp", model, tokens(), None), plain, 1e-5)
    same(before, state(model))


@pytest.mark.skipif(BACKEND != "torch", reason="a law that is tried on every backend elsewhere")
def test_a_transformer_is_left_as_it_was():
    model, x = keras_models.build("transformer"), keras_models.images("transformer", 1)
    before = state(model)
    raw("attnlrp", model, x, 0)
    same(before, state(model))


class Biased(L.MultiHeadAttention):
    """Attention that is not softmax(Q K^T) V."""

    def _compute_attention(self, query, key, value, *args, **kwargs):
        return super()._compute_attention(query, ops.relu(key), value, *args, **kwargs)


REFUSED = {
    "hidden": lambda x: Hidden(name="bad")(x),
    "gated": lambda x: L.MultiHeadAttention(2, 3, use_gate=True, name="bad")(x, x),
    "own attention": lambda x: Biased(2, 3, name="bad")(x, x),
    "groups": lambda x: L.GroupQueryAttention(3, 4, 2, name="bad")(x, x),
    "products of three": lambda x: L.Multiply(name="bad")([x, x, x]),
    "exponential": lambda x: L.Activation("exponential", name="bad")(x),
    "fused exponential": lambda x: L.Dense(4, activation="exponential", name="bad")(x),
    "quotient": lambda x: ops.divide(x, x),
}


@pytest.mark.skipif(BACKEND != "torch", reason="refused before anything is computed")
@pytest.mark.parametrize("name", REFUSED)
def test_what_no_rule_covers_is_named(name):
    model = network(REFUSED[name])
    with pytest.raises(LayerError, match="(No rule covers|Before) (bad|divide|exponential)"):
        raw("attnlrp", model, tokens(), 0)


if BACKEND == "torch":
    import torch
    from torch import nn
    from torch.nn import functional as F

    class Written(nn.Module):
        """Tokens through one thing, with operations and constants around it."""

        def __init__(self, thing, keep=True):
            super().__init__()
            torch.manual_seed(0)
            self.thing, self.first, self.head = thing, nn.Conv1d(4, 6, 1), nn.Linear(6, 3)
            self.scale, self.position = nn.Parameter(torch.randn(6)), nn.Parameter(torch.randn(1, 5, 6))
            self.norm, self.rms = nn.LayerNorm(6, eps=1e-2), nn.RMSNorm(6)
            self.deviation = nn.Parameter(torch.ones(5, 1))
            nn.init.normal_(self.norm.weight)
            nn.init.normal_(self.norm.bias)

        def forward(self, x):
            x = self.first(x).transpose(1, 2) + self.position
            return self.head((x + self.scale * self.thing(self, x)).mean(1))

    def written(thing, x=None, **params):
        x = np.ascontiguousarray(tokens().swapaxes(1, 2)) if x is None else x
        return raw("attnlrp", Written(thing).eval(), x, None, **params)

    def functional_norm(net, x):
        return F.layer_norm(x, (6,), net.norm.weight, net.norm.bias, 1e-2)

    def test_a_norm_as_a_function_is_that_of_a_module():
        close(written(functional_norm), written(lambda net, x: net.norm(x)))
        close(written(lambda net, x: F.rms_norm(x, (6,), net.rms.weight)), written(lambda net, x: net.rms(x)))

    def test_a_norm_counts_its_deviation_as_a_constant():
        def frozen(net, x):
            centred = x - x.mean(-1, keepdim=True)
            return centred / net.deviation * net.norm.weight + net.norm.bias

        x = np.ascontiguousarray(tokens(1).swapaxes(1, 2))
        net = Written(frozen).eval()
        with torch.no_grad():
            z = net.first(torch.tensor(x)).transpose(1, 2) + net.position
            net.deviation.copy_(torch.sqrt(z.var(-1, unbiased=False, keepdim=True) + 1e-2)[0])
        close(written(lambda net, x: net.norm(x), x), raw("attnlrp", net, x, None))

    def test_a_gate_passes_on_all_that_it_has():
        class Gate(nn.Module):
            def forward(self, x):
                return (x * torch.sigmoid(x)).sum((2,))[:, :3]

        x = np.random.default_rng(0).normal(size=(2, 3, 5)).astype("float32")
        _, maps = raw("attnlrp", Gate(), x, None)
        expected = x * (1 / (1 + np.exp(-x)))
        close([maps], [np.swapaxes(expected, 1, 2)], 1e-4)

    def test_what_has_only_the_shape_of_a_signal_is_a_constant():
        def masked(net, x):
            mask = x.new_zeros(5, 5)
            mask[:, :2] = -100.0
            return (x @ x.transpose(1, 2) + mask).softmax(-1) @ x

        close(written(masked), written(lambda _, x: (x @ x.transpose(1, 2)[..., 2:]).softmax(-1) @ x[:, 2:]), 1e-5)

    def test_an_encoder_of_pytorch_is_that_written_out():
        encoder = nn.TransformerEncoderLayer(6, 2, 8, activation="gelu", batch_first=True, norm_first=True)

        class Encoder(Written):
            def __init__(self, thing):
                super().__init__(thing)
                self.layer = encoder

        def by_hand(net, x):
            layer, attention = net.layer, net.layer.self_attn
            y = F.linear(layer.norm1(x), attention.in_proj_weight, attention.in_proj_bias)
            q, k, v = y.unflatten(-1, (3, 2, 3)).permute(2, 0, 3, 1, 4)
            mixed = (q @ k.transpose(-1, -2) / 3**0.5).softmax(-1) @ v
            x = x + attention.out_proj(mixed.transpose(1, 2).flatten(2))
            return x + layer.linear2(F.gelu(layer.linear1(layer.norm2(x))))

        x = np.ascontiguousarray(tokens().swapaxes(1, 2))
        ours, theirs = (Encoder(f).eval() for f in (lambda net, x: net.layer(x), by_hand))
        close(raw("attnlrp", ours, x, None), raw("attnlrp", theirs, x, None))

    def test_masks_and_groups_are_those_of_attention_written_out():
        def split(x, heads):
            return x.unflatten(-1, (-1, 2))[:, :, :heads].transpose(1, 2)

        def joined(x):
            return x.transpose(1, 2).flatten(2)

        def fused(net, x):
            q, k, v = split(x, 3), split(x, 1), split(x.flip(-1), 1)
            return joined(F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=0.7, enable_gqa=True))

        def explicit(net, x):
            q, k, v = split(x, 3), split(x, 1).expand(-1, 3, -1, -1), split(x.flip(-1), 1).expand(-1, 3, -1, -1)
            scores = 0.7 * q @ k.transpose(-1, -2) + torch.full((5, 5), -torch.inf).triu(1)
            return joined(scores.softmax(-1) @ v)

        close(written(fused), written(explicit), 1e-4)

    def test_what_learned_queries_attend_to_has_a_half_as_values_and_a_half_as_keys():
        def attend(net, x):
            queries = net.position.expand(len(x), -1, -1)[:, None]
            return F.scaled_dot_product_attention(queries, x[:, None], x[:, None], scale=1.0)[:, 0]

        def halves(net, x):
            """The same value, whose gradient is that of the rule."""
            a = net.position.expand(len(x), -1, -1) @ x.transpose(1, 2)
            y = a.softmax(-1) @ x
            half = (a.softmax(-1) @ x.detach() + a.softmax(-1).detach() @ x) / 2
            return half + (y - half).detach()

        x = torch.tensor(np.ascontiguousarray(tokens().swapaxes(1, 2)), requires_grad=True)
        (gradient,) = torch.autograd.grad(Written(halves).eval()(x)[:, 1].sum(), x)
        expected = (x * gradient).sum(1).detach().numpy()
        close([written(attend, x.detach(), gamma=0.0).maps[..., 1]], [expected], 1e-4)

    def test_what_is_written_into_a_signal_is_a_sum():
        def into(net, x):
            y = x.clone()
            y[:, 1:3] = x[:, 1:3] + x[:, 2:4] @ net.head.weight.T @ net.head.weight
            return y

        def added(net, x):
            more = x[:, 2:4] @ net.head.weight.T @ net.head.weight
            return x + F.pad(more, (0, 0, 1, 2))

        close(written(into), written(added), 1e-4)

    @pytest.mark.parametrize(
        "thing",
        [
            lambda _, x: torch.where(x > 0, x, -x),
            lambda _, x: torch.exp(x),
            lambda _, x: x / x.flip(1),
            lambda _, x: 1 / x,
            lambda _, x: torch.einsum("btc,btc,btc->btc", x, x, x),
            lambda net, x: F.linear(x, net.position[0, 0].diag(), x[0, 0]),
        ],
    )
    def test_operations_that_no_rule_covers_are_named(thing):
        with pytest.raises(LayerError, match="No rule covers"):
            written(thing)
