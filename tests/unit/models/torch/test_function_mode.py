"""Operations outside of layers are calls of their own: seen, tapped, differentiated, and only when asked for."""

from dataclasses import replace

import keras
import numpy as np
import pytest

if keras.backend.backend() != "torch":
    pytest.skip("modules are explained on the torch backend", allow_module_level=True)

import torch
from torch import nn
from torch.nn import functional as F

from keras_explainable import models
from keras_explainable.models import Point
from keras_explainable.models.torch.adapter import TorchAdapter
from support import torch_models
from support.threads import in_threads


class Block(nn.Module):
    """A residual sum in place, a function where a module has its name, and a module of the user's own inside."""

    def __init__(self):
        super().__init__()
        self.conv, self.relu, self.own = nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(), Gate()

    def forward(self, x):
        out = self.conv(self.relu(x))
        out += x
        return F.relu(self.own(out), inplace=True)


class Gate(nn.Module):
    def forward(self, x):
        return x * torch.sigmoid(x)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.block, self.head = nn.Conv2d(3, 4, 3), Block(), nn.Linear(8, torch_models.UNITS)

    def forward(self, x):
        x = self.block(self.block(self.stem(x)))
        pooled = F.adaptive_avg_pool2d(x, 1)
        return self.head(torch.cat([torch.flatten(pooled, 1), x.mean((2, 3))], dim=1))


SHAPE = (1, 3, *torch_models.SIZE)


@pytest.fixture
def net():
    return torch_models.drawn(Net())


def test_operations_are_calls_with_paths(net):
    calls = TorchAdapter(net).trace(SHAPE, operations=True).calls
    seen = [(c.path, c.call) for c in calls if c.operation]
    inside = ["block.add", "block.own.sigmoid", "block.own.mul", "block.relu_"]
    outside = ["adaptive_avg_pool2d", "flatten", "mean", "cat"]
    assert seen == [*((p, 0) for p in inside), *((p, 1) for p in inside), *((p, 0) for p in outside)]
    assert {c.kind for c in calls if c.operation} >= {"add", "relu", "mul", "cat"}
    made = {(c.path, c.call): c for c in calls}
    add, conv, stem = made["block.add", 0], made["block.conv", 0], made["stem", 0]
    assert add.inputs == (*conv.outputs, *stem.outputs) and add.outputs != conv.outputs and add.channels_first
    assert made["block.relu_", 0].outputs == made["block.relu", 1].inputs
    assert made["cat", 0].inputs == (*made["flatten", 0].outputs, *made["mean", 0].outputs)


def test_layers_are_traced_the_same_with_and_without_operations(net):
    plain, whole = (TorchAdapter(net).trace(SHAPE, operations=o).calls for o in (False, True))
    assert not any(c.operation for c in plain)
    assert [replace(c, inputs=(), outputs=()) for c in whole if not c.operation] == [
        replace(c, inputs=(), outputs=()) for c in plain
    ]


def test_gradients_at_operations_are_those_of_bare_pytorch(net):
    x = torch_models.images(2)
    add, gate, pool = Point("block.add", 1), Point("block.own.mul", 0), Point("cat")
    scores, values, gradients = models.view(net, x).jacobian([add, gate, pool])
    kept = []

    def forward(x):
        for _ in range(2):
            out = net.block.conv(net.block.relu(x)) + x
            kept.append(out)
            out = out * torch.sigmoid(out)
            kept.append(out)
            x = F.relu(out)
        kept.append(torch.cat([F.adaptive_avg_pool2d(x, 1).flatten(1), x.mean((2, 3))], dim=1))
        return net.head(kept[-1])

    expected = forward(net.stem(torch.as_tensor(x)))
    torch.testing.assert_close(scores, expected.detach(), rtol=1e-5, atol=1e-5)
    for unit in range(torch_models.UNITS):
        grads = torch.autograd.grad(expected[:, unit].sum(), [kept[2], kept[1], kept[4]], retain_graph=True)
        for point, grad, value in zip((add, gate, pool), grads, (kept[2], kept[1], kept[4]), strict=True):
            grad, value = (v.detach().movedim(1, -1) if v.ndim == 4 else v.detach() for v in (grad, value))
            torch.testing.assert_close(gradients[point][:, unit], grad, rtol=1e-4, atol=1e-6)
            torch.testing.assert_close(values[point], value, rtol=1e-4, atol=1e-6)


class InPlace(nn.Module):
    """A result that nobody takes: the tensor itself goes on."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, torch_models.UNITS)

    def forward(self, x):
        x = self.conv(x)
        torch.sigmoid_(x)
        x[:, 0] = 0
        return self.head(x.mean((2, 3)))


def test_what_works_in_place_is_differentiated_too():
    net, x = torch_models.drawn(InPlace()), torch_models.images(2)
    written, zeroed = Point("sigmoid"), Point("setitem")
    _, _, gradients = models.view(net, x, 1).jacobian([written, zeroed])
    weights = net.head.weight[1] / np.prod([s - 2 for s in torch_models.SIZE])
    torch.testing.assert_close(gradients[zeroed][0, 0, 0, 0], weights.detach())
    torch.testing.assert_close(gradients[written][0, 0, 0, 0], weights.detach() * torch.tensor([0.0, 1, 1, 1]))


def test_signals_of_operations_can_be_replaced(net):
    x, point = torch_models.images(2), Point("cat")
    scores, _ = models.view(net, x).evaluate(replace={point: lambda v: v * 0})
    torch.testing.assert_close(scores, net.head.bias.detach().expand(2, -1))


def test_a_run_that_asks_for_no_operation_does_not_watch(net, monkeypatch):
    view = models.view(net, torch_models.images(1))
    monkeypatch.setattr("keras_explainable.models.torch.function_mode.Operations", None)
    view.jacobian([Point("block.conv", 1)])
    with pytest.raises(TypeError):
        view.evaluate([Point("block.add", 1)])


def test_threads_watch_their_own_run(net):
    x, point = torch_models.images(2), Point("block.add", 1)
    expected = models.view(net, x).evaluate([point])[1][point]
    found = in_threads(lambda i: models.view(net, x).evaluate([point] if i % 2 else [])[1], 6)
    assert [len(found[i]) for i in range(6)] == [0, 1] * 3
    for i in (1, 3, 5):
        torch.testing.assert_close(found[i][point], expected)
