"""Attention methods and token grids: parameters, closed forms, every way in which models write attention, refusals."""

import keras
import numpy as np
import pytest
from keras import layers as L
from keras import ops

import keras_explainable as ke
from reference import attention as twins
from reference import net as n
from reference.fullgrad import psi_sum
from reference.resize import bilinear
from support import keras_models
from support.calls import raw
from support.compare import close
from support.keras_models import on
from support.selection import BACKEND, very_slow_compiled
from support.to_reference import as_reference

pytestmark = very_slow_compiled

UNITS = np.array([[1, 4], [0, 2]])
METHODS = ["attention_rollout", "gradient_attention_rollout", "attention_relevance"]
MIRRORED = ke.methods.meta.tta(ke.get("gradcam"), scales=())


model, x = on("transformer", 2)


@pytest.fixture(scope="module")
def twin():
    return as_reference(keras_models.build("transformer"))


@pytest.mark.parametrize(("fusion", "discard"), [("max", 0.0), ("min", 0.3), ("mean", 0.9)])
def test_rollout_fuses_and_discards_as_its_twin(model, x, twin, fusion, discard):
    params = {"fusion": fusion, "discard": discard}
    close(raw("attention_rollout", model, x, UNITS, **params), twins.attention_rollout(twin, x, UNITS, **params), 1e-4)


def test_gradient_rollout_discards_as_its_twin(model, x, twin):
    ours = raw("gradient_attention_rollout", model, x, UNITS, discard=0.5)
    close(ours, twins.gradient_attention_rollout(twin, x, UNITS, discard=0.5), 1e-4)


def test_uniform_attention_rolls_out_to_a_constant(x):
    model = keras_models.build("transformer")
    for block in ("block1", "block2"):
        layer = model.get_layer(f"{block}_attention")
        layer.set_weights([w * (i not in (0, 1)) for i, w in enumerate(layer.get_weights())])
    _, maps = raw("attention_rollout", model, x, 1)
    # A = 1/T twice: the class token's row of (A + I)/2 (A + I)/2 is 3/4 of A's, and 1/4 of itself.
    close(maps, 0.75 / 31, rtol=1e-5)


def test_attention_probabilities_are_signals(model, x, twin):
    view = ke.models.view(model, x, UNITS)
    points = view.attentions()
    assert [p.path for p in points] == ["block1_attention", "block2_attention"]
    scores, values, gradients = view.jacobian(points)
    expected = n.jacobian(twin, x, UNITS, [f"{p.path}@attention" for p in points])
    for point, name in zip(points, expected[2], strict=True):
        ours = (scores, values[point], gradients[point])
        close([ops.convert_to_numpy(v) for v in ours], (expected[0], expected[1][name], expected[2][name]), 1e-4)


@pytest.mark.parametrize("layer", [None, "block2_norm1", {"name": "block2_norm1", "prefix": 1, "grid": (5, 6)}])
def test_class_activation_maps_of_tokens(model, x, twin, layer):
    scores, values, g = n.jacobian(twin, x, UNITS, ["block2_norm1"])
    a, g = values["block2_norm1"][:, 1:], g["block2_norm1"][:, :, 1:]
    maps = np.einsum("btc,bkc->btk", a, g.mean(2)).reshape(2, 5, 6, 2)
    ours = ke.explain("gradcam", model, x, UNITS, layer=layer, postprocessing=None, resizing=False, verbose=0)
    close(ours, (scores, maps), 1e-4)


def pooled(attention=None):
    """Without a class token: the mean of all tokens."""
    inputs = keras.Input((16, 16, 3), name="image")
    x = L.Reshape((16, 8), name="patches")(L.Conv2D(8, 4, strides=4, name="embed")(inputs))
    y = L.LayerNormalization(name="norm1")(x)
    x = L.Add(name="add")([x, (attention or L.MultiHeadAttention(2, 4, name="attention"))(y, y)])
    x = L.GlobalAveragePooling1D(name="mean")(L.LayerNormalization(name="norm")(x))
    return keras_models.randomize(keras.Model(inputs, L.Dense(keras_models.UNITS, name="logits")(x)))


