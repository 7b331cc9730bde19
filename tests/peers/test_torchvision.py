"""Real architectures, with random weights and statistics: decompositions are complete where the theory holds."""

import keras
import numpy as np
import pytest

import keras_explainable as ke

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
from support import torch_models as nets  # noqa: E402
from support.compare import close  # noqa: E402

pytestmark = [
    pytest.mark.peers,
    pytest.mark.skipif(keras.backend.backend() != "torch", reason="modules need Keras on PyTorch"),
]
SIZES = {"inception_v3": 80, "vgg11_bn": 32, "googlenet": 64, "densenet121": 64}
SIGNALS = {
    "resnet18": "layer4.1.relu (call 1)",
    "resnet50": "layer4.2.relu (call 2)",
    "densenet121": "features.norm5",
    "squeezenet1_1": "classifier.2",
    "mnasnet0_5": "layers.16",
    "mobilenet_v3_small": "features.12.2",
    "swin_t": "permute",
}
RELU = [
    "resnet18",
    "resnet50",
    "vgg11_bn",
    "vgg16",
    "densenet121",
    "googlenet",
    "inception_v3",
    "squeezenet1_1",
    "mnasnet0_5",
]


def build(torchvision, name):
    weights = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    module = nets.drawn(getattr(torchvision.models, name)(weights=None, **weights))
    size = SIZES.get(name, 48)
    return module.train(), nets.images(2, (size, size))


def own_sum(module, x, unit):
    """score - sum(x * gradient) - sum(bias * gradient) of one image, with every bias a parameter or in a normalisation."""
    found = []

    def hook(layer, _, output):
        mean, bias = getattr(layer, "running_mean", None), getattr(layer, "bias", None)
        if mean is not None:
            scale = layer.weight / (layer.running_var + layer.eps).sqrt()
            bias = bias - mean * scale
        if bias is not None:
            found.append((output, bias.view(-1, *(1,) * (output.ndim - 2)) if output.ndim > 2 else bias))
            return output.clone()

    handles = [m.register_forward_hook(hook) for m in module.modules()]
    leaf = x.clone().requires_grad_()
    scores = module.eval()(leaf)[:, unit]
    for handle in handles:
        handle.remove()
    g, *grads = torch.autograd.grad(scores.sum(), [leaf, *(out for out, _ in found)])
    total = (g * leaf).flatten(1).sum(1) + sum(
        (d * b).flatten(1).sum(1) for d, (_, b) in zip(grads, found, strict=True)
    )
    return scores.detach().numpy(), total.detach().numpy()


@pytest.mark.parametrize("name", RELU)
def test_decompositions_are_complete(torchvision, name):
    module, x = build(torchvision, name)
    y = np.asarray(ke.models.view(module, x).evaluate()[0]).argmax(1)
    report = ke.full_gradient_decomposition(module, x, y).completeness
    assert abs(report.scores).min() > 1e-4
    assert report.relative_gap.max() <= 1e-4
    assert module.training and all(p.grad is None for p in module.parameters())


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "efficientnet_b0"])
def test_what_is_missing_is_reported_as_it_is(torchvision, name):
    module, x = build(torchvision, name)
    report = ke.full_gradient_decomposition(module, x, 1).completeness
    scores, total = own_sum(module, torch.as_tensor(x), 1)
    close(report.total[:, 0], total, rtol=1e-3)
    close(report.absolute_gap[:, 0], abs(scores - total), rtol=1e-3)
    assert report.relative_gap.min() > 1e-3


@pytest.mark.parametrize("name", SIGNALS)
def test_the_last_spatial_signal(torchvision, name):
    module, x = build(torchvision, name)
    assert str(ke.models.view(module, x).signal()) == SIGNALS[name]


@pytest.mark.parametrize("name", ["densenet121", "convnext_tiny"])
def test_gradcam_is_that_of_bare_pytorch(torchvision, name):
    module, x = build(torchvision, name)
    path = {"densenet121": "features.norm5", "convnext_tiny": "features.5"}[name]
    found = np.asarray(ke.methods.cams.gradcam(module, x, [1, 2], layer=path)[1])[..., 0]
    expected = nets.gradcam(module.eval(), module.get_submodule(path), x, [1, 2])
    close(found, expected, atol=1e-5 * abs(expected).max())
