"""What Keras layers of the user's own compute outside of layers goes back by the same rules as layers do."""

import keras
import numpy as np
import pytest
from keras import layers as L
from keras import ops

from keras_explainable.errors import LayerError
from support import keras_models
from support.calls import raw
from support.compare import close
from support.selection import BACKEND, slow_compiled, very_slow_compiled

pytestmark = slow_compiled

UNITS = [[1], [2]]
METHODS = [
    "lrp_epsilon",
    "lrp_epsilon_plus",
    "lrp_epsilon_alpha2_beta1",
    "deeplift",
    "guided_backprop",
    "excitation_backprop",
    "attnlrp",
]
QUICK = ("lrp_epsilon_plus", "deeplift", "attnlrp")


def marked(names):
    return [pytest.param(name, marks=slow_compiled if name in QUICK else very_slow_compiled) for name in names]


class Residual(L.Layer):
    """x + f(x), with the layers of f in a list, a method of its own, and a note that it keeps of its last call."""

    def __init__(self, channels, **options):
        super().__init__(**options)
        self.first, self.norm = L.Conv2D(channels, 3, padding="same"), L.BatchNormalization()
        self.others = [L.Conv2D(channels, 3, padding="same") for _ in range(2)]
        self.kept = None

    def build(self, shape):
        for layer in (self.first, self.norm, *self.others):
            layer.build(shape)

    def through(self, x, training):
        x = ops.relu(self.norm(self.first(x), training=training))
        for layer in self.others:
            x = layer(x)
        return x

    def call(self, x, training=True):  # Keras says otherwise
        self.kept = "a call"
        return ops.relu(x + self.through(x, training))


class Wide(Residual):
    """What calls the layer above it."""

    def call(self, x, training=None):
        return super().call(x, training) + x


class Own(keras.Model):
    """A model of own blocks, and a head that is called on two things, in another order than their depth."""

    def __init__(self):
        super().__init__(name="own")
        self.stem = L.Conv2D(6, 3, activation="relu", name="stem")
        self.blocks = [Residual(6, name="block"), Wide(6, name="block")]
        self.head = L.Dense(5, name="head")

    def call(self, x):
        x = self.stem(x)
        low = self.head(ops.mean(x, axis=(1, 2)))
        for block in self.blocks:
            x = block(x)
        return low + self.head(ops.mean(x, axis=(1, 2)))


def own():
    model = Own()
    model(np.zeros((1, 12, 13, 3), "float32"))
    return keras_models.randomize(model)


def of_layers(model):
    """The same network of Keras's layers, with the same weights."""
    x = inputs = keras.Input((12, 13, 3))
    x = model.stem(x)
    low = model.head(L.GlobalAveragePooling2D()(x))
    for block in model.blocks:
        y = L.ReLU()(block.norm(block.first(x)))
        for layer in block.others:
            y = layer(y)
        y = L.ReLU()(L.Add()([x, y]))
        x = L.Add()([y, x]) if isinstance(block, Wide) else y
    return keras.Model(inputs, L.Add()([low, model.head(L.GlobalAveragePooling2D()(x))]))


@pytest.mark.parametrize("method", marked(METHODS))
def test_own_blocks_are_explained_as_layers_are(method, rng):
    model, x = own(), rng.normal(size=(2, 12, 13, 3)).astype("float32")
    layers = of_layers(model)
    signal = {"layer": "block"} if method == "excitation_backprop" else {}
    relus = [layer.name for layer in layers.layers if isinstance(layer, L.ReLU)]
    expected = {"layer": relus[1]} if signal else {}  # that behind the first sum
    ours = raw(method, model, x, UNITS, **signal)
    assert abs(ours.maps).max() > 1e-3
    close(ours, raw(method, layers, x, UNITS, **expected))


class Telling(L.Layer):
    """A block that returns what else it knows, as KerasHub's: None, or numbers of its own."""

    def __init__(self, block, also):
        super().__init__()
        self.block, self.also = block, also

    def call(self, x):
        return self.block(x), None if self.also is None else ops.zeros(self.also)


