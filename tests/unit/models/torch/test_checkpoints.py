"""Modules with activation checkpoints: every method gives the maps of the same module without, and leaves it untouched."""

import numpy as np
import pytest

import keras_explainable as ke
from support.calls import few, raw
from support.compare import close
from support.selection import BACKEND, every_method

pytestmark = pytest.mark.skipif(BACKEND != "torch", reason="modules need Keras on PyTorch")
NAMES = [m.name for m in ke.methods.list() if ke.registry.Need.ATTENTION not in m.needs and m.name != "xrai"]


def net(reentrant=None):
    import torch
    from torch import nn
    from torch.nn import functional as F
    from torch.utils.checkpoint import checkpoint

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.c1, self.b1, self.r1 = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU()
            self.c2, self.b2, self.r2 = nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU()
            self.pool, self.flat, self.fc = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3)
            for norm in (self.b1, self.b2):
                norm.running_mean.normal_()
                norm.running_var.uniform_(0.5, 2)

        def block(self, x):
            return self.r2(self.b2(self.c2(F.dropout(self.r1(self.b1(self.c1(x))), 0.5, self.training))))

        def forward(self, x):
            x = self.block(x) if reentrant is None else checkpoint(self.block, x, use_reentrant=reentrant)
            return self.fc(self.flat(self.pool(x)))

    return Net().eval()


@pytest.fixture
def x():
    import torch

    return torch.from_numpy(np.random.default_rng(0).random((2, 3, 12, 12)).astype("float32"))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("method", every_method(NAMES))
def test_checkpoints_change_no_map_and_no_method_changes_the_module(method, reentrant, training, x):
    plain, module = net(), net(reentrant).train(training)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    same = few(method) | ({"seed": 0} if ke.registry.takes(ke.get(method), "seed") else {})
    close(raw(method, module, x, 1, **same), raw(method, plain, x, 1, **same))
    assert module.training is training and all(part.training is training for part in module.modules())
    for name, value in module.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    assert all(p.grad is None and p.requires_grad for p in module.parameters())


def test_training_in_another_thread_keeps_its_checkpoints(x):
    import threading

    import torch

    module, ran, done = net(False).train(), [], threading.Event()
    module.c1.register_forward_pre_hook(lambda *_: ran.append(threading.get_ident()))

    def train():
        while not done.is_set():
            ran.clear()
            module(x.clone().requires_grad_()).sum().backward()
            found.append(ran.count(threading.get_ident()))

    found: list = []
    other = net(False)
    thread = threading.Thread(target=train)
    thread.start()
    for _ in range(20):
        raw("gradients", other, x, 1)
    done.set()
    thread.join()
    assert found and set(found) == {2}  # once on the way forth, and once on the way back
    from torch.utils import checkpoint

    assert checkpoint.CheckpointFunction.__module__ == "torch.utils.checkpoint"
    assert torch.isfinite(module.c1.weight.grad).all()
