"""Models that are put together in other ways: each is explained as it is, and its score adds up."""

import keras
import numpy as np
import pytest
from keras import layers as L
from keras import ops

import keras_explainable as ke
from support import keras_models
from support.calls import gradcam, raw
from support.compare import close
from support.selection import fast_on_torch, slow_compiled

SHAPE, UNITS = (12, 14, 3), 3
pytestmark = [
    slow_compiled,
    pytest.mark.filterwarnings("ignore:.*the same everywhere"),
    pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize`"),
]


def head(image, y):
    return keras_models.randomize(keras.Model(image, L.Dense(UNITS, name="logits")(y)))


def encoder():
    image = keras.Input(SHAPE)
    y = L.Conv2D(4, 3, activation="relu", name="conv")(image)
    return keras.Model(image, L.GlobalAveragePooling2D(name="pool")(y), name="encoder")


def siamese():
    """One nested model, called twice."""
    image, twice = keras.Input(SHAPE), encoder()
    return head(image, L.Subtract()([twice(image), twice(2.0 * image)]))


class Lists(keras.Model):
    """Layers of equal names in a list, the head in a dictionary."""

    def __init__(self):
        super().__init__()
        self.blocks = [L.Conv2D(4, 3, activation="relu", name="conv") for _ in range(2)]
        self.heads = {"first": L.Dense(UNITS, name="logits")}

    def call(self, x):
        for block in self.blocks:
            x = block(x)
        return self.heads["first"](ops.mean(x, axis=(1, 2)))


def lists():
    model = Lists()
    model(np.zeros((1, *SHAPE), "float32"))
    return keras_models.randomize(model)


class Block(L.Layer):
    """A layer of layers, with an operation that is none."""

    def __init__(self, **options):
        super().__init__(**options)
        self.conv, self.norm = L.Conv2D(4, 3, padding="same", name="conv"), L.BatchNormalization(name="norm")

    def build(self, shape):
        self.conv.build(shape)
        self.norm.build((*shape[:-1], 4))

    def call(self, x):
        return ops.relu(self.norm(self.conv(x)))


def blocks():
    image = keras.Input(SHAPE)
    return head(image, L.GlobalAveragePooling2D()(Block(name="second")(Block(name="first")(image))))


def video():
    image = keras.Input((4, *SHAPE))
    y = L.TimeDistributed(L.Conv2D(4, 3, activation="relu", name="conv"), name="frames")(image)
    return head(image, L.GlobalAveragePooling3D()(y))


def shared_activation():
    """A layer that is the fused activation of one layer and stands alone behind another."""
    image, relu = keras.Input(SHAPE), L.ReLU(name="relu")
    y = L.Conv2D(4, 3, activation=relu, name="first")(image)
    return head(image, L.GlobalMaxPooling2D()(relu(L.Conv2D(4, 3, name="second")(y))))


def only_in_training():
    image = keras.Input(SHAPE)
    y = L.GaussianNoise(0.5)(L.RandomFlip()(image))
    y = L.SpatialDropout2D(0.5, name="drop")(L.Conv2D(4, 3, activation="relu", name="conv")(y))
    return head(image, L.Dropout(0.5)(L.GlobalAveragePooling2D()(y)))


def rising():
    """Up and down: separable and transposed convolutions, a learned slope, regularisers."""
    image = keras.Input(SHAPE)
    y = L.SeparableConv2D(4, 3, strides=2, activation="relu", name="separable")(image)
    y = L.Conv2DTranspose(4, 3, strides=2, kernel_regularizer="l2", activity_regularizer="l2", name="transposed")(y)
    return head(image, L.GlobalAveragePooling2D()(L.PReLU(shared_axes=[1, 2], name="slope")(y)))


def plain(activation=None):
    stack = [keras.Input(SHAPE), L.Conv2D(4, 3, activation="relu", name="conv"), L.GlobalAveragePooling2D()]
    return keras_models.randomize(keras.Sequential([*stack, L.Dense(UNITS, activation=activation, name="logits")]))


def fitted():
    model = plain()
    model.compile("sgd", "mse")
    model.fit(np.zeros((2, *SHAPE), "float32"), np.zeros((2, UNITS), "float32"), verbose=0)
    return model


BUILDERS = {
    siamese: (["encoder/conv", "encoder/conv", "logits"], "encoder/conv (call 1)"),
    lists: (["conv", "conv_", "logits"], "conv_"),
    blocks: (["first/conv", "first/norm", "second/conv", "second/norm", "logits"], "second"),
    video: (["frames/conv"] * 4 + ["logits"], "frames"),
    shared_activation: (["first", "second", "logits"], "first/relu (call 1)"),
    only_in_training: (["conv", "logits"], "drop"),
    rising: (["separable", "transposed", "logits"], "slope"),
    fitted: (["conv", "logits"], "conv"),
}


@pytest.mark.parametrize("build", BUILDERS, ids=lambda build: build.__name__)
def test_scores_are_the_models_and_add_up(build, rng):
    model = build()
    x = rng.normal(size=(2, *(model.input_shape[1:] if build is not lists else SHAPE))).astype("float32")
    _, terms, completeness = ke.full_gradient_decomposition(model, x, [[0, 2], [1, 1]])
    expected = ops.convert_to_numpy(model(x, training=False))
    close([completeness.scores], [np.take_along_axis(expected, np.array([[0, 2], [1, 1]]), 1)])
    assert completeness.relative_gap.max() < 1e-5
    biased, signal = BUILDERS[build]
    assert [path for path, _ in terms] == biased
    assert gradcam(model, x, 1).about["signal"] == signal


def test_each_call_of_a_nested_model_has_its_own_signal(rng):
    model, x = siamese(), rng.normal(size=(2, *SHAPE)).astype("float32")
    conv = model.get_layer("encoder").get_layer("conv")
    addresses = [{"name": "encoder.conv", "index": index} for index in (0, 1)]
    _, first, second = map(ops.convert_to_numpy, ke.inspection.expose(model, addresses)(x))
    close((first, second), [ops.convert_to_numpy(conv(v)) for v in (x, 2 * x)])
    kernel = model.get_layer("logits").get_weights()[0][:, 1]
    for index, a, sign in ((0, first, 1), (1, second, -1)):
        maps = raw("gradcam", model, x, 1, layer=addresses[index]).maps
        close([maps[..., 0]], [sign * a @ kernel / np.prod(a.shape[1:3])])


def test_layers_that_run_again_for_the_backward_pass(rng):
    x = rng.normal(size=(2, *SHAPE)).astype("float32")
    with keras.RematScope(mode="full"):
        model = plain()
    before = [layer._remat_mode for layer in (model, *model.layers)]
    close(gradcam(model, x, 1), gradcam(plain(), x, 1))
    assert ke.full_gradient_decomposition(model, x).completeness.relative_gap.max() < 1e-5
    assert [layer._remat_mode for layer in (model, *model.layers)] == before
    assert before[1] is not None


def test_quantized_layers(rng):
    x = rng.normal(size=(2, *SHAPE)).astype("float32")
    model = plain("softmax")
    exact = gradcam(model, x, 1)
    model.quantize("int8")
    explained = gradcam(model, x, 1)
    assert explained.about["score"] == "pre-activation of logits"
    close(explained, exact, 0.02)
    assert abs(explained.scores - exact.scores).max() > 1e-4  # and not what was compiled before
    terms = ke.full_gradient_decomposition(model, x, 1).bias_gradients
    assert [path for path, _ in terms] == ["conv", "logits"]


RECURRENT = {
    "lstm": lambda: L.LSTM(4, return_sequences=True, name="loop"),
    "gru": lambda: L.GRU(4, return_sequences=True, name="loop"),
    "simple": lambda: L.SimpleRNN(4, return_sequences=True, name="loop"),
    "both_ways": lambda: L.Bidirectional(L.GRU(2, return_sequences=True), name="loop"),
}


@pytest.mark.parametrize(
    "kind", ["lstm", "both_ways", *(pytest.param(k, marks=fast_on_torch) for k in ("gru", "simple"))]
)
def test_recurrent_layers(rng, kind):
    """Their gradients are those of differences; their steps in time are places, and their units channels."""
    series = keras.Input((7, 2))
    y = RECURRENT[kind]()(L.Conv1D(3, 3, padding="same", name="conv")(series))
    model = keras_models.randomize(keras.Model(series, L.Dense(UNITS, name="logits")(L.GlobalAveragePooling1D()(y))))
    x = rng.normal(size=(1, 7, 2)).astype("float32")
    pixels = np.eye(14, dtype="float32").reshape(14, 7, 2) * 1e-2
    high, low = (model.predict(x + sign * pixels, verbose=0)[:, 1] for sign in (1, -1))
    before = [set(vars(layer)) for layer in model._flatten_layers()]
    g = raw("gradients", model, x, 1, reduce=None).maps
    close(g.reshape(7, 2), ((high - low) / 2e-2).reshape(7, 2), atol=2e-3)
    explained = raw("gradcam", model, x, 1)
    assert explained.about["signal"] == "loop"
    assert [set(vars(layer)) for layer in model._flatten_layers()] == before
    signal = ops.convert_to_numpy(keras.Model(series, y)(x))
    close([explained.maps[..., 0]], [signal @ model.get_layer("logits").get_weights()[0][:, 1] / 7], 1e-5)
    with pytest.raises(ke.errors.LayerError, match="loop"):
        raw("lrp_epsilon", model, x, 1)


def test_a_layer_that_lets_itself_be_changed_in_part_only_is_left_as_it_was(rng):
    class Fixed(L.Dense):
        @property
        def activation(self):
            return keras.activations.relu

        @activation.setter
        def activation(self, value):
            if hasattr(self, "kernel"):
                raise AttributeError("it is what it is")

    image = keras.Input(SHAPE)
    layer = Fixed(UNITS)
    model = keras.Model(image, layer(L.Flatten()(image)))
    before = set(vars(layer))
    with pytest.raises(AttributeError, match="it is what it is"):
        gradcam(model, rng.normal(size=(1, *SHAPE)).astype("float32"), 1)
    assert set(vars(layer)) == before
