"""In one explanation a model's layers are looked up once; from one to the next they may change."""

import numpy as np
import pytest

import keras_explainable as ke
from keras_explainable.models.keras.structure import Structure
from support import keras_models
from support.calls import few, raw
from support.compare import close
from support.selection import BACKEND

modules = pytest.mark.skipif(BACKEND != "torch", reason="modules need Keras on PyTorch")


@pytest.mark.parametrize("method", ["gradients", "lrp_epsilon"])
def test_layers_are_looked_up_once(method, monkeypatch):
    model, x, looked = keras_models.build("nested_functional"), keras_models.images("nested_functional"), []
    plain = Structure._paths
    whole = raw(method, model, x, 1, **few(method))
    monkeypatch.setattr(Structure, "_paths", lambda self: (looked.append(1), plain(self))[1])
    close(raw(method, model, x, 1, batch_size=1, **few(method)), whole)
    assert looked == [1]


def net():
    import torch

    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(4, 3),
    )


@modules
def test_a_module_that_is_replaced_is_seen():
    import torch

    module, x = net(), np.random.default_rng(0).random((2, 3, 9, 8)).astype("float32")
    before = raw("lrp_epsilon", module, x, 1)
    module[1] = torch.nn.Tanh()  # which relevance passes as a ReLU, and which is no ReLU to guided backprop
    after = raw("lrp_epsilon", module, x, 1)
    ke.clear_cache()
    close(after, raw("lrp_epsilon", module, x, 1))
    assert abs(after.maps - before.maps).max() > 0.01 * abs(before.maps).max()
    with pytest.raises(ke.errors.LayerError, match="no ReLU"):
        raw("guided_backprop", module, x, 1)


@modules
def test_modules_made_by_a_first_run_are_seen():
    import torch

    class Late(torch.nn.Module):
        def forward(self, x):
            if not hasattr(self, "made"):
                self.made = net()
            return self.made(x)

    x = np.random.default_rng(0).random((2, 3, 9, 8)).astype("float32")
    found = raw("gradcam", Late(), x, 1)
    close(found, raw("gradcam", net(), x, 1))
    assert found.about["signal"] == "made.1"
