"""Class activation maps where a closed form or another method says what they must be."""

import keras
import numpy as np
import pytest
from keras import layers as L

import keras_explainable as ke
from keras_explainable.numerics import random
from reference import cams, meta, smooth_gradcampp
from support import keras_models
from support.calls import raw
from support.compare import close
from support.selection import first_fast, very_slow_compiled
from support.to_reference import as_reference

pytestmark = very_slow_compiled

UNITS = np.array([[1, 4], [0, 0], [3, 2]])


def pooled():
    """Global pooling and a linear layer behind the signal, whose ReLU leaves no channel empty."""
    return keras_models.build("sequential"), keras_models.images("sequential")


def test_where_a_linear_head_follows_gradient_cams_are_cam():
    model, x = pooled()
    plain = raw("cam", model, x, UNITS)
    pixels = 8 * 10
    for method in ("gradcam", "hirescam", "xgradcam"):
        scores, maps = raw(method, model, x, UNITS)
        close((scores, maps * pixels), plain, 1e-4)


def test_hirescam_and_ablationcam_add_up_to_the_score_without_its_bias():
    model, x = pooled()
    bias = np.asarray(model.get_layer("logits").bias)[UNITS]
    scores, maps = raw("hirescam", model, x, UNITS)
    close([maps.sum((1, 2))], [scores - bias], 1e-4)
    # Without a channel the score lacks what the channel adds to it: w_c |f| = W_c mean(A_c).
    signal = keras.Model(model.inputs, model.get_layer("conv2").output).predict(x, verbose=0)
    kernel = np.asarray(model.get_layer("logits").kernel)
    weights = kernel.T[UNITS] * signal.mean((1, 2))[:, None] / abs(scores)[..., None]
    close([raw("ablationcam", model, x, UNITS).maps], [np.einsum("bhwc,bkc->bhwk", signal, weights)], 1e-4)


def test_layercam_is_hirescam_of_positive_gradients():
    model, x = pooled()
    kernel, bias = model.get_layer("logits").get_weights()
    model.get_layer("logits").set_weights([abs(kernel), bias])
    close(raw("layercam", model, x, UNITS), raw("hirescam", model, x, UNITS))


@pytest.mark.parametrize("name", ["channels_first", "one_dimensional"])
def test_layercam_of_several_layers(name):
    layers = ["conv1", "conv2"] if name == "one_dimensional" else ["pool", "relu3"]
    model, x = keras_models.build(name), keras_models.images(name)
    last = keras_models.channels_last(name, x.astype("float64"))
    theirs = cams.layercam(as_reference(keras_models.build(name)), last, UNITS, layers=layers)
    close(raw("layercam", model, x, UNITS, layers=layers), theirs, 1e-4)


def test_layers_are_a_list():
    model, x = pooled()
    for layers in ("conv1", []):
        with pytest.raises(ke.errors.InputError, match="a list of layers"):
            raw("layercam", model, x, UNITS, layers=layers)


def planted(places, size=(6, 7)):
    """A model whose last signal is a pattern in some channels: the image's first channel times a number for each."""
    x = image = keras.Input((*size, 1))
    x = L.Conv2D(len(places), 1, use_bias=False, name="signal")(x)
    model = keras.Model(image, L.Dense(2, name="logits")(L.GlobalAveragePooling2D()(x)))
    head = model.get_layer("logits")
    model.get_layer("signal").set_weights([np.array(places, "float32").reshape(1, 1, 1, -1)])
    head.set_weights([np.ones((len(places), 2), "float32"), np.zeros(2, "float32")])
    return model


@pytest.mark.parametrize("factors", [[1.0, 2.0, -1.0], [-1.0, -2.0, 1.0]])
def test_eigencam_finds_the_one_pattern_and_its_sign(factors, rng):
    x = rng.normal(size=(2, 6, 7, 1)).astype("float32")
    _, maps = raw("eigencam", planted(factors), x)
    pattern = (x - x.mean((1, 2), keepdims=True)) * np.sign(sum(factors)) * np.linalg.norm(factors)
    close([maps], [np.repeat(pattern, 2, -1)], 1e-4)
    _, maps = raw("eigengradcam", planted(factors), x)
    close([maps], [np.repeat(pattern, 2, -1) / 42], 1e-4)


