"""Metrics of maps beside pytorch-grad-cam's.

ROAD: its noise of .01 is drawn anew in each call, and is 0 here. It solves the system of the fill exactly, and ours takes
conjugate gradients, here with as many steps as they need. It removes what is above a percentile: as many pixels as ours
if their number is a multiple of 10 and no values are equal. Its value is half the mean difference over the shares, and
ours the area between the curves. Its drop in confidence is absolute, and ours relative to the image's own score.
"""

import keras
import numpy as np
import pytest

if keras.backend.backend() != "torch":
    pytest.skip("modules are explained on the torch backend", allow_module_level=True)
import torch

import keras_explainable as ke
from keras_explainable.masking import fill
from support import torch_models
from support.compare import close

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore:__array_wrap__:DeprecationWarning")]
UNITS, SIZE = [1, 4, 2], (20, 26)
MAPS = np.random.default_rng(1).random((3, *SIZE), "float32")
EXACT = 300  # steps of conjugate gradients


@pytest.fixture
def peer(torchvision, monkeypatch):  # which it imports
    reason = "pytorch-grad-cam is not installed: make test-peers"
    road = pytest.importorskip("pytorch_grad_cam.metrics.road", reason=reason, exc_type=ImportError)

    class Noiseless(road.NoisyLinearImputer):
        def __init__(self):
            super().__init__(noise=0)

    monkeypatch.setattr(road, "NoisyLinearImputer", Noiseless)
    return road


def softmax(unit):
    return lambda output: output.softmax(-1)[unit]


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_linear_fill(peer, share):
    images = torch.from_numpy(torch_models.images(size=SIZE))
    missing = (np.random.default_rng(0).random((3, *SIZE)) < share).astype("float32")
    expected = [
        peer.NoisyLinearImputer()(image, torch.from_numpy(1 - m)) for image, m in zip(images, missing, strict=True)
    ]
    found = fill.solve(images.permute(0, 2, 3, 1), torch.from_numpy(missing)[..., None], EXACT)
    close(found, torch.stack(expected).permute(0, 2, 3, 1), 1e-4)  # ours is in single precision


def test_road(peer, monkeypatch):
    monkeypatch.setattr(fill, "STEPS", EXACT)
    module, x = torch_models.drawn(torch_models.Plain()), torch.from_numpy(torch_models.images(size=SIZE))
    targets = [softmax(unit) for unit in UNITS]
    expected = peer.ROADCombined()(x, MAPS, targets, module)
    found = ke.metrics.road(module, x, UNITS, MAPS[..., None], noise=0)
    difference = found.curves["insertion"] - found.curves["deletion"]
    close(difference.mean(-1)[:, 0] / 2, expected)
    # The trapezoidal rule counts the first and the last share by half.
    close(found.values, (difference.sum(-1) - (difference[..., 0] + difference[..., -1]) / 2) / 8)


def test_average_drop_and_increase(torchvision):
    reason = "pytorch-grad-cam is not installed: make test-peers"
    metrics = pytest.importorskip("pytorch_grad_cam.metrics.cam_mult_image", reason=reason, exc_type=ImportError)
    module, x = torch_models.drawn(torch_models.Plain()), torch.from_numpy(torch_models.images(size=SIZE))
    maps = MAPS / MAPS.max((1, 2), keepdims=True)
    targets = [softmax(unit) for unit in UNITS]
    with torch.no_grad():
        own = module(x).softmax(-1)[torch.arange(3), UNITS].numpy()
    drop, increase = (
        f(module, x, UNITS, maps[..., None], baseline=0.0).values[:, 0]
        for f in (ke.metrics.average_drop, ke.metrics.average_increase)
    )
    close(drop * own, metrics.DropInConfidence()(x, maps, targets, module))
    close(increase, metrics.IncreaseInConfidence()(x, maps, targets, module))


def test_ties_remove_the_whole_image(peer):
    """Half of this map is 0: below its median, the peer's percentiles are 0, and it finds no pixel to leave."""
    map_ = np.zeros(SIZE, "float32")
    map_[: SIZE[0] // 2 - 1] = MAPS[0, : SIZE[0] // 2 - 1]
    remove = peer.RemoveMostRelevantFirst(40, lambda image, mask: mask)
    assert remove(torch.zeros(3, *SIZE), torch.from_numpy(map_)).sum() == 0
