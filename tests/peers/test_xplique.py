"""Class activation maps, gradients and perturbation methods of Keras models, beside Xplique's.

Where definitions differ: its Grad-CAM++ has means over space where the paper has sums, which a score as many times as large
undoes; its variances have n - 1 where ours have n; its RISE cuts all masks of a batch at one place; its Sobol indices
divide by the variance of the first scores alone; its HSIC has the median of the scores, where ours has their deviation,
and n where ours has (n - 1)^2; both lay values over the image by cubics. It is told our draws.
"""

from functools import partial

import keras
import numpy as np
import pytest

from keras_explainable.masking.segments import grid as grid_segments
from keras_explainable.methods.perturbation.rise import rise_rows
from keras_explainable.numerics import random
from support import keras_models
from support.calls import raw
from support.compare import close

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
    return np.asarray(explainer(x, np.eye(keras_models.UNITS, dtype="float32")[UNITS]))


@pytest.mark.parametrize("layer", ["conv1", "relu2"])  # of the image's size, to which theirs are resized
def test_gradcam(peer, layer):
    x = keras_models.images("functional")
    theirs = explained(peer.GradCAM(keras_models.build("functional"), conv_layer=layer), x)
    assert np.ptp(theirs) > 0
    ours = raw("gradcam", keras_models.build("functional"), x, UNITS, layer=layer).maps
    close([np.maximum(ours, 0)], [theirs])


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_and_smoothgrad_without_noise(peer, kind):
    x = keras_models.images(kind)
    close(
        [raw("gradients", keras_models.build(kind), x, UNITS, reduce="max").maps],
        [explained(peer.Saliency(keras_models.build(kind)), x)],
    )
    signed = explained(peer.GradientInput(keras_models.build(kind), reducer=None), x)
    close([raw("input_x_gradient", keras_models.build(kind), x, UNITS, reduce=None).maps[:, 0]], [signed])
    smooth = explained(peer.SmoothGrad(keras_models.build(kind), nb_samples=3, noise=0.0, reducer=None), x)
    close(
        [raw("smoothgrad", keras_models.build(kind), x, UNITS, repetitions=3, noise=0.0).maps[..., 0]],
        [abs(smooth).mean(-1)],
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stride", [4, 2])
def test_occlusion_sums_what_ours_averages(peer, kind, stride):
    x = keras_models.images(kind)
    theirs = explained(
        peer.Occlusion(keras_models.build(kind), patch_size=4, patch_stride=stride, occlusion_value=0.2), x
    )
    covered = np.zeros(keras_models.SIZE)
    for i in range(0, keras_models.SIZE[0] - 3, stride):
        for j in range(0, keras_models.SIZE[1] - 3, stride):
            covered[i : i + 4, j : j + 4] += 1
    ours = raw("occlusion", keras_models.build(kind), x, UNITS, patch=4, stride=stride, baseline=0.2).maps
    close([ours * covered[..., None]], [theirs])


@pytest.mark.parametrize("layer", ["conv1", "relu2"])
def test_gradcampp_of_a_score_as_many_times_as_large_as_there_are_pixels(peer, layer):
    x, large = keras_models.images("functional"), keras_models.build("functional")
    head = large.get_layer("logits")
    head.set_weights([w * np.prod(keras_models.SIZE) for w in head.get_weights()])
    theirs = explained(peer.GradCAMPP(large, conv_layer=layer), x)
    assert np.ptp(theirs) > 0
    ours = raw("gradcampp", keras_models.build("functional"), x, UNITS, layer=layer).maps
    close([np.maximum(ours, 0)], [theirs], 1e-4)


@pytest.mark.parametrize(
    ("method", "name"), [("smoothgrad", "SmoothGrad"), ("vargrad", "VarGrad"), ("squaregrad", "SquareGrad")]
)
def test_gradients_of_noisy_copies(peer, method, name, monkeypatch):
    from xplique.attributions.gradient_statistics.gradient_statistic import GradientStatistic

    x, n = keras_models.images("shared"), 4
    noise = np.concatenate([random.normal((1, *x.shape[1:]), 7, i) for i in range(n)])

    def perturbed(images, copies, sigma):
        assert copies == n
        images = np.asarray(images)
        return np.repeat(images, n, axis=0) + sigma * np.tile(noise, (len(images), 1, 1, 1))

    monkeypatch.setattr(GradientStatistic, "_perturb_samples", staticmethod(perturbed))
    theirs = explained(getattr(peer, name)(keras_models.build("shared"), nb_samples=n, noise=0.3, reducer=None), x)
    theirs = theirs * (n - 1) / n if method == "vargrad" else theirs
    params = {"repetitions": n, "noise": 0.3, "noise_kind": "absolute", "seed": 7}
    close([raw(method, keras_models.build("shared"), x, UNITS, **params).maps[..., 0]], [abs(theirs).mean(-1)], 1e-4)


def test_rise(peer, monkeypatch):
    import tensorflow as tf

    x, n, grid = keras_models.images("functional"), 24, 4
    seen, shifts = rise_rows(n, (grid, grid), keras_models.SIZE, 0.4, 5)

    def cut(masks, size):
        at = shifts.astype(int)
        return tf.stack([m[i : i + size[1], j : j + size[2]] for m, (i, j) in zip(masks, at, strict=True)])

    monkeypatch.setattr(peer.Rise, "_get_masks", staticmethod(lambda *args: tf.constant(seen[..., None])))
    monkeypatch.setattr(peer.Rise, "_apply_masks", staticmethod(peer.Rise._apply_masks.python_function))
    monkeypatch.setattr(tf.image, "random_crop", cut)
    params = {"nb_samples": n, "grid_size": grid, "preservation_probability": 0.4, "mask_value": 0.2}
    theirs = explained(peer.Rise(keras_models.build("functional"), **params), x)
    params = {"repetitions": n, "grid": grid, "p": 0.4, "baseline": 0.2, "seed": 5}
    close([raw("rise", keras_models.build("functional"), x, UNITS, **params).maps], [theirs], 1e-4)


def on_images(values):
    """Values of 4 x 4 segments (3, 16) over the images."""
    return np.asarray(values).reshape(3, 16)[:, grid_segments(keras_models.SIZE, (4, 4))[0]][..., None]


def test_sobol_with_the_variance_of_all_scores(peer):
    from xplique.attributions.global_sensitivity_analysis import JansenEstimator
    from xplique.attributions.global_sensitivity_analysis.replicated_designs import ReplicatedSampler

    x, n, found = keras_models.images("functional"), 8, []
    a, b = (random.on_host((n, 16), 5, 0, stream) for stream in (0, 1))

    class Sampler(ReplicatedSampler):
        def __call__(self, dimension, nb_design):
            return np.concatenate([a, b, self.build_replicated_design(a, b)])

    class Estimator(JansenEstimator):
        def __call__(self, masks, outputs, nb_design):
            total, f = super().__call__(masks, outputs, nb_design), np.asarray(outputs)
            found.append(np.asarray(total) * f[:n].var(ddof=1) / np.concatenate([f[:n], f[2 * n :]]).var())
            return total

    params = {"grid_size": 4, "nb_design": n, "sampler": Sampler(), "estimator": Estimator()}
    explained(peer.SobolAttributionMethod(keras_models.build("functional"), **params), x)
    params = {"repetitions": n, "segments": 4, "baseline": 0.0, "seed": 5}
    close([raw("sobol", keras_models.build("functional"), x, UNITS, **params).maps], [on_images(found)], 1e-4)


def test_hsic_with_the_deviation_of_the_scores(peer):
    from xplique.attributions.global_sensitivity_analysis import hsic_estimators, samplers
    from xplique.attributions.global_sensitivity_analysis.kernels import Kernel

    x, n, found = keras_models.images("functional"), 21, []
    z = (random.on_host((n, 16), 5) < 0.5).astype("float32")

    class Sampler(samplers.Sampler):
        def __call__(self, dimension, nb_design):
            return z

    class Estimator(hsic_estimators.BinaryEstimator):
        def output_kernel_func(self, X, Y):
            return partial(Kernel.from_string("rbf"), width=np.asarray(X).std())(X, Y)

        def __call__(self, masks, outputs, nb_design):
            found.append(super().__call__(masks, outputs, nb_design))
            return found[-1]

    params = {"grid_size": 4, "nb_design": n, "sampler": Sampler(binary=True), "estimator": Estimator()}
    explained(peer.HsicAttributionMethod(keras_models.build("functional"), **params), x)
    params = {"repetitions": n, "segments": 4, "baseline": 0.0, "seed": 5}
    ours = raw("hsic", keras_models.build("functional"), x, UNITS, **params).maps
    close([ours], [on_images(found) * n / (n - 1) ** 2], 1e-4)