def test_eigencam_is_the_same_of_channels_and_of_places(rng):
    for channels in (5, 60):  # fewer and more than the 42 places
        factors = np.abs(rng.normal(size=channels))
        x = rng.normal(size=(2, 6, 7, 1)).astype("float32")
        pattern = (x - x.mean((1, 2), keepdims=True)) * np.linalg.norm(factors)
        close([raw("eigencam", planted(factors), x).maps[..., :1]], [pattern], 1e-4)


@pytest.mark.filterwarnings("ignore:.*the same everywhere")
def test_a_constant_signal_has_no_component():
    for method in ("eigencam", "eigengradcam"):
        assert not raw(method, planted([1.0, 2.0]), np.ones((1, 6, 7, 1), "float32")).maps.any()


@pytest.mark.parametrize(("name", "at_once"), [("one_dimensional", 1), ("one_dimensional", 7), ("channels_first", 32)])
def test_scorecam_of_the_strongest_channels(name, at_once):
    model, x = keras_models.build(name), keras_models.images(name)
    last = keras_models.channels_last(name, x.astype("float64"))
    theirs = cams.scorecam(as_reference(keras_models.build(name)), last, UNITS, baseline=0.3, max_channels=3)
    close(raw("scorecam", model, x, UNITS, baseline=0.3, max_channels=3, at_once=at_once), theirs, 1e-4)


@pytest.mark.parametrize("name", ["one_dimensional", "channels_first"])
@pytest.mark.parametrize("kind", ["colour", "images"])
def test_scorecam_before_a_colour_or_images(rng, name, kind):
    model, x = keras_models.build(name), keras_models.images(name)
    last = keras_models.channels_last(name, x.astype("float64"))
    behind = np.array([0.3, -0.2, 0.5]) if kind == "colour" else rng.normal(size=last.shape)
    theirs = cams.scorecam(as_reference(keras_models.build(name)), last, UNITS, baseline=behind)
    baseline = np.moveaxis(behind, -1, 1) if kind == "images" and name == "channels_first" else behind
    close(raw("scorecam", model, x, UNITS, baseline=baseline), theirs, 1e-4)


def test_scorecam_before_its_mean_colour():
    model, x = pooled()
    each = [raw("scorecam", model, one[None], 1, baseline=one.mean((0, 1))) for one in x]
    together = raw("scorecam", model, x, 1, baseline="mean")
    close(together, [np.concatenate(v) for v in zip(*each, strict=True)], 1e-4)
    with pytest.raises(ke.errors.InputError, match=r"baseline of shape \(2,\)"):
        raw("scorecam", model, x, 1, baseline=[0.0, 1.0])


@pytest.mark.parametrize(
    "params",
    [{"max_channels": 0}, {"max_channels": 2.5}, {"max_channels": "2"}, {"max_channels": 99.0}, {"at_once": 0}],
)
def test_scorecam_needs_a_channel(params):
    with pytest.raises(ke.errors.InputError, match="1 or more"):
        raw("scorecam", *pooled(), UNITS, **params)


def test_finercam_is_gradcam_of_a_difference():
    model, x = pooled()
    scores, maps = raw("finercam", model, x, 1, others=[0, 3], gamma=0.5)
    every = raw("gradcam", model, x)
    close((scores, maps), (every.scores[:, 1:2], (every.maps @ [-0.25, 1, 0, -0.25, 0])[..., None]), 1e-4)
    close(raw("finercam", model, x, UNITS, gamma=0.0), raw("gradcam", model, x, UNITS))
    close(
        raw("finercam", model, x, 1, others=[0, 3, 1], gamma=0.5), (scores, maps), 1e-4
    )  # a unit is no other of itself
    close(raw("finercam", model, x, 1, others=[1]), raw("gradcam", model, x, 1))
    with pytest.raises(ke.errors.InputError, match="units 0 to 4"):
        raw("finercam", model, x, 1, others=[5])
    with pytest.raises(ke.errors.InputError, match="others=0"):
        raw("finercam", model, x, 1, others=0)


def test_finercam_compares_a_chosen_unit_with_all():
    model, x = keras_models.build("functional"), keras_models.images("functional", 2)
    expected = raw("finercam", model, x, [[1, 3], [1, 3]])
    assert not np.allclose(expected.maps, raw("gradcam", model, x, [[1, 3], [1, 3]]).maps)
    close(raw("finercam", model, x, score=ke.scores.unit([1, 3])), expected)
    close(raw("finercam", model, x, [1, 0], score=ke.scores.unit([1, 3])), raw("finercam", model, x, [3, 1]))


