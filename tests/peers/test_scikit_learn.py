"""Metrics of maps beside scikit-learn's and SciPy's."""

import numpy as np
import pytest

import keras_explainable as ke
from keras_explainable.metrics.complexity import edges
from support.compare import close

pytestmark = pytest.mark.peers
RNG = np.random.default_rng(0)
MAPS = RNG.normal(size=(4, 9, 8, 2)).round(1)  # some values are equal
MASKS = RNG.random((4, 9, 8, 2)) < 0.3


def each(function):
    return np.array(
        [[function(MASKS[n, ..., k].ravel(), MAPS[n, ..., k].ravel()) for k in range(2)] for n in range(len(MAPS))]
    )


@pytest.fixture
def peer():
    return pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed: make test-peers")


def test_roc_auc_and_average_precision(peer):
    close(ke.metrics.roc_auc(maps=MAPS, masks=MASKS).values, each(peer.roc_auc_score))
    close(ke.metrics.average_precision(maps=MAPS, masks=MASKS).values, each(peer.average_precision_score))


def test_pixel_ap(peer):
    maps = MAPS.astype("float32").astype("float64")
    low, high = (f(maps, axis=(1, 2), keepdims=True) for f in (np.min, np.max))
    scaled = np.floor((maps - low) / (high - low) * 1000)
    assert ke.metrics.pixel_ap(MAPS, MASKS) == pytest.approx(
        peer.average_precision_score(MASKS.ravel(), scaled.ravel())
    )


def test_edge_likeness():
    stats = pytest.importorskip("scipy.stats", reason="SciPy is not installed")
    x = RNG.random((4, 9, 8, 3)).astype("float32")
    strength = edges(x)
    expected = [
        [stats.spearmanr(abs(MAPS[n, ..., k]).ravel(), strength[n].ravel()).statistic for k in range(2)]
        for n in range(4)
    ]
    close(ke.metrics.edge_likeness(x=x, maps=MAPS).values, np.array(expected))


def test_sobel():
    ndimage = pytest.importorskip("scipy.ndimage", reason="SciPy is not installed")
    x = RNG.random((2, 9, 8, 3))
    expected = [
        np.sqrt(sum(ndimage.sobel(image[..., c], axis, mode="nearest") ** 2 for axis in (0, 1) for c in range(3)))
        for image in x
    ]
    close(edges(x), np.array(expected))
