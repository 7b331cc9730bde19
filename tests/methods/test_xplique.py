"""Grad-CAM, gradients and occlusion of Keras models, beside Xplique's.

Its Grad-CAM++ has the mean of a channel where the paper has its sum, so that it is another map.
"""

import keras
import numpy as np
import pytest

import models
from helpers import close, raw

if keras.backend.backend() != "tensorflow":
    pytest.skip("Xplique explains Keras models on TensorFlow", allow_module_level=True)

pytestmark = pytest.mark.peers
UNITS = [1, 4, 2]
KINDS = ["functional", "nested_functional", "shared"]


@pytest.fixture
def peer():
    reason = "Xplique is not installed, or not for these versions: make test-peers"
    return pytest.importorskip("xplique.attributions", reason=reason, exc_type=ImportError)


def explained(explainer, x):
    return np.asarray(explainer(x, np.eye(models.UNITS, dtype="float32")[UNITS]))


@pytest.mark.parametrize("layer", ["conv1", "relu2"])  # of the image's size, to which theirs are resized
def test_gradcam(peer, layer):
    x = models.images("functional")
    theirs = explained(peer.GradCAM(models.build("functional"), conv_layer=layer), x)
    assert np.ptp(theirs) > 0
    ours = raw("gradcam", models.build("functional"), x, UNITS, layer=layer).maps
    close([np.maximum(ours, 0)], [theirs])


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_and_smoothgrad_without_noise(peer, kind):
    x = models.images(kind)
    close(
        [raw("gradients", models.build(kind), x, UNITS, reduce="max").maps],
        [explained(peer.Saliency(models.build(kind)), x)],
    )
    signed = explained(peer.GradientInput(models.build(kind), reducer=None), x)
    close([raw("input_x_gradient", models.build(kind), x, UNITS, reduce=None).maps[:, 0]], [signed])
    smooth = explained(peer.SmoothGrad(models.build(kind), nb_samples=3, noise=0.0, reducer=None), x)
    close(
        [raw("smoothgrad", models.build(kind), x, UNITS, repetitions=3, noise=0.0).maps[..., 0]], [abs(smooth).mean(-1)]
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stride", [4, 2])
def test_occlusion_sums_what_ours_averages(peer, kind, stride):
    x = models.images(kind)
    theirs = explained(peer.Occlusion(models.build(kind), patch_size=4, patch_stride=stride, occlusion_value=0.2), x)
    covered = np.zeros(models.SIZE)
    for i in range(0, models.SIZE[0] - 3, stride):
        for j in range(0, models.SIZE[1] - 3, stride):
            covered[i : i + 4, j : j + 4] += 1
    ours = raw("occlusion", models.build(kind), x, UNITS, patch=4, stride=stride, baseline=0.2).maps
    close([ours * covered[..., None]], [theirs])
