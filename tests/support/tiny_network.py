"""A network that is loaded and run in milliseconds, as a factory for workers; folders of images for it; and an image on
which it kills its process."""

import os
import signal

import keras
import numpy as np
from PIL import Image

SIDE, UNITS = 16, 3
POISON = 253.0  # the value of all pixels of an image that kills


class Fatal(keras.layers.Layer):
    """Returns its input, and ends the process if an image in it has one value everywhere. For PyTorch, which runs it
    each time."""

    def call(self, x):
        if keras.backend.backend() == "torch" and x.device.type == "cpu":
            values = x.detach().numpy().reshape(len(x), -1)
            if ((abs(values - POISON) < 0.5).all(axis=1)).any():
                os.kill(os.getpid(), signal.SIGKILL)
        return x

    def compute_output_shape(self, shape):
        return shape


def make(*layers):
    """The network, with the same weights each time."""
    rng = np.random.default_rng(5)
    image = keras.Input((SIDE, SIDE, 3))
    y = keras.layers.Rescaling(1 / 255)(image)
    for layer in layers:
        y = layer(y)
    y = keras.layers.Conv2D(6, 3, strides=2, padding="same", activation="relu", name="conv")(y)
    y = keras.layers.GlobalAveragePooling2D()(y)
    model = keras.Model(image, keras.layers.Dense(UNITS, activation="softmax")(y))
    model.set_weights([rng.normal(size=w.shape).astype("float32") for w in model.get_weights()])
    return model


def poisoned():
    """The network that kills its process for an image of one grey."""
    image = keras.Input((SIDE, SIDE, 3))
    inner = make()
    return keras.Model(image, inner(Fatal()(image)))


def other():
    """The same network with other weights."""
    model = make()
    model.set_weights([w + 1 for w in model.get_weights()])
    return model


def pixels(i):
    """An image of its own for each number."""
    return np.random.default_rng(i).integers(0, 256, (SIDE, SIDE, 3), "uint8")


def folder(path, number, bad=True):
    """A folder with so many images in two folders, some of the same name, and with `bad` three files that are none."""
    for i in range(number):
        file = path / "ab"[i % 2] / f"{i // 2:04d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels(i)).save(file)
    if bad:
        whole = (path / "a" / "0000.png").read_bytes()
        (path / "a" / "cut.png").write_bytes(whole[: len(whole) // 2])
        (path / "b" / "empty.png").write_bytes(b"")
        (path / "b" / "text.jpg").write_text("no picture\n")
    return path


def poison(path):
    """Write the image that kills."""
    Image.fromarray(np.full((SIDE, SIDE, 3), int(POISON), "uint8")).save(path)
