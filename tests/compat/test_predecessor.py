"""What users of keras-explainable wrote, as they wrote it; only the images are small and the network is untrained.

Where each call must be compiled, ResNet50V2 counts as slow, and a small network with its layers' names takes its place."""

import keras
import numpy as np
import pytest
from keras import layers as L
from keras import ops

import keras_explainable as ke
from keras_explainable.numerics import random
from reference import filters as slow_filters
from reference.resize import bilinear
from support.compare import close
from support.selection import slow_compiled, very_slow_compiled

BACKEND = keras.backend.backend()
SIZES = (64, 64)
on_tensorflow = pytest.mark.skipif(BACKEND != "tensorflow", reason="these lines are TensorFlow's")
BUILD = {
    "small": lambda shape: small(shape),
    "ResNet50V2": lambda shape: keras.applications.ResNet50V2(
        classifier_activation=None, weights=None, classes=10, input_shape=shape, name="rn50"
    ),
}
KINDS = ["small", pytest.param("ResNet50V2", marks=very_slow_compiled)]

pytestmark = [
    slow_compiled,
    pytest.mark.filterwarnings("ignore:The structure of `inputs`"),  # of models made with `rn50.inputs`
    pytest.mark.filterwarnings("ignore:.*the same everywhere"),
]


def small(shape):
    y = image = keras.Input(shape)
    y = L.Conv2D(8, 7, strides=2, padding="same", name="conv1_conv")(y)
    for block in (1, 2):
        act = L.ReLU(name=f"conv{block}_relu")(L.BatchNormalization(name=f"conv{block}_bn")(y))
        new = L.Conv2D(16, 3, strides=2, padding="same", activation="relu", name=f"conv{block}_1_conv")(act)
        new = L.Conv2D(16, 1, name=f"conv{block}_2_conv")(new)
        y = L.Add(name=f"conv{block}_out")([L.Conv2D(16, 1, strides=2, name=f"conv{block}_0_conv")(act), new])
    y = L.Activation("linear", name="conv5_block3_out")(y)
    y = L.ReLU(name="post_relu")(L.BatchNormalization(name="post_bn")(y))
    y = L.Dense(10, name="predictions")(L.GlobalAveragePooling2D(name="avg_pool")(y))
    return keras.Model(image, y, name="rn50")


