"""Tiny Keras models of every kind that users have, with weights that are equal on every backend.

`KINDS[name](seed)` builds one with `UNITS` units; `images(name)` makes images in its layout. `EXTRAS` are further ones
that not every method can explain. `convert.as_reference(model)` gives the NumPy twin of any of them.
"""

from collections.abc import Callable
from functools import cache, partial

import keras
import numpy as np
import pytest
from keras import layers as L
from keras import ops

SIZE, UNITS = (20, 24), 5
SHAPE = (*SIZE, 3)
SHAPES = {"one_dimensional": (24, 3), "three_dimensional": (8, 7, 6, 2)}


def draw(name: str, shape: tuple, rng: np.random.Generator) -> np.ndarray:
    """Values for a weight, by its name: spread so that activations keep their size, and none has its default."""
    if name in ("gamma", "moving_variance"):
        return rng.uniform(0.5, 1.5, shape)
    if name == "kernel":
        return rng.normal(size=shape) * np.sqrt(2 / np.prod(shape[:-1]))
    return rng.normal(size=shape) * 0.2


def randomize(model: keras.Model, seed: int = 0) -> keras.Model:
    """The model, its weights and normalisation statistics drawn with NumPy, in their order."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        weight.assign(draw(weight.name, tuple(weight.shape), rng).astype("float32"))
    return model


class Drawn(keras.initializers.Initializer):
    """The same for a weight that does not exist yet."""

    def __init__(self, name: str, seed: int) -> None:
        self.name, self.seed = name, seed

    def __call__(self, shape, dtype=None):
        return ops.convert_to_tensor(draw(self.name, tuple(shape), np.random.default_rng(self.seed)), dtype)

    def get_config(self):
        return {"name": self.name, "seed": self.seed}


def residual(seed: int = 0, name: str = "residual", dtype: str | None = None, first: bool = False) -> keras.Model:
    """Functional: convolutions, batch normalisation (once without gamma and beta), ReLU, a residual, pooling, Dense."""
    common = {"dtype": dtype}
    spatial = common | {"data_format": "channels_first" if first else "channels_last"}
    norm = common | {"axis": 1 if first else -1}
    x = inputs = keras.Input((3, *SIZE) if first else (*SIZE, 3), name="image")
    x = L.Conv2D(8, 3, padding="same", name="conv1", **spatial)(x)
    x = short = L.ReLU(name="relu1", **common)(L.BatchNormalization(name="bn1", **norm)(x))
    x = L.Conv2D(8, 3, padding="same", use_bias=False, name="conv2", **spatial)(x)
    x = L.BatchNormalization(name="bn2", epsilon=1e-5, scale=False, center=False, **norm)(x)
    x = L.ReLU(name="relu2", **common)(L.Add(name="add", **common)([x, short]))
    x = L.MaxPooling2D(2, name="pool", **spatial)(x)
    x = L.Conv2D(12, 3, name="conv3", **spatial)(x)
    x = L.BatchNormalization(name="bn3", epsilon=1e-2, **norm)(x)
    x = L.ReLU(name="relu3", **common)(x)
    x = L.GlobalAveragePooling2D(name="avg_pool", **spatial)(x)
    model = keras.Model(inputs, L.Dense(UNITS, name="logits", **common)(x), name=name)
    return randomize(model, seed)


def sequential(seed: int = 0) -> keras.Model:
    """Strides, fused ReLUs, and a softmax as a layer of its own."""
    stack = [
        keras.Input((*SIZE, 3), name="image"),
        L.Conv2D(8, 3, strides=2, padding="same", activation="relu", name="conv1"),
        L.Conv2D(12, 3, activation="relu", name="conv2"),
        L.GlobalAveragePooling2D(name="avg_pool"),
        L.Dense(UNITS, name="logits"),
        L.Softmax(name="softmax"),
    ]
    return randomize(keras.Sequential(stack, name="sequential"), seed)


def lazy(seed: int = 0) -> keras.Model:
    """A Sequential without an input shape: it has no weights until it is called."""

    def conv(filters, name, at):
        drawn = {"kernel_initializer": Drawn("kernel", at), "bias_initializer": Drawn("bias", at + 1)}
        return L.Conv2D(filters, 3, padding="same", name=name, **drawn)

    names = {"gamma": "gamma", "beta": "beta", "moving_mean": "moving_mean", "moving_variance": "moving_variance"}
    start = 100 * seed
    stack = [
        conv(8, "conv1", start),
        L.BatchNormalization(name="bn1", **{f"{n}_initializer": Drawn(n, start + 2 + i) for i, n in enumerate(names)}),
        L.Activation("relu", name="relu1"),
        L.AveragePooling2D(2, name="pool"),
        conv(10, "conv2", start + 10),
        L.ReLU(name="relu2"),
        L.GlobalAveragePooling2D(name="avg_pool"),
        L.Dense(
            UNITS,
            name="logits",
            kernel_initializer=Drawn("kernel", start + 20),
            bias_initializer=Drawn("bias", start + 21),
        ),
    ]
    return keras.Sequential(stack, name="lazy")


def backbone() -> keras.Model:
    """Functional, with its pooling inside."""
    x = inputs = keras.Input((*SIZE, 3), name="inner_image")
    x = L.Conv2D(8, 3, strides=2, padding="same", use_bias=False, name="conv1")(x)
    x = L.ReLU(name="relu1")(L.BatchNormalization(name="bn1")(x))
    x = L.Conv2D(10, 3, activation="relu", name="conv2")(x)
    return keras.Model(inputs, L.GlobalAveragePooling2D(name="avg_pool")(x), name="backbone")


def nested_functional(seed: int = 0) -> keras.Model:
    inputs = keras.Input((*SIZE, 3), name="image")
    model = keras.Model(inputs, L.Dense(UNITS, name="logits")(backbone()(inputs)), name="nested_functional")
    return randomize(model, seed)


def nested_sequential(seed: int = 0) -> keras.Model:
    """With dropout and a softmax head behind the backbone."""
    stack = [
        keras.Input((*SIZE, 3), name="image"),
        backbone(),
        L.Dropout(0.5, name="dropout"),
        L.Dense(UNITS, activation="softmax", name="predictions"),
    ]
    return randomize(keras.Sequential(stack, name="nested_sequential"), seed)


class Twice(keras.Model):
    """Calls one convolution twice, with operations between that are no layers."""

    def __init__(self) -> None:
        super().__init__(name="subclassed")
        self.stem = L.Conv2D(8, 3, strides=2, activation="relu", name="stem")
        self.norm = L.BatchNormalization(name="norm")
        self.twice = L.Conv2D(8, 3, padding="same", name="twice")
        self.rectify = L.ReLU(name="rectify")
        self.logits = L.Dense(UNITS, name="logits")

    def call(self, x, training=None):
        x = self.norm(self.stem(x), training=training)
        x = ops.relu(self.twice(x))
        x = self.rectify(self.twice(x))
        return self.logits(ops.mean(x, axis=(1, 2)))


def subclassed(seed: int = 0) -> keras.Model:
    model = Twice()
    model(np.zeros((1, *SIZE, 3), "float32"))
    return randomize(model, seed)


def shared(seed: int = 0) -> keras.Model:
    """Functional, one layer with a fused ReLU called twice."""
    x = inputs = keras.Input((*SIZE, 3), name="image")
    twice = L.Conv2D(8, 3, padding="same", activation="relu", name="twice")
    x = twice(L.Conv2D(8, 3, strides=2, activation="relu", name="stem")(x))
    # Strides of 1: with an odd pixel of padding, Keras's average on PyTorch is another than on TensorFlow and JAX.
    x = twice(L.AveragePooling2D(3, strides=1, padding="same", name="pool")(x))
    x = L.GlobalAveragePooling2D(name="avg_pool")(x)
    return randomize(keras.Model(inputs, L.Dense(UNITS, name="logits")(x), name="shared"), seed)


def frozen(seed: int = 0) -> keras.Model:
    model = residual(seed, "frozen")
    model.trainable = False
    return model


def fused(seed: int = 0) -> keras.Model:
    """Functional, without normalisation: fused activations, branches that are joined, depthwise, a fused softmax."""
    x = inputs = keras.Input((*SIZE, 3), name="image")
    x = L.Conv2D(8, 3, activation="relu", name="stem")(x)
    left = L.Conv2D(6, 1, activation="relu", name="left")(x)
    right = L.DepthwiseConv2D(3, padding="same", activation="relu", name="right")(x)
    x = L.Concatenate(name="join")([left, right])
    x = L.MaxPooling2D(3, strides=2, name="pool")(x)
    x = L.Conv2D(10, 3, activation="relu", name="last")(x)
    x = L.GlobalAveragePooling2D(name="avg_pool")(x)
    head = L.Dense(UNITS, activation="softmax", name="predictions")
    return randomize(keras.Model(inputs, head(x), name="fused"), seed)


def flatten(seed: int = 0) -> keras.Model:
    """No global pooling: Flatten, a hidden Dense layer, softmax."""
    stack = [
        keras.Input((*SIZE, 3), name="image"),
        L.Conv2D(8, 3, strides=2, activation="relu", name="conv1"),
        L.MaxPooling2D(2, name="pool"),
        L.Flatten(name="flatten"),
        L.Dense(12, activation="relu", name="hidden"),
        L.Dense(UNITS, activation="softmax", name="predictions"),
    ]
    return randomize(keras.Sequential(stack, name="flatten"), seed)


def stack(seed: int = 0, name: str = "stack", front: tuple = (), head: tuple = ()) -> keras.Model:
    """Two convolutions in as many dimensions as the images have, global pooling, and a head."""
    shape = SHAPES.get(name, (*SIZE, 3))
    rank = len(shape) - 1
    conv, pool = getattr(L, f"Conv{rank}D"), getattr(L, f"GlobalAveragePooling{rank}D")
    first = conv(8, 3, padding="same", activation="relu", name="conv1")
    last = conv(UNITS, 3, strides=2, activation="relu", name="conv2")
    body = [keras.Input(shape, name="image"), *front, first, last, pool(name="avg_pool"), *head]
    return randomize(keras.Sequential(body, name=name), seed)


class Tokens(L.Layer):
    """A class token in front, and the position embedding added."""

    def build(self, shape):
        self.token = self.add_weight(shape=(1, 1, shape[-1]), name="token")
        self.position = self.add_weight(shape=(shape[1] + 1, shape[-1]), name="position")

    def call(self, x):
        token = ops.broadcast_to(self.token, (ops.shape(x)[0], 1, x.shape[-1]))
        return ops.concatenate([token, x], axis=1) + self.position


class First(L.Layer):
    """The class token."""

    def call(self, x):
        return x[:, 0]


def transformer(seed: int = 0) -> keras.Model:
    """A vision transformer: 5 x 6 patches behind a class token, two blocks, normalised before they are entered."""
    x = inputs = keras.Input((*SIZE, 3), name="image")
    x = L.Reshape((30, 8), name="patches")(L.Conv2D(8, 4, strides=4, name="embed")(x))
    x = Tokens(name="tokens")(x)
    for block in ("block1", "block2"):
        y = L.LayerNormalization(name=f"{block}_norm1")(x)
        x = L.Add(name=f"{block}_add1")([x, L.MultiHeadAttention(2, 4, name=f"{block}_attention")(y, y)])
        y = L.LayerNormalization(name=f"{block}_norm2", epsilon=1e-6)(x)
        y = L.Dense(12, activation="gelu", name=f"{block}_expand")(y)
        x = L.Add(name=f"{block}_add2")([x, L.Dense(8, name=f"{block}_contract")(y)])
    x = First(name="first")(L.LayerNormalization(name="norm")(x))
    return randomize(keras.Model(inputs, L.Dense(UNITS, name="logits")(x), name="transformer"), seed)


def logits(units: int = UNITS, **options) -> tuple:
    return (L.Dense(units, name="logits", **options),)


def clipped(seed: int = 0) -> keras.Model:
    """A ReLU6 above its range: its full-gradient decomposition is not complete."""
    return stack(seed, "clipped", front=(L.Rescaling(8.0, name="scale"), L.ReLU(6, name="relu6")), head=logits())


KINDS: dict[str, Callable[..., keras.Model]] = {
    "functional": partial(residual, name="functional"),
    "sequential": sequential,
    "lazy": lazy,
    "nested_functional": nested_functional,
    "nested_sequential": nested_sequential,
    "subclassed": subclassed,
    "shared": shared,
    "frozen": frozen,
    "fused": fused,
    "mixed_float16": partial(residual, name="mixed_float16", dtype="mixed_float16"),
    "mixed_bfloat16": partial(residual, name="mixed_bfloat16", dtype="mixed_bfloat16"),
    "channels_first": partial(residual, name="channels_first", first=True),
}

EXTRAS: dict[str, Callable[..., keras.Model]] = {
    "flatten": flatten,
    "convolutional_head": partial(stack, name="convolutional_head"),
    "one_unit": lambda seed=0: stack(seed, "one_unit", head=logits(1, activation="sigmoid")),
    "rescaled": lambda seed=0: stack(seed, "rescaled", front=(L.Rescaling(2.0, -0.5, name="rescale"),), head=logits()),
    "clipped": clipped,
    "one_dimensional": lambda seed=0: stack(seed, "one_dimensional", head=logits()),
    "transformer": transformer,
    "three_dimensional": lambda seed=0: stack(seed, "three_dimensional", head=logits()),
}


@cache
def runs_channels_first() -> bool:
    """Whether the backend itself has channels-first convolutions here."""
    try:
        L.Conv2D(1, 1, data_format="channels_first")(np.zeros((1, 1, 2, 2), "float32"))
    except Exception as error:
        if "NHWC" in str(error):
            return False
        raise
    return True


def build(name: str, seed: int = 0) -> keras.Model:
    if name == "channels_first" and not runs_channels_first():
        pytest.skip(
            "TensorFlow has no channels-first convolutions on this CPU: TF_ENABLE_ONEDNN_OPTS=1 switches them on"
        )
    return (KINDS | EXTRAS)[name](seed)


@cache
def build_once(name: str) -> keras.Model:
    """One model of a kind, and what is compiled of it, for all tests that do not change it."""
    return build(name)


def images(name: str, n: int = 3, seed: int = 0) -> np.ndarray:
    """n float32 images in the layout of a kind of model."""
    x = np.random.default_rng(seed).normal(size=(n, *SHAPES.get(name, (*SIZE, 3)))).astype("float32")
    return np.ascontiguousarray(np.moveaxis(x, -1, 1)) if name == "channels_first" else x


def channels_last(name: str, x: np.ndarray) -> np.ndarray:
    """The same images, or gradients (B, K, *image), in the layout of the NumPy twins."""
    return np.moveaxis(x, -3, -1) if name == "channels_first" else x


def on(kind: str, number: int) -> tuple:
    """The fixtures of a file: a kind of model, and so many images for it."""
    return (
        pytest.fixture(scope="module", name="model")(lambda: build(kind)),
        pytest.fixture(scope="module", name="x")(lambda: images(kind, number)),
    )


def counted() -> tuple[keras.Model, list[int]]:
    """A model, and the batch sizes that it was called with."""
    calls = []

    class Counted(Twice):
        def call(self, x, training=None):
            calls.append(x.shape[0])
            return super().call(x, training)

    model = Counted()
    model(np.zeros((1, *SHAPE), "float32"))
    randomize(model)
    calls.clear()
    return model, calls