def test_tokens_without_a_class_token_are_averaged():
    model, x = pooled(), np.random.default_rng(0).normal(size=(2, 16, 16, 3)).astype("float32")
    _, maps = raw("attention_rollout", model, x, 1)
    (point,) = (view := ke.models.view(model, x)).attentions()
    a = ops.convert_to_numpy(view.evaluate([point])[1][point]).mean(1)
    expected = (a / 2 + np.eye(16) / 2).mean(1).reshape(2, 4, 4, 1)
    close(maps, expected, rtol=1e-4)
    assert raw("gradcam", model, x, 1).maps.shape == (2, 4, 4, 1)


def pooled_beside_a_class_token():
    """Whose head takes the mean of the patches, and not the class token."""
    model = pooled()
    inputs, (y,) = model.inputs, [model.get_layer("norm1").output]
    x = L.ZeroPadding1D((1, 0), name="class")(y)
    x = L.Add(name="sum")([x, L.MultiHeadAttention(2, 4, name="mixing")(x, x)])
    x = L.GlobalAveragePooling1D(name="pool")(L.Cropping1D((1, 0), name="patches_alone")(x))
    return keras_models.randomize(keras.Model(inputs, L.Dense(keras_models.UNITS, name="head")(x)))


@pytest.mark.parametrize("method", ["attention_relevance", "gradient_attention_rollout"])
def test_where_the_head_pools_patches_their_rows_are_averaged(method):
    model, x = pooled_beside_a_class_token(), np.random.default_rng(0).normal(size=(2, 16, 16, 3)).astype("float32")
    view = ke.models.view(model, x, np.array([1, 3]))
    (point,) = view.attentions()
    _, seen = view.products([point], lambda g, a: g * a)
    weighted = ops.convert_to_numpy(seen[point])[:, 0]  # (2, heads, 17, 17)
    assert abs(weighted[:, :, 0]).max() == 0 and weighted.max() > 0
    if method == "attention_relevance":
        rows = np.maximum(weighted, 0).mean(1) + np.eye(17)
    else:
        rows = np.maximum(weighted.mean(1), 0) + np.eye(17)
        rows /= rows.sum(-1, keepdims=True)
    _, maps = raw(method, model, x, [1, 3])
    assert np.ptp(maps) > 0
    close([maps], [rows[:, 1:, 1:].mean(1).reshape(2, 4, 4, 1)], 1e-4)


def test_full_gradients_take_no_heads_for_space():
    model, x = pooled(), np.random.default_rng(0).normal(size=(2, 16, 16, 3)).astype("float32")
    parts = ke.full_gradient_decomposition(model, x, [1, 3])
    terms = [(parts.input_gradient[:, 0] * x), parts.bias_gradients["embed", 0][:, 0]]
    each = (np.stack(list(map(psi_sum, term)))[..., None] for term in terms)
    expected = sum(bilinear(term, (16, 16), align_corners=True) for term in each)
    explained = raw("full_gradients", model, x, [1, 3])
    close([explained.maps], [expected], 1e-4)
    assert explained.about["biases_in_map"] == "1 of the 8 that layers add, by call"
    with pytest.raises(ke.errors.LayerError, match=r"attention/query has shape \(1, 16, 2, 4\)"):
        raw("gradcam", model, x, 1, layer="attention/query")


def test_tokens_that_are_no_grid_are_refused(model, x):
    for params in ({"grid": (4, 6), "prefix": 1}, {"grid": (8, 8)}, {"prefix": 3}):
        with pytest.raises(ke.errors.LayerError, match="31 tokens"):
            raw("attention_rollout", model, x, 1, **params)
    with pytest.raises(ke.errors.LayerError, match=r"31 tokens came, 15 \(3 x 5\) after 16 others: give prefix=16"):
        raw("attention_rollout", model, x, 1, grid=(3, 5))
    assert raw("attention_rollout", model, x, 1, grid=(3, 5), prefix=16).maps.shape == (2, 3, 5, 1)
    maps = raw("attention_rollout", model, x, 1, grid=(3, 10)).maps
    close([maps.reshape(2, 30)], [raw("attention_rollout", model, x, 1).maps.reshape(2, 30)])