@pytest.fixture(scope="module", params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def rn50(kind):
    keras.utils.set_random_seed(0)
    return BUILD[kind]((*SIZES, 3))


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(0).normal(size=(2, *SIZES, 3)).astype("float32")


y = np.array([[3, 1], [7, 3]])


def host(value):
    return ops.convert_to_numpy(value)


def pick(values, units=y):
    """Columns of (B, units) or (B, H, W, units)."""
    index = units if values.ndim == 2 else units[:, None, None]
    return np.take_along_axis(values, index, -1)


def last_signal(rn50, x):
    """By hand: the logits and what goes into the pooling."""
    own = keras.Model(rn50.inputs, [rn50.get_layer("predictions").output, rn50.get_layer("avg_pool").input])
    return tuple(map(host, own(x)))


def expected_gradcam(rn50, x):
    """Global average pooling and a linear layer: the gradient of a logit before them is its weights / pixels."""
    logits, a = last_signal(rn50, x)
    kernel, _ = rn50.get_layer("predictions").get_weights()
    return pick(logits), pick(a @ kernel) / np.prod(a.shape[1:3])


def gradient_of(model, x, units):
    """The framework's own gradient of each unit's logit (B, H, W, C, K)."""

    def total(x, k):
        return ops.sum(
            ops.take_along_axis(model(x, training=False), ops.convert_to_tensor(units[:, k : k + 1]), axis=1)
        )

    def one(k):
        if BACKEND == "tensorflow":
            import tensorflow as tf

            images = tf.constant(x)
            with tf.GradientTape() as tape:
                tape.watch(images)
                score = total(images, k)
            return tape.gradient(score, images)
        if BACKEND == "jax":
            import jax

            return jax.jit(jax.grad(lambda x: total(x, k)))(x)
        import torch

        images = torch.tensor(x, requires_grad=True)
        return torch.autograd.grad(total(images, k), images)[0]

    return np.stack([host(one(k)) for k in range(units.shape[1])], axis=-1)


def test_gradcam(rn50, x):
    model = ke.inspection.expose(rn50)
    scores, cams = ke.gradcam(model, x, y, batch_size=32)
    logits, raw = expected_gradcam(rn50, x)
    assert isinstance(cams, np.ndarray)
    close((scores, cams), (logits, bilinear(slow_filters.positive_normalize(raw), SIZES)), 1e-4)
    # Overlays are one column for each unit, in order.
    overlays = cams.clip(0.0, 1.0).transpose((3, 0, 1, 2)).reshape(-1, *SIZES, 1)
    np.testing.assert_array_equal(overlays[2:, ..., 0], cams[..., 1])
    images = (x - x.min()) / np.ptp(x)
    figure = ke.utils.visualize([*images, *images], overlays=overlays, cols=4)
    assert len(figure.axes) == 4


def test_every_way_to_expose_is_the_same(rn50, x):
    logits, a = last_signal(rn50, x)
    own = keras.Model(rn50.inputs, [rn50.get_layer("predictions").output, rn50.get_layer("avg_pool").input])
    by_name = ke.inspection.expose(rn50, "post_relu", "predictions")
    by_link = ke.inspection.expose(rn50, {"name": "avg_pool", "link": "input"}, "predictions")
    for model in (ke.inspection.expose(rn50), by_name, by_link):
        close(map(host, model(x)), (logits, a), 1e-5)
    expected = ke.gradcam(rn50, x, y, verbose=0)
    for model in (ke.inspection.expose(rn50), by_name, by_link, own):
        close(ke.gradcam(model, x, y, verbose=0), expected, 1e-5)
    close(ke.cam(own, x, y, verbose=0), expected, 1e-4)  # the same, but for a factor that normalising removes
    deeper = ke.inspection.expose(rn50, "conv5_block3_out", "predictions")
    close(ke.gradcam(deeper, x, y, verbose=0), ke.gradcam(rn50, x, y, layer="conv5_block3_out", verbose=0), 1e-5)


def test_a_layer_inside_a_nested_model(rn50, x):
    body = keras.Model(rn50.input, rn50.get_layer("avg_pool").output, name="rn50")  # with its pooling inside
    image = keras.Input((*SIZES, 3))
    nested = keras.Model(image, keras.layers.Dense(10, name="predictions")(body(image)))
    nested.get_layer("predictions").set_weights(rn50.get_layer("predictions").get_weights())
    expected = ke.gradcam(rn50, x, y, verbose=0)
    for address in (
        {"name": "rn50.avg_pool", "link": "input", "index": 1},
        {"name": "rn50.avg_pool", "link": "input", "node": 1},
    ):
        model = ke.inspection.expose(nested, arguments=address, outputs="predictions")
        close(ke.gradcam(model, x, y, verbose=0), expected, 1e-5)
    close(ke.gradcam(nested, x, y, verbose=0), expected, 1e-5)


def test_gradients(rn50, x):
    logits, maps = ke.gradients(rn50, x, y, batch_size=32)
    mean = abs(gradient_of(rn50, x, y)).mean(axis=3)
    close((logits, maps), (expected_gradcam(rn50, x)[0], slow_filters.normalize(mean)), 1e-4)


def test_full_gradients(rn50, x):
    model = keras.models.clone_model(rn50)
    model.set_weights(rn50.get_weights())
    model.layers[-1].activation = "linear"
    logits = ke.inspection.get_logits_layer(model)
    assert logits is model.get_layer("predictions")
    inters, biases = ke.inspection.layers_with_biases(model, exclude=[logits])
    exposed = ke.inspection.expose(model, inters, logits)
    scores, maps = ke.full_gradients(exposed, x, y, biases=biases)
    close([scores], [expected_gradcam(rn50, x)[0]], 1e-4)
    close(ke.full_gradients(exposed, x, y, verbose=0), (scores, maps), 1e-4)
    close(ke.full_gradients(rn50, x, y, verbose=0), (scores, maps), 1e-4)
    for k in (0, 1):  # each unit's own map
        close([ke.full_gradients(rn50, x, y[:, k], verbose=0).maps[..., 0]], [maps[..., k]], 1e-4)
    assert abs(maps[..., 0] - maps[..., 1]).max() > 0.1
    assert model.layers[-1].activation == "linear"


def draws(x, repetitions, noise):
    return [x + noise * host(random.normal((1, *x.shape[1:]), 0, i)) for i in range(repetitions)]


def test_smoothgrad(rn50, x):
    smoothgrad = ke.methods.meta.smooth(ke.methods.gradient.gradients, repetitions=3, noise=0.1)
    logits, maps = ke.explain(smoothgrad, rn50, x, y, batch_size=32, postprocessing=ke.filters.normalize)
    each = [ke.gradients(rn50, noisy, y, verbose=0, postprocessing=None) for noisy in draws(x, 3, 0.1)]
    mean = [np.mean(values, axis=0) for values in zip(*each, strict=True)]
    # Noise that is added in another way may put a value on the other side of a ReLU's zero.
    close((logits, maps), (mean[0], slow_filters.normalize(mean[1])), 1e-2)
    figure = ke.utils.visualize([*(x - x.min()) / np.ptp(x), *maps[..., :1]])
    assert len(figure.axes) == 4


def test_test_time_augmentation(rn50, x, kind):
    ttacam = ke.methods.meta.tta(ke.methods.cams.cam, scales=[0.5, 1.0, 1.5, 2.0], hflip=True)
    _, cams = ke.explain(ttacam, ke.inspection.expose(rn50), x, postprocessing=ke.filters.positive_normalize)

    def of_size(side):
        model = BUILD[kind]((side, side, 3))
        model.set_weights(rn50.get_weights())
        return keras.Model(model.input, model.get_layer("post_relu").output)

    same_weights = {side: of_size(side) for side in (32, 64, 96, 128)}
    kernel, _ = rn50.get_layer("predictions").get_weights()
    passes = []
    for side in (64, 32, 64, 96, 128):
        for flip in (1, -1):
            seen = bilinear(x[:, :, ::flip], (side, side)).astype("float32")
            a = host(same_weights[side](seen, training=False)).astype("float64")
            passes.append(bilinear(a @ kernel, SIZES)[:, :, ::flip])
    close([cams], [slow_filters.positive_normalize(np.mean(passes, axis=0))], 1e-4)


@on_tensorflow
def test_a_method_compiled_by_the_user(rn50, x):
    import tensorflow as tf

    model = tf.keras.Model(rn50.inputs, [rn50.get_layer("predictions").output, rn50.get_layer("avg_pool").input])
    inputs, explaining_units = tf.convert_to_tensor(x), tf.convert_to_tensor(y)
    gradcam = tf.function(ke.methods.cams.gradcam, reduce_retracing=True)
    logits, cams = gradcam(model, inputs, explaining_units)
    cams = ke.filters.positive_normalize(cams)
    cams = tf.image.resize(cams, SIZES).numpy()
    close((logits.numpy(), cams), ke.gradcam(rn50, x, y, verbose=0), 1e-4)
    assert gradcam.experimental_get_tracing_count() == 1
    gradcam(model, inputs, explaining_units)
    assert gradcam.experimental_get_tracing_count() == 1
    with pytest.raises(ke.errors.LayerError, match="no layer 'nowhere'"):
        gradcam(model, inputs, explaining_units, layer="nowhere")


@on_tensorflow
@pytest.mark.very_slow
def test_smoothgrad_compiled_by_the_user_with_xla(rn50, x):
    import tensorflow as tf

    gradients = tf.function(ke.methods.gradient.gradients, reduce_retracing=True, jit_compile=True)
    smoothgrad = ke.methods.meta.smooth(gradients, repetitions=20, noise=0.1)
    pixels = np.random.default_rng(1).integers(0, 4, x.shape)
    for inputs in (pixels.astype("uint8"), pixels.astype("float64")):
        _, smoothed = smoothgrad(rn50, inputs, y)
        smoothed = ke.filters.absolute_normalize(smoothed).numpy()
        plain = ke.methods.meta.smooth(ke.methods.gradient.gradients, repetitions=20, noise=0.1)
        _, expected = ke.explain(plain, rn50, pixels, y, verbose=0, resizing=False)
        close([smoothed], [slow_filters.normalize(abs(expected))], 1e-3)


@pytest.mark.skipif(BACKEND != "jax", reason="these lines are JAX's")
def test_a_method_compiled_by_jax(rn50, x):
    import jax

    gradcam = jax.jit(ke.methods.cams.gradcam, static_argnums=0)
    logits, cams = gradcam(rn50, x, y)
    close((host(logits), host(cams)), expected_gradcam(rn50, x), 1e-4)


@pytest.mark.parametrize("dtype", ["float64", "uint8"])
def test_methods_are_called_directly_with_any_images(rn50, x, dtype):
    inputs = np.random.default_rng(1).integers(0, 4, x.shape).astype(dtype)
    logits, cams = ke.methods.cams.gradcam(rn50, inputs, y)
    close((host(logits), host(cams)), expected_gradcam(rn50, inputs.astype("float32")), 1e-4)


def test_every_name_is_where_it_was():
    assert {"gradients", "full_gradients", "simple_full_gradients"} <= set(dir(ke.methods.gradient))
    assert {"cam", "gradcam", "gradcampp", "scorecam"} <= set(dir(ke.methods.cams))
    assert {"smooth", "tta"} <= set(dir(ke.methods.meta))
    shortcuts = {"cam", "gradcam", "gradcampp", "scorecam", "gradients", "full_gradients", "simple_full_gradients"}
    assert shortcuts <= set(dir(ke))
    filters = {"normalize", "positive", "negative", "positive_normalize", "negative_normalize", "absolute_normalize"}
    assert filters <= set(dir(ke.filters))
    inspected = {"expose", "endpoints", "get_nested_layer", "get_logits_layer", "get_global_pooling_layer"}
    inspected |= {"find_layer_with", "layers_with_biases", "biases", "gather_units", "KERNEL_AXIS", "SPATIAL_AXIS"}
    assert inspected <= set(dir(ke.inspection))
