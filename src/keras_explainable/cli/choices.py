"""The name of the command, and the values of its options."""

from enum import StrEnum

NAME = "keras-explainable"


class Backend(StrEnum):
    """The frameworks that Keras runs on."""

    tensorflow = "tensorflow"
    jax = "jax"
    torch = "torch"


class Fit(StrEnum):
    """How an image is brought to the model's size."""

    stretch = "stretch"
    crop = "crop"
    pad = "pad"