@pytest.mark.parametrize("method", METHODS)
def test_models_without_attention_are_refused(method):
    with pytest.raises(ke.errors.LayerError, match="No attention"):
        raw(method, keras_models.build("fused"), keras_models.images("fused"), 1)


@pytest.mark.parametrize("params", [{"fusion": "sum"}, {"discard": 1.0}])
def test_parameters_are_checked(model, x, params):
    with pytest.raises(ke.errors.InputError, match="came"):
        raw("attention_rollout", model, x, 1, **params)


def test_attention_among_other_tokens_is_refused():
    class Few(L.Layer):
        """From four tokens to all."""

        def __init__(self):
            super().__init__(name="few")
            self.inner = L.MultiHeadAttention(2, 4, name="inner")

        def build(self, shape):
            self.inner.build((None, 4, 8), (None, 16, 8))

        def call(self, y, _):
            few = self.inner(y[:, :4], y)
            return ops.repeat(few, 4, axis=1)

    x = np.zeros((1, 16, 16, 3), "float32")
    with pytest.raises(ke.errors.LayerError, match="same tokens"):
        raw("attention_rollout", pooled(Few()), x, 1)


GRIDS = {
    (197, (224, 224)): (1, (14, 14)),
    (196, (224, 224)): (0, (14, 14)),
    (198, (224, 224)): (2, (14, 14)),
    (201, (224, 224)): (5, (14, 14)),
    (50, (230, 230)): (1, (7, 7)),
    (31, (20, 24)): (1, (5, 6)),
    (65, (16, 16, 16)): (1, (4, 4, 4)),
}


@pytest.mark.parametrize(("tokens", "image"), list(GRIDS))
def test_grids_are_found(tokens, image):
    from keras_explainable.models.tokens import grid
    from keras_explainable.models.trace import Trace

    assert grid(Trace((), (), ()), image, tokens) == GRIDS[tokens, image]


