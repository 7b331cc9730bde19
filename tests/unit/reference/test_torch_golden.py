"""PyTorch modules against values that the reference of FullGrad computed, and against Keras models of equal weights."""

import keras
import numpy as np
import pytest

import keras_explainable as ke

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from support.compare import close  # noqa: E402
from support.selection import slow  # noqa: E402

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(keras.backend.backend() != "torch", reason="modules need Keras on PyTorch"),
]
BEFORE_RELU = {"name": "fire2_squeeze1x1", "link": "linear"}
SIGNALS = {  # equal signals of a module and its Keras model; None is the last spatial one
    "resnet20_cifar10": [
        (ke.gradcam, None, None),
        (ke.gradcampp, None, None),
        (ke.cam, None, None),
        (ke.gradcam, "layer2.1.bn2", "layer2_1_bn2"),
    ],
    "squeezenet_v1_1": [(ke.gradcam, "fires.7", "fire9"), (ke.scorecam, "fires.0.squeeze", BEFORE_RELU)],
}
NETWORKS = ["tiny", "tiny_square", "resnet20_cifar10", "squeezenet_v1_1"]


class Tiny(nn.Module):
    """The small network of the golden values; `conv3` is registered before what runs earlier, and ReLU works in place."""

    def __init__(self, weights):
        super().__init__()
        self.fc, self.conv3 = nn.Linear(16, 5), nn.Conv2d(12, 16, 3)
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.conv2, self.bn2 = nn.Conv2d(8, 12, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(12, eps=1e-3)
        self.relu = nn.ReLU(inplace=True)
        self.load_state_dict({name: torch.as_tensor(value) for name, value in weights.items()})

    def forward(self, x):
        x = self.relu(self.bn1(self.conv1(x)))
        x = F.max_pool2d(self.relu(self.bn2(self.conv2(x))), 2)
        return self.fc(F.relu_(self.conv3(x)).mean((2, 3)))


@pytest.fixture(params=NETWORKS)
def golden(request, real_data):
    """A module, and the reference's values for it."""
    values = dict(np.load(real_data / "golden" / f"{request.param}.npz"))
    if request.param.startswith("tiny"):
        return Tiny(np.load(real_data / "golden" / "tiny_weights.npz")).eval(), values
    import networks_torch

    return networks_torch.load(request.param), values


def maps(method, *args, **params):
    return np.asarray(method(*args, **params)[1])[..., 0]


def test_maps(golden):
    module, expected = golden
    x, classes = expected["input"], expected["classes"]
    methods = ke.methods.fullgrad
    close(maps(methods.full_gradients, module, x, classes), expected["fullgrad"][:, 0])
    close(maps(methods.full_gradients, module, x, expected["logits"].argmax(1)), expected["fullgrad_argmax"][:, 0])
    close(maps(methods.simple_full_gradients, module, x, classes), expected["simple_fullgrad"][:, 0])
    close(maps(ke.methods.gradient.gradients, module, x, classes, reduce="sum"), expected["input_gradient_map"][:, 0])


def test_decomposition(golden):
    module, expected = golden
    found = ke.full_gradient_decomposition(module, expected["input"], expected["classes"])
    close(
        found.completeness.scores[:, 0], np.take_along_axis(expected["logits"], expected["classes"][:, None], 1)[:, 0]
    )
    close(found.input_gradient[:, 0], np.moveaxis(expected["input_gradient"], 1, -1))
    assert found.completeness.relative_gap.max() < 1e-5
    if "bias_gradient_00" in expected:
        assert list(found.bias_gradients) == [(path, 0) for path in ("conv1", "bn1", "bn2", "conv3", "fc")]
        for i, value in enumerate(found.bias_gradients.values()):
            reference = expected[f"bias_gradient_{i:02d}"]
            close(value[:, 0], np.moveaxis(reference, 1, -1) if reference.ndim == 4 else reference)


@slow
@pytest.mark.parametrize("name", ["resnet20_cifar10", "squeezenet_v1_1"])
def test_keras_models_of_equal_weights(real_data, name):
    import networks
    import networks_torch

    values = np.load(real_data / "golden" / f"{name}.npz")
    x, y = values["input"], values["classes"]
    module, model = networks_torch.load(name), networks.load(name)
    last = np.moveaxis(x, 1, -1)
    for method in (ke.full_gradients, ke.simple_full_gradients, ke.gradients):
        ours, theirs = method(module, x, y, verbose=0), method(model, last, y, verbose=0)
        close(ours.scores, theirs.scores, 1e-4)
        close(ours.maps, theirs.maps, 1e-4)
    for method, here, there in SIGNALS[name]:
        both = {"verbose": 0, "placement": "stretch"}  # a function's steps are measured, and a layer's known
        ours, theirs = method(module, x, y, layer=here, **both), method(model, last, y, layer=there, **both)
        close(ours.maps, theirs.maps, 1e-4)