class Straight(Own):
    def call(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
            x = x[0] if isinstance(block, Telling) else x
        return self.head(ops.mean(x, axis=(1, 2)))


@pytest.mark.parametrize("also", [None, (0, 3)])
@pytest.mark.parametrize("method", marked(["lrp_epsilon_plus", "attnlrp"]))
def test_what_else_a_block_returns_hides_nothing(method, also, rng):
    plain, telling = Straight(), Straight()
    telling.stem, telling.head = plain.stem, plain.head
    telling.blocks = [Telling(block, also) for block in plain.blocks]
    for model in (plain, telling):
        model(np.zeros((1, 12, 13, 3), "float32"))
    keras_models.randomize(plain)
    x = rng.normal(size=(2, 12, 13, 3)).astype("float32")
    ours = raw(method, telling, x, UNITS)
    assert abs(ours.maps).max() > 1e-3
    close(ours, raw(method, plain, x, UNITS))


def nodes(model):
    layers = model._flatten_layers()
    return [(len(layer._inbound_nodes), len(layer._outbound_nodes), dict(vars(layer))) for layer in layers]


def test_the_graph_hangs_on_nothing_of_the_users(rng):
    model = own()
    for block in model.blocks:
        block.kept = None
    before = nodes(model)
    raw("lrp_epsilon_plus", model, rng.normal(size=(1, 12, 13, 3)).astype("float32"), 0)
    after = nodes(model)
    assert [b[:2] for b in before] == [a[:2] for a in after]
    for (*_, old), (*_, new) in zip(before, after, strict=True):
        assert old.keys() == new.keys()


class Gated(L.Layer):
    """A layer scale and a shift, with the weights on one side or on the other."""

    def __init__(self, first, **options):
        super().__init__(**options)
        self.first, self.conv = first, L.Conv2D(3, 3, padding="same")

    def build(self, shape):
        self.conv.build(shape)
        self.gamma, self.beta = (self.add_weight(shape=(3,), name=name) for name in ("gamma", "beta"))

    def call(self, x):
        y = self.conv(x)
        if self.first:
            return x + self.gamma * (self.beta * y) / self.beta
        return x + y * self.beta * self.gamma / self.beta


@pytest.mark.parametrize("method", ["lrp_epsilon_plus", "deeplift", "attnlrp"])
def test_weights_stand_on_either_side(method, rng):
    inputs = keras.Input((6, 7, 3))
    ours, theirs = (
        keras_models.randomize(keras.Model(inputs, L.Dense(5)(L.Flatten()(Gated(first, name="gated")(inputs)))))
        for first in (True, False)
    )
    x = rng.normal(size=(2, 6, 7, 3)).astype("float32")
    found = raw(method, ours, x, UNITS)
    close(found, raw(method, theirs, x, UNITS))
    ours.get_layer("gated").gamma.assign([3.0, -2.0, 0.5])
    theirs.get_layer("gated").gamma.assign([3.0, -2.0, 0.5])
    changed = raw(method, ours, x, UNITS)
    close(changed, raw(method, theirs, x, UNITS))
    assert abs(changed.maps - found.maps).max() > 1e-3


class Encoder(L.Layer):
    """A block of a transformer, as users write it."""

    def __init__(self, width, **options):
        super().__init__(**options)
        self.first, self.second = L.LayerNormalization(), L.LayerNormalization()
        self.attention = L.MultiHeadAttention(2, width // 2)
        self.wide, self.narrow = L.Dense(2 * width, activation="gelu"), L.Dense(width)

    def build(self, shape):
        self.first.build(shape)
        self.second.build(shape)
        self.attention.build(shape, shape)
        self.wide.build(shape)
        self.narrow.build((*shape[:-1], self.wide.units))

    def call(self, x):
        y = self.first(x)
        x = x + self.attention(y, y)
        return x + self.narrow(self.wide(self.second(x)))


class Embed(L.Layer):
    """Patches, a class token in front, positions added."""

    def __init__(self, width, **options):
        super().__init__(**options)
        self.patches = L.Conv2D(width, 4, strides=4, name="patches")

    def build(self, shape):
        self.patches.build(shape)
        width = self.patches.filters
        self.token = self.add_weight(shape=(1, 1, width), name="token", initializer="random_normal")
        self.positions = self.add_weight(shape=(1, 13, width), name="positions", initializer="random_normal")

    def call(self, x):
        x = self.patches(x)
        x = ops.reshape(x, (ops.shape(x)[0], -1, x.shape[-1]))
        token = ops.tile(self.token, (ops.shape(x)[0], 1, 1))
        return ops.concatenate([token, x], axis=1) + self.positions


class Constant(L.Layer):
    """The same, as one affine layer with nothing to see inside."""

    def __init__(self, embed, **options):
        super().__init__(**options)
        self.embed = embed

    def call(self, x):
        token = ops.tile(self.embed.token, (ops.shape(x)[0], 1, 1))
        return ops.concatenate([token, x], axis=1) + self.embed.positions

    def compute_output_shape(self, shape):
        return (shape[0], shape[1] + 1, shape[2])


def test_a_transformer_of_own_blocks_is_explained_as_one_of_layers(rng):
    embed, blocks, head = Embed(8, name="embed"), [Encoder(8, name=f"block{i}") for i in range(2)], L.Dense(5)
    x = inputs = keras.Input((12, 16, 3))
    x = embed(x)
    for block in blocks:
        x = block(x)
    model = keras_models.randomize(keras.Model(inputs, head(L.LayerNormalization(name="norm")(x)[:, 0])))
    x = L.Reshape((12, 8))(embed.patches(inputs))
    x = Constant(embed)(x)
    for block in blocks:
        y = block.first(x)
        x = L.Add()([x, block.attention(y, y)])
        x = L.Add()([x, block.narrow(block.wide(block.second(x)))])
    layers = keras.Model(inputs, head(model.get_layer("norm")(x)[:, 0]))
    images = rng.normal(size=(2, 12, 16, 3)).astype("float32")
    ours = raw("attnlrp", model, images, UNITS)
    close(ours, raw("attnlrp", layers, images, UNITS))
    assert abs(ours.maps).max() > 1e-3


class Choosing(L.Layer):
    """What it does depends on numbers."""

    def call(self, x):
        return x * x if float(ops.max(x)) > -1e9 else x


@pytest.mark.skipif(BACKEND != "torch", reason="elsewhere such a layer does not run within a compiled step")
def test_what_cannot_be_seen_is_named():
    model = keras.Sequential([keras.Input((8, 8, 3)), L.Conv2D(4, 3), Choosing(name="odd"), L.Flatten(), L.Dense(5)])
    with pytest.raises(LayerError, match=r"odd \(Choosing\)"):
        raw("lrp_epsilon", model, np.ones((1, 8, 8, 3), "float32"), 0)


@pytest.mark.skipif(BACKEND != "torch", reason="the same on every backend")
def test_what_no_rule_covers_has_a_path():
    class Sine(L.Layer):
        def call(self, x):
            return ops.sin(x)

    model = keras.Sequential([keras.Input((8, 8, 3)), L.Conv2D(4, 3), Sine(name="wave"), L.Flatten(), L.Dense(5)])
    with pytest.raises(LayerError, match=r"wave/sin \(Sin\)"):
        raw("lrp_epsilon", model, np.ones((1, 8, 8, 3), "float32"), 0)
