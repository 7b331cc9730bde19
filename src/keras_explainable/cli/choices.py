"""The name of the command, and the words that its options take."""

from enum import StrEnum

NAME = "keras-explainable"


STOPPED = 130  # the exit code of what Ctrl-C ends


class Backend(StrEnum):
    """The frameworks that Keras runs on."""

    tensorflow = "tensorflow"
    jax = "jax"
    torch = "torch"


class Fit(StrEnum):
    """How an image gets the model's size."""

    stretch = "stretch"
    crop = "crop"
    pad = "pad"
