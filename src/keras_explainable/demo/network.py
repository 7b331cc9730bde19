"""The demo network: a small residual CNN that classifies the objects of a scene, and its trained weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
from keras import layers

from keras_explainable.demo.shapes import CLASSES
from keras_explainable.errors import BackendError
from keras_explainable.models import processes

MODEL_FILE = Path(__file__).with_name("model.keras")
TRANSFORMER_FILE = Path(__file__).with_name("transformer.weights.h5")
MASK_ROBUST_FILE = Path(__file__).with_name("mask_robust.weights.h5")


def load_model() -> keras.Model:
    """Return a fresh copy of the trained network: images (B, 96, 96, 3) in 0..255 -> logits (B, 10).

    Raises:
        BackendError: this process was forked from one that had explained.
    """
    processes.check(runs=False)
    return keras.models.load_model(MODEL_FILE, compile=False, safe_mode=True)


def load_mask_robust() -> keras.Model:
    """Return the network of `load_model`, trained further on scenes of which random cells were filled.

    For it, images with removed pixels are nothing unusual. It shows what a metric that fills pixels measures of an
    explanation, and what it measures of unusual inputs.

    Raises:
        BackendError: this process was forked from one that had explained.
    """
    model = load_model()
    model.load_weights(MASK_ROBUST_FILE)
    return model


def load_transformer() -> keras.Model:
    """Return a transformer on the trained network's last maps: images (B, 96, 96, 3) in 0..255 -> logits (B, 10).

    It has 12 x 12 tokens and no class token. The logits are a linear layer on the mean of the tokens."""
    model = load_model()
    features = model.get_layer("features").output
    encoder = build_encoder(features.shape[1:])
    encoder.load_weights(TRANSFORMER_FILE)
    return keras.Model(model.input, encoder(features), name="demo_transformer")


def load_module() -> Any:
    """Return the same network as a torch.nn.Module: images (B, 3, 96, 96) in 0..255 -> logits (B, 10).

    Raises:
        BackendError: PyTorch is not installed.
    """
    try:
        from keras_explainable.models.torch import demo_network
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise BackendError(
            "load_module needs PyTorch, which is not installed. Run: pip install 'keras-explainable[torch]'"
        ) from None
    weights = {weight.path: keras.ops.convert_to_numpy(weight.value) for weight in load_model().weights}
    return demo_network.with_weights(weights)


def build_model(size: int = 96, widths: tuple[int, ...] = (16, 32, 56)) -> keras.Model:
    """Return the untrained network: images (B, size, size, 3) in 0..255 -> logits (B, 10).

    The layer `features` returns the last maps, (B, size / 8, size / 8, widths[-1]). `logits` is linear in their means.
    """
    images = keras.Input((size, size, 3), name="images")
    x = layers.Rescaling(1 / 127.5, offset=-1.0, name="rescale")(images)
    x = _convolve(x, widths[0], "stem", stride=2)
    x = layers.ReLU(name="stem_relu")(x)
    x = _residual(x, widths[0], "block1")
    x = _residual(x, widths[1], "block2", stride=2)
    x = _residual(x, widths[2], "block3", stride=2)
    x = _residual(x, widths[2], "block4", output="features")
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(images, layers.Dense(len(CLASSES), name="logits")(x), name="demo")


def build_encoder(shape: tuple, heads: int = 4, blocks: int = 2) -> keras.Model:
    """Return the untrained encoder of the transformer: maps (B, *shape) -> logits (B, 10)."""
    maps = keras.Input(shape, name="maps")
    width = shape[-1]
    x = layers.Reshape((-1, width), name="tokens")(maps)
    for i in range(1, blocks + 1):
        y = layers.LayerNormalization(name=f"norm{i}_attention")(x)
        y = layers.MultiHeadAttention(heads, width // heads, name=f"attention{i}")(y, y)
        x = layers.Add(name=f"sum{i}_attention")([x, y])
        y = layers.LayerNormalization(name=f"norm{i}_wide")(x)
        y = layers.Dense(2 * width, activation="gelu", name=f"wide{i}")(y)
        x = layers.Add(name=f"sum{i}_narrow")([x, layers.Dense(width, name=f"narrow{i}")(y)])
    x = layers.LayerNormalization(name="norm")(x)
    x = layers.GlobalAveragePooling1D(name="mean")(x)
    return keras.Model(maps, layers.Dense(len(CLASSES), name="logits")(x), name="encoder")


def _convolve(x: keras.KerasTensor, width: int, name: str, kernel: int = 3, stride: int = 1) -> keras.KerasTensor:
    """Add a convolution without bias, followed by batch normalisation."""
    x = layers.Conv2D(width, kernel, strides=stride, padding="same", use_bias=False, name=f"{name}_conv")(x)
    return layers.BatchNormalization(momentum=0.95, name=f"{name}_norm")(x)


def _residual(x: keras.KerasTensor, width: int, name: str, stride: int = 1, output: str = "") -> keras.KerasTensor:
    """Add relu(x + f(x)) with two convolutions in f, and one on the shortcut if the shape changes."""
    short = x if stride == 1 else _convolve(x, width, f"{name}_short", kernel=stride, stride=stride)
    x = layers.ReLU(name=f"{name}_relu")(_convolve(x, width, f"{name}_first", stride=stride))
    x = layers.Add(name=f"{name}_add")([short, _convolve(x, width, f"{name}_second")])
    return layers.ReLU(name=output or f"{name}_output")(x)
