"""The demo network's torch twin: equal scores, and equal maps by methods that see other things of it."""

import sys

import keras
import numpy as np
import pytest

import keras_explainable as ke

SCENES = 4


@pytest.fixture(scope="module")
def images():
    return ke.demo.load_scenes(SCENES, seed=21)[0].astype("float32")


def test_equal_logits_whatever_keras_runs_on(images):
    torch = pytest.importorskip("torch")
    module = ke.demo.load_module()
    assert not module.training
    with torch.no_grad():
        logits = module(torch.from_numpy(images.transpose(0, 3, 1, 2))).numpy()
    np.testing.assert_allclose(logits, ke.demo.load_model().predict(images, verbose=0), atol=1e-4)


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="modules are explained on the torch backend")
@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("gradcam", {}),
        ("gradcam", {"layer": "block2_output"}),
        ("full_gradients", {}),
        ("gradients", {}),
        ("gradients", {"reduce": None}),
        ("guided_backprop", {}),
        ("lrp_epsilon_plus", {}),
        ("deeplift", {}),
    ],
)
def test_equal_maps(images, method, params):
    units = np.array([[0, 7]] * SCENES)
    scores, maps = ke.explain(method, ke.demo.load_model(), images, units, verbose=0, **params)
    twin = ke.explain(method, ke.demo.load_module(), images.transpose(0, 3, 1, 2), units, verbose=0, **params)
    np.testing.assert_allclose(twin.scores, scores, atol=1e-4)
    assert np.ptp(maps, axis=(1, 2)).min() > 0
    np.testing.assert_allclose(twin.maps, maps, atol=1e-4 * abs(maps).max(), rtol=0)


@pytest.mark.skipif(keras.backend.backend() == "torch", reason="Keras itself needs PyTorch here")
def test_without_pytorch_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "keras_explainable.models.torch_demo", raising=False)
    monkeypatch.delattr("keras_explainable.models.torch_demo", raising=False)
    with pytest.raises(ke.errors.BackendError, match=r"keras-explainable\[torch\]"):
        ke.demo.load_module()