def test_finercam_compares_with_the_nearest_scores():
    model, x = pooled()
    scores = raw("gradcam", model, x).scores
    for b, row in enumerate(scores):
        near = np.argsort(abs(row - row[2]))[1:3]
        one = x[b : b + 1]
        for two in (np.int64(2), 2):
            close(raw("finercam", model, one, 2, others=two), raw("finercam", model, one, 2, others=near.tolist()))


def test_finercam_of_every_unit_leaves_out_each():
    model, x = pooled()
    theirs = cams.finercam(as_reference(keras_models.build("sequential")), x.astype("float64"), others=[0, 3])
    close(raw("finercam", model, x, others=[0, 3]), theirs, 1e-4)


@pytest.mark.parametrize("name", ["sequential", "convolutional_head", "channels_first"])
def test_cam_of_scores_that_are_linear_in_the_units(name):
    model, x = keras_models.build(name), keras_models.images(name)
    every, s = raw("cam", model, x), ke.scores
    close(raw("cam", model, x, score=s.unit([3, 1])), [v[..., [3, 1]] for v in every])
    ours = raw("cam", model, x, [1, 1, 1], score=s.margin([0, 2], [1, 4]))
    close(ours, [v[..., 2:3] - v[..., 4:5] for v in every], 1e-4)
    highest = every.scores.argsort(axis=1)[:, ::-1][:, :2]
    close(raw("cam", model, x, score=s.top_k(2)), raw("cam", model, x, highest))
    for score in (s.margin(1), s.value(1), lambda outputs: outputs[:, :1]):
        with pytest.raises(ke.errors.InputError, match="linear in the units.*Use `gradcam`"):
            raw("cam", model, x, score=score)


@pytest.mark.parametrize("kind", ["range", "absolute"])
@pytest.mark.parametrize("name", first_fast("one_dimensional", "channels_first", "three_dimensional"))
def test_smooth_gradcampp_equals_its_twin(name, kind):
    last = keras_models.channels_last(name, keras_models.images(name).astype("float64"))
    draws = [keras.ops.convert_to_numpy(random.normal((1, *last.shape[1:]), 7, i)).astype("float64") for i in range(4)]
    scale = meta.ranges(last) if kind == "range" else 1.0
    noises, net = [0.2 * scale * d for d in draws], as_reference(keras_models.build(name))
    theirs = smooth_gradcampp.smooth_gradcampp(net, last, UNITS, noises)
    params = {"repetitions": 4, "noise": 0.2, "noise_kind": kind, "seed": 7}
    close(raw("smooth_gradcampp", keras_models.build(name), keras_models.images(name), UNITS, **params), theirs, 1e-4)


def test_smooth_gradcampp_without_noise_is_gradcampp():
    model, x = pooled()
    smooth = raw("smooth_gradcampp", model, x, UNITS, repetitions=2, noise=0.0)
    close(smooth, raw("gradcampp", model, x, UNITS), 1e-4)
    with pytest.raises(ke.errors.InputError, match="a whole number of 1 or more"):
        raw("smooth_gradcampp", model, x, UNITS, repetitions=0)


def test_seg_gradcam_is_gradcam_of_a_region(rng):
    x = image = keras.Input((*keras_models.SIZE, 3))
    x = L.Conv2D(4, 3, padding="same", activation="relu", name="signal")(x)
    model = keras_models.randomize(keras.Model(image, L.Conv2D(5, 1, name="classes")(x)))
    photos, mask = rng.normal(size=(2, *keras_models.SIZE, 3)).astype("float32"), np.zeros(keras_models.SIZE, bool)
    mask[4:9, 6:17] = True
    a = keras.Model(image, model.get_layer("signal").output).predict(photos, verbose=0)
    each = a @ np.asarray(model.get_layer("classes").kernel)[0, 0, :, 3:4]  # what each place adds to its own score
    params = {"layer": "signal", "score": ke.scores.region(mask, 3)}
    close([raw("gradcam", model, photos, **params).maps], [each / mask.size], 1e-4)
    scores, maps = raw("hirescam", model, photos, **params)
    close([maps], [each * mask[..., None] / mask.sum()], 1e-4)
    close([maps.sum((1, 2))], [scores - np.asarray(model.get_layer("classes").bias)[3]], 1e-4)
