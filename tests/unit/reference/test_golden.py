"""The twins against values that the published reference of FullGrad computed."""

import numpy as np
import pytest

from reference import fullgrad, gradient, layers
from reference import net as n
from reference.resize import bilinear
from support.compare import close
from support.selection import fast_on_torch

pytestmark = fast_on_torch

BIASED = ["conv1", "bn1", "bn2", "conv3", "fc"]  # in execution order


def load(file):
    """A file's arrays, in float64, images channels-last."""
    arrays = {name: value for name, value in np.load(file).items() if value.dtype.kind == "f"}
    return {name: (np.moveaxis(v, 1, -1) if v.ndim == 4 else v).astype("float64") for name, v in arrays.items()}


def tiny_net(file):
    w = {name: value.astype("float64") for name, value in np.load(file).items()}

    def conv(name, **sliding):
        return layers.Conv(w[f"{name}.weight"].transpose(2, 3, 1, 0), w.get(f"{name}.bias"), **sliding)

    def norm(name, epsilon):
        return layers.batch_norm(
            *(w[f"{name}.{k}"] for k in ("weight", "bias", "running_mean", "running_var")), epsilon
        )

    chain = [
        ("conv1", conv("conv1", padding=1)),
        ("bn1", norm("bn1", 1e-5)),
        ("relu1", layers.Relu()),
        ("conv2", conv("conv2", padding=1, strides=2)),
        ("bn2", norm("bn2", 1e-3)),
        ("relu2", layers.Relu()),
        ("pool", layers.MaxPool((2, 2), strides=2)),
        ("conv3", conv("conv3")),
        ("relu3", layers.Relu()),
        ("mean", layers.GlobalAvgPool()),
        ("fc", layers.Dense(w["fc.weight"].T, w["fc.bias"])),
    ]
    before = ["input", *(name for name, _ in chain)]
    nodes = tuple(n.Node(name, op, (previous,)) for (name, op), previous in zip(chain, before, strict=False))
    return n.Net(nodes, score="fc", signal="relu3")


@pytest.fixture(params=["tiny", "tiny_square"])
def golden(request, real_data):
    folder = real_data / "golden"
    classes = np.load(folder / f"{request.param}.npz")["classes"]
    return tiny_net(folder / "tiny_weights.npz"), load(folder / f"{request.param}.npz"), classes


def test_decomposition(golden):
    net, expected, classes = golden
    close(n.forward(net, expected["input"])["fc"], expected["logits"])
    _, g, parts = fullgrad.decomposition(net, expected["input"], classes)
    close(g[:, 0], expected["input_gradient"])
    assert list(parts) == BIASED
    for i, part in enumerate(parts.values()):
        close(part[:, 0], expected[f"bias_gradient_{i:02d}"])


def test_maps(golden):
    net, expected, classes = golden
    x = expected["input"]
    close(fullgrad.full_gradients(net, x, classes)[1], expected["fullgrad"])
    close(fullgrad.full_gradients(net, x, expected["logits"].argmax(-1))[1], expected["fullgrad_argmax"])
    close(fullgrad.simple_full_gradients(net, x, classes)[1], expected["simple_fullgrad"])
    close(gradient.gradients(net, x, classes, reduce="sum")[1], expected["input_gradient_map"])


def test_gradcam_of_the_reference(golden):
    """Its own variant: the last convolution's ReLU, weighted by the mean gradient at the convolution, then ReLU."""
    net, expected, classes = golden
    if "gradcam" not in expected:
        pytest.skip("the reference makes Grad-CAM maps of square images only")
    _, values, g = n.jacobian(net, expected["input"], classes, ["conv3"])
    weights = g["conv3"][:, 0].mean((1, 2))[:, None, None]
    a = np.maximum((np.maximum(values["conv3"], 0) * weights).sum(-1, keepdims=True), 0)
    close(bilinear(a, expected["input"].shape[1:-1], align_corners=True), expected["gradcam"])
