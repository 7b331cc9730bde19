"""The performance information curve beside PAIR's (the package `saliency`), with the same masks and the same images.

What differs: sizes are those of WebP there, and those of zlib here; the scores have their running maximum there, unless
told otherwise; the area is that of 1001 points of the curve there, and that of the curve itself here; more pixels are
shown there if values are equal, here there are none.
"""

import importlib.util

import numpy as np
import pytest

import keras_explainable as ke
from keras_explainable.metrics import information
from support import peers_old
from support.compare import close

pytestmark = pytest.mark.peers
RNG = np.random.default_rng(33)
SIZE, UNITS = (16, 20), [0, 0]
IMAGES = RNG.integers(0, 256, (2, *SIZE, 3), "uint8")
IMAGES[:, 0, 0], IMAGES[:, 0, 1] = 0, 255  # so that 8 bits for the image's range are these
MAPS, SEED_PIXELS = RNG.random((2, *SIZE), "float32"), RNG.random(SIZE) < 0.03
WEIGHTS = RNG.normal(size=(SIZE[0] * SIZE[1] * 3, 3)) / 10
NUMBER = SIZE[0] * SIZE[1]
# Both round these to 3, 10, ... pixels.
THRESHOLDS = [(shown - 0.25) / NUMBER for shown in (3, 10, 32, 64, 110)]


@pytest.fixture
def peer(monkeypatch):
    """Its module alone: another package of its name is in this repository. It calls NumPy's trapezoid by an old name."""
    path = peers_old.installed("lib/python3*/site-packages/saliency/metrics/pic.py")
    spec = importlib.util.spec_from_file_location("pair_pic", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(np, "trapz", np.trapezoid, raising=False)
    return module


def model(images):
    """Probabilities of images with values from 0 to 1."""
    logits = np.asarray(images, "float64").reshape(len(images), -1) @ WEIGHTS
    odds = np.exp(logits - logits.max(1, keepdims=True))
    return odds / odds.sum(1, keepdims=True)


def in_bytes(image):
    return np.floor(np.asarray(image) * 255 + 0.5).astype("uint8")


@pytest.mark.parametrize("running_maximum", [False, True])
def test_pic(peer, monkeypatch, running_maximum):
    def fill(images, masks):
        shown = np.asarray(masks) == 0
        filled = [peer.create_blurred_image(in_bytes(i), s | SEED_PIXELS) for i, s in zip(images, shown, strict=True)]
        return np.stack(filled).astype("float32") / 255

    monkeypatch.setattr(information, "size", lambda copy, _: peer.estimate_image_entropy(in_bytes(copy)))
    found = ke.metrics.pic(model, IMAGES / np.float32(255), UNITS, MAPS[..., None], fill=fill, thresholds=THRESHOLDS)
    for n, unit in enumerate(UNITS):
        expected = peer.compute_pic_metric(
            IMAGES[n],
            MAPS[n],
            SEED_PIXELS,
            lambda images, unit=unit: model(images / np.float32(255))[:, unit],
            THRESHOLDS,
            min_pred_value=0,
            keep_monotonous=running_maximum,
        )
        information_, score = (found.curves[name][n, 0] for name in ("information", "score"))
        if running_maximum:
            score = np.maximum.accumulate(score)
        assert len(np.unique(information_)) == len(THRESHOLDS) + 2
        along = np.argsort(information_)
        close(np.interp(expected.curve_x, information_[along], score[along]), expected.curve_y)
        area = np.trapezoid(score[along], information_[along])
        assert area == pytest.approx(expected.auc, abs=1e-3)
        if running_maximum:  # of these random maps
            assert area > found.values[n, 0] + 0.1
        else:
            assert area == pytest.approx(found.values[n, 0])
