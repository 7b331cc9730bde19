"""Metrics of maps beside Xplique's.

Its mask of the drop, gain and increase is |A| scaled to values from 0 to 1, which for a positive map with a zero is ours,
and what is hidden is 0. Its entropy is not relative to the largest one. Its deletion and insertion are means over images, here
of one, and hide by 0 both; equal values are in the reverse order of pixels there, here there are none.
"""

import keras
import numpy as np
import pytest

import keras_explainable as ke
from support import keras_models
from support.compare import close

if keras.backend.backend() != "tensorflow":
    pytest.skip("Xplique evaluates Keras models on TensorFlow", allow_module_level=True)

pytestmark = pytest.mark.peers
UNITS = [1, 4, 2]
MAPS = np.maximum(np.random.default_rng(0).normal(size=(3, 20, 24)), 0).astype("float32")


@pytest.fixture
def peer():
    reason = "Xplique is not installed, or not for these versions: make test-peers"
    return pytest.importorskip("xplique.metrics", reason=reason, exc_type=ImportError)


@pytest.mark.parametrize("name", ["Drop", "Gain", "Increase"])
def test_average_drop_gain_and_increase(peer, name):
    model, x = keras_models.build("functional"), keras_models.images("functional")
    targets = np.eye(keras_models.UNITS, dtype="float32")[UNITS]
    metric = getattr(peer, f"Average{name}Metric")(model, x, targets, activation="softmax")
    ours = getattr(ke.metrics, f"average_{name.lower()}")(model, x, UNITS, MAPS[..., None], baseline=0.0)
    close(ours.values[:, 0], metric.detailed_evaluate(x, targets, MAPS), 1e-4)


@pytest.mark.parametrize("name", ["deletion", "insertion"])
def test_deletion_and_insertion(peer, name):
    model, x = keras_models.build("functional"), keras_models.images("functional")
    targets, steps = np.eye(keras_models.UNITS, dtype="float32")[UNITS], 12  # 40 pixels each
    maps = np.random.default_rng(1).normal(size=MAPS.shape).astype("float32")
    metric = getattr(peer, name.capitalize())
    expected = [
        metric(model, x[n : n + 1], targets[n : n + 1], steps=steps, activation="softmax").evaluate(maps[n : n + 1])
        for n in range(len(x))
    ]
    found = getattr(ke.metrics, name)(model, x, UNITS, maps[..., None], fill=0, points=steps + 1)
    close(found.values[:, 0], np.array(expected))


def test_entropy_and_gini(peer):
    ours = [getattr(ke.metrics, name)(maps=MAPS[..., None]).values[:, 0] for name in ("entropy", "gini")]
    close(ours[0] * np.log(480), peer.Complexity().detailed_evaluate(MAPS), 1e-4)
    close(ours[1], peer.Sparseness().detailed_evaluate(MAPS), 1e-4)
