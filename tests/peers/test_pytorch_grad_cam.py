"""Class activation maps of torch modules, beside the raw maps of pytorch-grad-cam (the package `grad-cam`).

Where definitions differ: Grad-CAM++ there adds 1e-6 to a denominator, which small gradients are lost in: here they are
large; Eigen-CAM has the sign that the decomposition happens to give; Ablation-CAM divides by the score, so that it turns
over where that is negative; Score-CAM enlarges masks with aligned corners; Finer-CAM weighs the compared classes by their
probabilities; FullGrad normalises each channel by itself, and resizes by half pixels: here all signals are of one size.
"""

import keras
import numpy as np
import pytest

if keras.backend.backend() != "torch":
    pytest.skip("modules are explained on the torch backend", allow_module_level=True)
import torch
from torch import nn

import keras_explainable as ke
from support import torch_models
from support.compare import close

pytestmark = pytest.mark.peers
UNITS = [1, 4, 2]


@pytest.fixture(scope="module")
def peer(torchvision):  # which it imports
    reason = "pytorch-grad-cam is not installed: make test-peers"
    return pytest.importorskip("pytorch_grad_cam", reason=reason, exc_type=ImportError)


def small(stride=2, gain=1.0):
    torch.manual_seed(5)
    convolutions = [nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()]
    convolutions += [nn.Conv2d(8, 6, 3, stride=stride, padding=2 - stride), nn.ReLU()]
    head = nn.Linear(6, 5)
    head.weight.data *= gain
    return nn.Sequential(*convolutions, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head).eval()


def images():
    return torch.randn(3, 3, 18, 22, generator=torch.Generator().manual_seed(1))


def theirs(method, layer, targets, gain=1.0, **params):
    """The raw map of a method of theirs: before its maximum with 0, its resizing and its normalisations."""
    module, seen = small(gain=gain), {}

    def see(_, args, output):
        seen["a"] = output
        if output.requires_grad:
            output.register_hook(lambda g: seen.update(g=g))

    cam = method(module, [module[layer]], **params)
    handle = module[layer].register_forward_hook(see)
    outputs = module(images().requires_grad_())
    sum(target(output) for target, output in zip(targets, outputs, strict=True)).backward()
    handle.remove()
    a, g = (seen[key].detach().numpy().copy() for key in "ag")
    return cam.get_cam_image(images(), module[layer], targets, a, g, False)


def ours(method, layer, units=UNITS, gain=1.0, **params):
    params |= {"layer": str(layer), "resizing": False, "verbose": 0}
    return ke.explain(method, small(gain=gain), images(), units, **params)  # (3, *S', 1)


def alike(ours, theirs, tolerance=1e-5):
    assert np.ptp(theirs) > 0
    close([ours], [theirs], tolerance)


PAIRS = {
    "gradcam": "GradCAM",
    "hirescam": "HiResCAM",
    "xgradcam": "XGradCAM",
    "layercam": "LayerCAM",
    "eigencam": "EigenCAM",
    "eigengradcam": "EigenGradCAM",
    "ablationcam": "AblationCAM",
    "scorecam": "ScoreCAM",
}


def targets():
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    return [ClassifierOutputTarget(u) for u in UNITS]


@pytest.mark.parametrize("layer", [2, 4])
@pytest.mark.parametrize("name", PAIRS)
def test_raw_maps_agree(peer, name, layer):
    from pytorch_grad_cam.ablation_layer import AblationLayer

    params = {"ablation_layer": AblationLayer()} if name == "ablationcam" else {}
    found = theirs(getattr(peer, PAIRS[name]), layer, targets(), **params)
    scores, maps = ours(name, layer)
    maps = maps[..., 0]
    if name.startswith("eigen"):
        found = found * np.sign((found * maps).sum((1, 2), keepdims=True))
    if name == "ablationcam":
        found = found * np.sign(scores)[..., None]
    alike(maps, found, 2e-3 if name == "scorecam" and layer == 4 else 1e-5)  # layer 2 is as large as the images


def test_finercam_agrees_where_one_class_is_compared_with(peer):
    from pytorch_grad_cam.utils.model_targets import FinerWeightedTarget

    rows = small()(images()).detach().numpy()
    near = [np.argsort(abs(row - row[u]))[1] for row, u in zip(rows, UNITS, strict=True)]
    targets = [FinerWeightedTarget(u, [int(o)], 0.6) for u, o in zip(UNITS, near, strict=True)]
    alike(ours("finercam", 4, others=1).maps[..., 0], theirs(peer.GradCAM, 4, targets))


@pytest.mark.parametrize("layer", [2, 4])
def test_gradcampp_agrees_where_gradients_are_large(peer, layer):
    maps = ours("gradcampp", layer, gain=1e4).maps[..., 0]
    alike(maps, theirs(peer.GradCAMPlusPlus, layer, targets(), gain=1e4), 1e-4)


def test_full_gradients_agree_with_each_channel_normalised_by_itself(peer, monkeypatch):
    def by_channel(v):
        v = keras.ops.abs(v)
        v = v - keras.ops.min(v, axis=(1, 2), keepdims=True)
        return keras.ops.sum(v / (keras.ops.max(v, axis=(1, 2), keepdims=True) + 1e-7), axis=-1)

    monkeypatch.setattr(peer.FullGrad, "aggregate_multi_layers", lambda self, maps: np.sum(maps, axis=1))
    module = torch_models.drawn(small(stride=1))
    found = peer.FullGrad(module, [])(images(), targets())
    params = {"aggregation": by_channel, "postprocessing": None, "verbose": 0}
    alike(ke.full_gradients(module, images(), UNITS, **params).maps[..., 0], found, 1e-4)
