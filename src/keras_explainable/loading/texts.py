"""Shorten and clean error messages and names from other libraries and files, so that they can be shown."""

import re
import traceback

import keras

BOLD = re.compile(r"\x1b\[[0-9;]*m")
CALLED = re.compile(r"Exception encountered when calling [^\n]*\n+")
MADE = "Exception encountered: "  # Keras writes this before the error of what it could not build


def reason(error: BaseException) -> str:
    """One line that says why Keras could not build or run a model, and in which layer."""
    cause: BaseException = error
    layer = layer_of(error)
    while isinstance(cause, NotImplementedError) and cause.__context__ is not None:
        cause = cause.__context__  # why a shape could not be computed
    text = BOLD.sub("", str(cause)).rpartition(MADE)[2]
    text = CALLED.split(text)[-1].strip()
    return (f"{layer!r}: " if layer else "") + shortened(text or type(cause).__name__)


def layer_of(error: BaseException | None) -> str | None:
    """The name of the innermost layer that raised an error. Keras does not name it in its own messages."""
    name = None
    while error is not None:
        for frame, _ in traceback.walk_tb(error.__traceback__):
            layer = frame.f_locals.get("self")
            if isinstance(layer, keras.layers.Layer) and not isinstance(layer, keras.Model):
                name = getattr(layer, "name", name)
        error = error.__context__
    return name


def first_line(error: Exception) -> str:
    """The first line of an error message, cut to 160 characters."""
    return shortened(str(error).strip() or type(error).__name__)


def shortened(text: str) -> str:
    """The first line of a text, cut to 160 characters."""
    line = text.splitlines()[0]
    return line if len(line) <= 160 else line[:157] + "..."