if BACKEND == "torch":
    import torch
    from torch import nn
    from torch.nn import functional as F

    class Attention(nn.Module):
        """Written in one of the ways in which modules have it."""

        def __init__(self, kind):
            super().__init__()
            self.kind, self.qkv, self.proj = kind, nn.Linear(8, 24), nn.Linear(8, 8)
            self.softmax, self.whole = nn.Softmax(dim=-1), nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, x):
            if self.kind in ("module", "module with weights"):
                return self.whole(x, x, x, need_weights=self.kind == "module with weights")[0]
            q, k, v = self.qkv(x).reshape(*x.shape[:2], 3, 2, 4).permute(2, 0, 3, 1, 4)
            if self.kind == "fused":
                x = F.scaled_dot_product_attention(q, k, v)
            else:
                a = (q / 2) @ k.transpose(-2, -1)
                softmax = {
                    "function": F.softmax,
                    "method": torch.Tensor.softmax,
                    "layer": lambda a, dim: self.softmax(a),
                }
                x = softmax[self.kind](a, dim=-1) @ v
            return self.proj(x.transpose(1, 2).flatten(2))

    class Transformer(nn.Module):
        """`models.transformer`, with its weights."""

        def __init__(self, kind, model):
            super().__init__()
            self.embed, self.kind = nn.Conv2d(3, 8, 4, 4), kind
            self.norms = nn.ModuleList(nn.LayerNorm(8, eps=e) for e in (1e-3, 1e-6, 1e-3, 1e-6, 1e-3))
            self.attentions = nn.ModuleList(Attention(kind) for _ in range(2))
            self.expand = nn.ModuleList(nn.Linear(8, 12) for _ in range(2))
            self.contract = nn.ModuleList(nn.Linear(12, 8) for _ in range(2))
            self.head = nn.Linear(8, keras_models.UNITS)
            self.load(model)

        @torch.no_grad()
        def load(self, model):
            def put(name, module):
                kernel, bias = (torch.as_tensor(w) for w in model.get_layer(name).get_weights())
                kernel = kernel.permute(*range(kernel.ndim)[::-1]) if kernel.ndim < 3 else kernel.permute(3, 2, 0, 1)
                module.weight.copy_(kernel)
                module.bias.copy_(bias)

            put("embed", self.embed)
            put("logits", self.head)
            put("norm", self.norms[4])
            for i, block in enumerate(("block1", "block2")):
                put(f"{block}_norm1", self.norms[2 * i])
                put(f"{block}_norm2", self.norms[2 * i + 1])
                put(f"{block}_expand", self.expand[i])
                put(f"{block}_contract", self.contract[i])
                w = [torch.as_tensor(v) for v in model.get_layer(f"{block}_attention").get_weights()]
                kernel, bias = (
                    torch.cat([w[j].flatten(1).T for j in (0, 2, 4)]),
                    torch.cat([w[j].flatten() for j in (1, 3, 5)]),
                )
                own = self.attentions[i]
                for weight, offset, out in (
                    (own.qkv.weight, own.qkv.bias, own.proj),
                    (own.whole.in_proj_weight, own.whole.in_proj_bias, own.whole.out_proj),
                ):
                    weight.copy_(kernel)
                    offset.copy_(bias)
                    out.weight.copy_(w[6].flatten(0, 1).T)
                    out.bias.copy_(w[7])
            self.token, self.position = (
                nn.Parameter(torch.as_tensor(v)) for v in model.get_layer("tokens").get_weights()
            )

        def forward(self, x):
            x = self.embed(x).flatten(2).transpose(1, 2)
            x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.position
            for i in range(2):
                x = x + self.attentions[i](self.norms[2 * i](x))
                x = x + self.contract[i](F.gelu(self.expand[i](self.norms[2 * i + 1](x))))
            return self.head(self.norms[4](x)[:, 0])

    KINDS = ["module", "module with weights", "fused", "function", "method", "layer"]

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("method", [*METHODS, "gradcam", "ablationcam", MIRRORED, "attnlrp"])
    def test_modules_have_the_maps_of_their_keras_twin(model, x, method, kind):
        module = Transformer(kind, model).eval()
        before = list(module.state_dict().values())
        images = np.ascontiguousarray(np.moveaxis(x, -1, 1))
        close(raw(method, module, images, UNITS), raw(method, model, x, UNITS), 1e-4)
        assert all(torch.equal(a, b) for a, b in zip(before, module.state_dict().values(), strict=True))

    def test_masked_and_grouped_attention_is_that_of_pytorch():
        from keras_explainable.models.torch.functional import attend

        q, k, v = torch.randn(2, 4, 5, 3), torch.randn(2, 2, 5, 3), torch.randn(2, 2, 5, 3)
        masks = (torch.rand(5, 5) > 0.5).logical_or(torch.eye(5, dtype=torch.bool)), torch.randn(5, 5)
        for params in ({"is_causal": True}, {"scale": 0.3}, *({"attn_mask": m} for m in masks)):
            expected = F.scaled_dot_product_attention(q, k, v, enable_gqa=True, **params)
            torch.testing.assert_close(attend(lambda a: a, q, k, v, enable_gqa=True, **params), expected)

    def test_windows_are_refused(x):
        class Windows(nn.Module):
            def __init__(self):
                super().__init__()
                self.embed, self.attention, self.head = nn.Conv2d(3, 8, 4, 4), Attention("fused"), nn.Linear(8, 3)

            def forward(self, x):
                x = self.embed(x).flatten(2).transpose(1, 2).reshape(-1, 6, 8)  # the rows of the grid by themselves
                return self.head(self.attention(x).reshape(-1, 30, 8).mean(1))

        with pytest.raises(ke.errors.LayerError, match="windows"):
            raw("attention_relevance", Windows().eval(), np.ascontiguousarray(np.moveaxis(x, -1, 1)), 1)

    @pytest.mark.parametrize("method", ["attention_relevance", "attnlrp"])
    def test_a_trained_transformer_has_the_maps_of_its_module(method, real_data):
        import networks
        import networks_torch

        x = networks.preprocess("deit_tiny", networks.photos("imagenet_sample")[0][:1])
        ours = raw(method, networks.load("deit_tiny"), x, 0)
        images = np.ascontiguousarray(np.moveaxis(x, -1, 1))
        close(ours, raw(method, networks_torch.load("deit_tiny"), images, 0), 1e-4)
