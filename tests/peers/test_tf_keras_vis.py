"""Class activation maps and gradients of Keras models, beside the raw maps of tf-keras-vis.

Its Grad-CAM++ keeps the factor exp(score) and divides each channel's alphas by their sum, as here ours are. Its Score-CAM
weighs channels by the softmax over units, and of few channels takes those with the largest deviation from their mean: the
quotient of two units' probabilities is exp of the difference of their scores, which ours takes the softmax of.
"""

import keras
import numpy as np
import pytest

import keras_explainable as ke
from keras_explainable.numerics import random
from support import keras_models
from support.calls import module, raw
from support.compare import close

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

    x = keras_models.images(kind)
    options = {"penultimate_layer": layer, "expand_cam": False, "normalize_cam": False, "activation_modifier": None}
    theirs = Gradcam(keras_models.build(kind))(score(), x, **options)
    assert np.ptp(theirs) > 0
    close([raw("gradcam", keras_models.build(kind), x, UNITS, layer=layer).maps[..., 0]], [theirs])


@pytest.mark.parametrize("kind", ["functional", "nested_functional", "shared"])
def test_gradients_and_smoothgrad_without_noise(peer, kind):
    from tf_keras_vis.saliency import Saliency

    x, explainer = keras_models.images(kind), Saliency(keras_models.build(kind))
    options = {"keepdims": True, "normalize_map": False, "gradient_modifier": None}
    theirs = np.asarray(explainer(score(), x, **options))
    close([raw("gradients", keras_models.build(kind), x, UNITS, reduce=None).maps[:, 0]], [theirs])
    mean = np.asarray(explainer(score(), x, **options, smooth_samples=3, smooth_noise=0.0))
    ours = raw("smoothgrad", keras_models.build(kind), x, UNITS, repetitions=3, noise=0.0).maps[..., 0]
    close([ours], [abs(mean).mean(-1)])


@pytest.mark.parametrize("kind", ["functional", "shared"])
def test_smoothgrad_of_the_same_noise(peer, kind, monkeypatch):
    from tf_keras_vis.saliency import Saliency

    x, n = keras_models.images(kind), 4
    noise = np.stack([random.normal((1, *x.shape[1:]), 7, i) for i in range(n)])
    monkeypatch.setattr(np.random, "normal", lambda mean, sigma, shape: np.asarray(sigma) * noise)
    options = {"keepdims": True, "normalize_map": False, "gradient_modifier": None}
    options |= {"smooth_samples": n, "smooth_noise": 0.2}
    mean = np.asarray(Saliency(keras_models.build(kind))(score(), x, **options))
    assert abs(mean).max() > 0
    ours = raw("smoothgrad", keras_models.build(kind), x, UNITS, repetitions=n, noise=0.2, seed=7).maps[..., 0]
    close([ours], [abs(mean).mean(-1)], 1e-4)


@pytest.mark.parametrize(("kind", "layer"), [("functional", "conv3"), ("functional", "conv1"), ("shared", "stem")])
def test_gradcampp_with_alphas_that_sum_to_one(peer, kind, layer, monkeypatch):
    from tf_keras_vis.gradcam_plus_plus import GradcamPlusPlus

    def renormalised(positive, below):
        alpha = keras.ops.where(below == 2, 0.0, 1 / below)  # below is 2 where there is no gradient
        total = keras.ops.sum(alpha, axis=(2, 3), keepdims=True)
        return positive * alpha / keras.ops.where(total == 0, 1.0, total)

    monkeypatch.setattr(module("methods.cams.gradcam"), "quotient", renormalised)
    options = {"penultimate_layer": layer, "expand_cam": False, "normalize_cam": False}
    theirs = np.asarray(GradcamPlusPlus(keras_models.build(kind))(score(), keras_models.images(kind), **options))
    assert np.ptp(theirs) > 0
    scores, maps = raw("gradcampp", keras_models.build(kind), keras_models.images(kind), UNITS, layer=layer)
    close([np.maximum(maps[..., 0], 0) * np.exp(scores)[..., None]], [theirs], 1e-4)


def agreed(a):
    """Of the channels of a signal (H, W, C), how few are both those of most deviation and those of the largest squares."""
    deviation, square = np.argsort(-a.std((0, 1))), np.argsort(-(a**2).mean((0, 1)))
    return next(n for n in range(2, a.shape[-1] + 1) if set(deviation[:n]) == set(square[:n]))


@pytest.mark.parametrize("few", [False, True])
def test_scorecam_of_a_quotient_of_probabilities(peer, few):
    from tf_keras_vis.scorecam import Scorecam

    model, layer = keras_models.build("functional"), "relu2"  # of the image's size: nothing is resized
    signal = keras.Model(model.inputs, model.get_layer(layer).output)
    for x in keras_models.images("functional")[:, None]:  # theirs takes the channels of all images of a batch together
        a = signal.predict(x, verbose=0)[0]
        channels = agreed(a) if few else a.shape[-1]
        assert few == (channels < a.shape[-1])
        weights = []

        def quotient(outputs, weights=weights):
            weights.append(float(outputs[0, 1] / outputs[0, 3]))
            return outputs[:, 1] / outputs[:, 3]

        options = {"penultimate_layer": layer, "seek_penultimate_conv_layer": False, "max_N": channels}
        options |= {"expand_cam": False, "normalize_cam": False, "activation_modifier": None}
        theirs = np.asarray(Scorecam(model)(quotient, x, **options)) / sum(weights)
        assert len(weights) == channels
        params = {"score": ke.scores.margin(1, 3), "max_channels": channels, "layer": layer}
        close([raw("scorecam", model, x, **params).maps[..., 0]], [theirs], 1e-4)
