"""Vision transformers of Hugging Face's `transformers` and of `timm`, small and with weights drawn, as their users build
them: methods equal what their own attention and hidden states give."""

import importlib
import sys
import types

import keras
import numpy as np
import pytest

if keras.backend.backend() != "torch":
    pytest.skip("modules are explained on the torch backend", allow_module_level=True)
import torch

from support import torch_models
from support.calls import raw
from support.compare import close

pytestmark = pytest.mark.peers
UNITS, PATCHES = [1, 3], 4  # along each side
X = torch_models.images(2, (24, 24))
SHAPE = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}


def of_transformers(attention):
    reason = "transformers is not installed: make test-peers"
    transformers = pytest.importorskip("transformers", reason=reason, exc_type=ImportError)
    config = transformers.ViTConfig(image_size=24, patch_size=24 // PATCHES, num_labels=5, **SHAPE)
    auto = transformers.AutoModelForImageClassification
    return torch_models.drawn(auto.from_config(config, attn_implementation=attention))


def of_timm(attention):
    timm = pytest.importorskip("timm", reason="timm is not installed: make test-peers", exc_type=ImportError)
    shape = {"embed_dim": 16, "depth": 2, "num_heads": 2, "num_classes": 5}
    module = timm.models.VisionTransformer(img_size=24, patch_size=24 // PATCHES, **shape)
    for block in module.blocks:
        block.attn.fused_attn = attention == "sdpa"
    return torch_models.drawn(module)


BUILDERS = {"transformers": of_transformers, "timm": of_timm}


@pytest.fixture(params=BUILDERS)
def build(request, torchvision):  # which both import
    return BUILDERS[request.param]


def scores_of(outputs):
    return getattr(outputs, "logits", outputs)


def attentions(module):
    """The probabilities (B, H, T, T) of each layer, as the model itself says them."""
    if hasattr(module, "config"):
        with torch.no_grad():
            return module(torch.from_numpy(X), output_attentions=True).attentions
    seen = []
    handles = [b.attn.attn_drop.register_forward_hook(lambda m, i, output: seen.append(output)) for b in module.blocks]
    with torch.no_grad():
        module(torch.from_numpy(X))
    for handle in handles:
        handle.remove()
    return seen


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_rollout_is_that_of_the_models_own_attention(build, attention):
    rows = torch.eye(PATCHES**2 + 1)
    for probabilities in attentions(build("eager")):
        mixed = probabilities.mean(1) + torch.eye(PATCHES**2 + 1)
        rows = mixed / mixed.sum(-1, keepdim=True) @ rows
    expected = rows[:, 0, 1:].reshape(-1, PATCHES, PATCHES, 1).numpy()
    assert np.ptp(expected) > 0.01 * expected.max()
    close([raw("attention_rollout", build(attention), X, UNITS).maps], [expected], 1e-4)


def test_gradcam_is_that_of_the_tokens(build):
    module, seen = build("sdpa"), []
    *_, layer = (name for name, _ in module.named_modules() if name.endswith(("layernorm_before", "norm1")))
    handle = module.get_submodule(layer).register_forward_hook(lambda m, i, output: seen.append(output))
    scores = scores_of(module(torch.from_numpy(X)))
    handle.remove()
    (g,) = torch.autograd.grad(scores[range(2), UNITS].sum(), seen)
    maps = (seen[0][:, 1:] * g[:, 1:].mean(1, keepdim=True)).sum(-1).reshape(2, PATCHES, PATCHES, 1)
    expected = [scores[range(2), UNITS][:, None].detach().numpy(), maps.detach().numpy()]
    assert np.ptp(expected[1]) > 0
    for params in ({"layer": layer}, {}):
        close(raw("gradcam", build("sdpa"), X, UNITS, **params), expected, 1e-4)


@pytest.mark.parametrize(
    "method", ["attention_rollout", "gradient_attention_rollout", "attention_relevance", "attnlrp", "gradcam"]
)
def test_fused_attention_and_the_same_step_by_step_are_explained_alike(build, method):
    module = build("sdpa")
    with torch.no_grad():
        expected = scores_of(module(torch.from_numpy(X))).numpy()[range(2), UNITS]
    scores, maps = raw(method, module, X, UNITS)
    close(scores[:, 0], expected, atol=1e-5)
    assert np.isfinite(maps).all() and np.ptp(maps) > 0
    close(raw(method, build("eager"), X, UNITS), (scores, maps), 1e-4)


def test_swins_signal_is_that_of_its_last_tokens(torchvision):
    transformers = pytest.importorskip("transformers", reason="transformers is not installed", exc_type=ImportError)
    shape = {"image_size": 24, "patch_size": 3, "window_size": 4, "embed_dim": 8, "depths": [1, 1], "num_heads": [2, 2]}
    module, seen = torch_models.drawn(transformers.SwinForImageClassification(transformers.SwinConfig(**shape))), []
    handle = module.swin.layernorm.register_forward_hook(lambda m, i, output: seen.append(output))
    scores = scores_of(module(torch.from_numpy(X)))
    handle.remove()
    (g,) = torch.autograd.grad(scores.sum(0)[1], seen)
    maps = (seen[0] * g.mean(1, keepdim=True)).sum(-1).reshape(2, 4, 4, 1)
    explained = raw("gradcam", module, X, 1)
    assert explained.about["signal"] == "swin.layernorm" and np.ptp(explained.maps) > 0
    close([explained.maps], [maps.detach().numpy()], 1e-4)


def test_attnlrp_passes_tables_of_relative_positions(torchvision):
    transformers = pytest.importorskip("transformers", reason="transformers is not installed", exc_type=ImportError)
    config = transformers.BeitConfig(image_size=24, patch_size=6, use_relative_position_bias=True, **SHAPE)
    auto = transformers.AutoModelForImageClassification
    fused, eager = (
        torch_models.drawn(auto.from_config(config, attn_implementation=attention)) for attention in ("sdpa", "eager")
    )
    maps = raw("attnlrp", fused, X, 1).maps
    assert np.isfinite(maps).all() and np.ptp(maps) > 0
    close([raw("attnlrp", eager, X, 1).maps], [maps], 1e-4)


def test_attnlrp_is_that_of_its_authors(torchvision, monkeypatch):
    """The rules of their package `lxt`, as they are, put in place for this test alone: it changes classes for good.

    Their file is imported without the package around it, which needs an older `transformers`."""
    module = of_transformers("eager")
    lxt = pytest.importorskip("lxt", reason="lxt is not installed: make test-peers")
    package = types.ModuleType("lxt.efficient")
    package.__path__ = [f"{folder}/efficient" for folder in lxt.__path__]
    monkeypatch.setitem(sys.modules, "lxt.efficient", package)
    patches = importlib.import_module("lxt.efficient.patches")
    from transformers.models.vit import modeling_vit

    ours = raw("attnlrp", module, X, UNITS, gamma=0.0)  # gamma is a rule of zennit's, which theirs edits as well
    kinds = {type(m) for m in module.modules() if "gelu" in type(m).__name__.lower()}
    for kind in kinds:
        monkeypatch.setattr(kind, "original_forward", kind.forward, raising=False)
        monkeypatch.setattr(kind, "forward", patches.non_linear_forward)
    monkeypatch.setattr(torch.nn.LayerNorm, "forward", patches.layer_norm_forward)
    attend = patches.wrap_attention_forward(modeling_vit.eager_attention_forward)
    monkeypatch.setattr(modeling_vit, "eager_attention_forward", attend)
    x = torch.from_numpy(X).requires_grad_()
    scores = module(x).logits[range(2), UNITS]
    (g,) = torch.autograd.grad(scores.sum(), x)
    assert kinds
    close(ours, [scores[:, None].detach().numpy(), (x * g).sum(1)[..., None].detach().numpy()], 1e-4)
