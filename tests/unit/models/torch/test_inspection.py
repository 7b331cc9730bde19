"""What users ask of a PyTorch module: its signals, layers by any address, biases, and a module that exposes signals."""

import keras
import numpy as np
import pytest

import keras_explainable as ke
from keras_explainable.errors import LayerError
from keras_explainable.models import Point

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
from torch import nn  # noqa: E402

from support import torch_models as nets  # noqa: E402
from support.compare import close  # noqa: E402

pytestmark = pytest.mark.skipif(keras.backend.backend() != "torch", reason="modules need Keras on PyTorch")
inspection = ke.inspection
Y = np.array([1, 4, 0])


def nested():
    """conv1, conv2 and fc under body.stem, body.stem and head, registered out of order."""
    body = nn.Sequential()
    stem = nn.ModuleDict({"conv2": nn.Conv2d(6, 8, 3), "conv1": nn.Conv2d(3, 6, 3)})

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, nets.UNITS))
            self.body = body
            self.body.stem = stem

        def forward(self, x):
            return self.head(torch.relu(stem["conv2"](torch.relu(stem["conv1"](x)))))

    return nets.drawn(Net())


def test_signals_come_in_execution_order():
    x = nets.images()
    calls = inspection.signals(nested(), x)
    assert [(c.path, c.kind, c.shape) for c in calls if c.leaf] == [
        ("body.stem.conv1", "Conv2d", (1, 6, 12, 16)),
        ("body.stem.conv2", "Conv2d", (1, 8, 10, 14)),
        ("head.0", "AdaptiveAvgPool2d", (1, 8, 1, 1)),
        ("head.1", "Flatten", (1, 8)),
        ("head.2", "Linear", (1, 5)),
    ]
    assert inspection.signals(nested(), x.shape) == calls
    twice = [(c.path, c.call) for c in inspection.signals(nets.drawn(nets.Twice()), x)]
    assert twice == [("stem", 0), ("conv", 0), ("act", 0), ("conv", 1), ("act", 1), ("fc", 0)]
    with pytest.raises(LayerError, match="pass some images, or their shape"):
        inspection.signals(nested())


@pytest.mark.parametrize(
    "address", ["body.stem.conv1", "body/stem/conv1", "stem.conv1", "conv1", ("body", "stem", "conv1"), "the module"]
)
def test_addresses(address):
    module, x = nested(), nets.images()
    conv = module.body.stem["conv1"]
    address = conv if address == "the module" else address
    assert inspection.get_nested_layer(module, address) is conv
    assert inspection.endpoints(module, [address, {"layer": address, "link": "input"}], x) == [
        Point("body.stem.conv1"),
        Point("body.stem.conv1", link="input"),
    ]
    found = np.asarray(ke.methods.cams.gradcam(module, x, Y, layer=address)[1])[..., 0]
    close(found, nets.gradcam(module, conv, x, Y), atol=1e-6)


def test_addresses_that_mean_nothing():
    module = nested()
    assert inspection.get_nested_layer(module, 0) is module.head
    with pytest.raises(LayerError, match="Nearest: body.stem.conv"):
        inspection.get_nested_layer(module, "conv3")
    with pytest.raises(LayerError, match="not a layer of this model"):
        inspection.get_nested_layer(module, nn.Conv2d(3, 6, 3))
    with pytest.raises(LayerError, match="has 2 layers"):
        inspection.get_nested_layer(module, 2)


def test_layers_are_found():
    module, x = nested(), nets.images()
    head, convs = module.head[2], module.body.stem
    assert inspection.get_logits_layer(module) is convs["conv1"]  # the last one built
    assert inspection.get_logits_layer(module, x=x) is head  # the last one to run
    assert inspection.get_logits_layer(module, "conv2") is convs["conv2"]
    assert inspection.get_global_pooling_layer(module) is module.head[1]
    assert inspection.find_layer_with(module, klass=nn.Conv2d, search_reversed=False) is convs["conv2"]
    assert inspection.find_layer_with(module, properties=("in_features",)) is head
    with pytest.raises(LayerError, match="has a kernel"):
        inspection.get_logits_layer(nn.ReLU())


def test_biases():
    module = nets.drawn(nets.Plain())
    layers, biases = inspection.layers_with_biases(module, exclude=[module.unused])
    assert layers == [module.fc, module.conv1, module.bn1, module.bn2, module.conv3]
    norm = module.bn2
    expected = norm.bias - norm.running_mean * norm.weight / torch.sqrt(norm.running_var + norm.eps)
    torch.testing.assert_close(biases[3], expected.detach())
    torch.testing.assert_close(inspection.biases([module.conv1])[0], module.conv1.bias.detach())
    assert not any(b.requires_grad for b in biases)
    assert len(inspection.layers_with_biases(nets.Twice(), return_biases=False)) == 3  # one for each module


@pytest.mark.parametrize("wrap", [lambda m: m, nn.DataParallel])
def test_exposed_signals(wrap):
    module, x = nets.drawn(nets.Plain("module_in_place", head=nn.Softmax(-1))).train(), nets.images()
    exposed = inspection.expose(wrap(module), ["conv2", module.conv3])
    score, second, third = exposed(torch.as_tensor(x))
    assert module.training
    module.eval()
    seen = []
    for conv in (module.conv2, module.conv3, module.fc):
        conv.register_forward_hook(lambda _, args, output: seen.append(output.detach().clone()))
    module(torch.as_tensor(x))
    for found, expected in zip((second, third, score), seen, strict=True):
        torch.testing.assert_close(found.detach(), expected)
    (g,) = torch.autograd.grad(score[:, 1].sum(), third)  # it can be differentiated as any module
    assert abs(g).max() > 0
    found = ke.gradcam(exposed, x, Y, verbose=0)
    expected = ke.gradcam(module, x, Y, layer="conv3", verbose=0)
    close(found.maps, expected.maps, atol=1e-6)
    assert found.about["signal"] == "conv3" and list(ke.full_gradient_decomposition(exposed, x, Y).bias_gradients) == [
        ("conv3", 0)
    ]


def test_an_exposed_output_is_taken_as_it_is():
    module, x = nets.drawn(nets.Plain(head=nn.Softmax(-1))), nets.images()
    found = ke.gradients(inspection.expose(module, outputs="head"), x, Y, verbose=0)
    close(found.scores[:, 0], module(torch.as_tensor(x)).detach().numpy()[np.arange(3), Y], atol=1e-6)
    with pytest.raises(LayerError, match="no layer 'convolution'"):
        inspection.expose(module, "convolution")
