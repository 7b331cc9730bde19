"""The demo network's torch twin: equal scores, and equal maps by every method."""

import sys

import keras
import numpy as np
import pytest

import keras_explainable as ke
from support.calls import few, subject
from support.compare import close
from support.selection import slow

SCENES = 2


@pytest.fixture(scope="module")
def images():
    return ke.demo.load_scenes(SCENES, seed=21)[0].astype("float32")


def test_equal_logits_whatever_keras_runs_on(images):
    torch = pytest.importorskip("torch")
    module = ke.demo.load_module()
    assert not module.training
    with torch.no_grad():
        logits = module(torch.from_numpy(images.transpose(0, 3, 1, 2))).numpy()
    close(logits, ke.demo.load_model().predict(images, verbose=0), atol=1e-4)


# What makes a method of many passes quick; the rest is in `few`.
QUICK = {
    "scorecam": {"max_channels": 4},
    "occlusion": {"patch": 24, "stride": 24},
    "kernel_shap": {"repetitions": 14, "segments": 2},
    "lime": {"repetitions": 14, "segments": 2},
    "sobol": {"repetitions": 3, "segments": 2},
    "hsic": {"repetitions": 14, "segments": 2},
}
CASES = [(name, few(name) | QUICK.get(name, {})) for name in ke.registry.METHODS if subject(name) == "functional"]
CASES += [("gradcam", {"layer": "block2_output"}), ("gradients", {"reduce": None})]


@slow
@pytest.mark.skipif(keras.backend.backend() != "torch", reason="modules are explained on the torch backend")
@pytest.mark.filterwarnings("ignore:.*the same everywhere")
@pytest.mark.parametrize(("method", "params"), CASES, ids=[name for name, _ in CASES])
def test_equal_maps(images, method, params):
    if method == "xrai":
        pytest.importorskip("skimage", reason="scikit-image, which finds the segments, is not installed")
    units, options = np.array([[0, 7]] * SCENES), {"seed": 3, "verbose": 0, **params}
    scores, maps = ke.explain(method, ke.demo.load_model(), images, units, **options)
    twin = ke.explain(method, ke.demo.load_module(), images.transpose(0, 3, 1, 2), units, **options)
    close(twin.scores, scores, atol=1e-4)
    shown = np.ptp(maps, axis=(1, 2)) > 0
    assert shown.all() or (method == "guided_gradcam" and shown[:, 1].all())  # of what is not there, it shows nothing
    off = abs(twin.maps - maps) > 1e-4 * abs(maps).max()
    if method == "lrp_epsilon_plus_flat":
        off = off[:, :-2, :-2]  # the module pads images in an operation of its own, whose pixels get a share as well
    # Of many noisy copies, one may be so near the kink of a ReLU that rounding decides for some pixels.
    assert off.mean() <= (0.01 if params.get("repetitions") else 0), off.mean()


@pytest.mark.skipif(keras.backend.backend() == "torch", reason="Keras itself needs PyTorch here")
def test_without_pytorch_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "keras_explainable.models.torch.demo_network", raising=False)
    monkeypatch.delattr("keras_explainable.models.torch.demo_network", raising=False)
    with pytest.raises(ke.errors.BackendError, match=r"keras-explainable\[torch\]"):
        ke.demo.load_module()
