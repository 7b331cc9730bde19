"""Grad-CAM and gradients of Keras models, beside the raw maps of tf-keras-vis.

Its Grad-CAM++ divides each channel's alphas by their sum, so that it is another map.
"""

import keras
import numpy as np
import pytest

import models
from helpers import close, raw

if keras.backend.backend() != "tensorflow":
    pytest.skip("tf-keras-vis explains Keras models on TensorFlow", allow_module_level=True)

pytestmark = pytest.mark.peers
UNITS = [1, 4, 2]


@pytest.fixture
def peer():
    reason = "tf-keras-vis is not installed, or not for these versions: make test-peers"
    return pytest.importorskip("tf_keras_vis", reason=reason, exc_type=ImportError)


def score():
    from tf_keras_vis.utils.scores import CategoricalScore

    return CategoricalScore(UNITS)


@pytest.mark.parametrize(("kind", "layer"), [("functional", "conv3"), ("functional", "conv1"), ("shared", "stem")])
def test_gradcam(peer, kind, layer):
    from tf_keras_vis.gradcam import Gradcam

    x = models.images(kind)
    options = {"penultimate_layer": layer, "expand_cam": False, "normalize_cam": False, "activation_modifier": None}
    theirs = Gradcam(models.build(kind))(score(), x, **options)
    assert np.ptp(theirs) > 0
    close([raw("gradcam", models.build(kind), x, UNITS, layer=layer).maps[..., 0]], [theirs])


@pytest.mark.parametrize("kind", ["functional", "nested_functional", "shared"])
def test_gradients_and_smoothgrad_without_noise(peer, kind):
    from tf_keras_vis.saliency import Saliency

    x, explainer = models.images(kind), Saliency(models.build(kind))
    options = {"keepdims": True, "normalize_map": False, "gradient_modifier": None}
    theirs = np.asarray(explainer(score(), x, **options))
    close([raw("gradients", models.build(kind), x, UNITS, reduce=None).maps[:, 0]], [theirs])
    mean = np.asarray(explainer(score(), x, **options, smooth_samples=3, smooth_noise=0.0))
    ours = raw("smoothgrad", models.build(kind), x, UNITS, repetitions=3, noise=0.0).maps[..., 0]
    close([ours], [abs(mean).mean(-1)])
