"""The exceptions of the library. Each message says what came, what was expected, and what to do."""


def shortly(value: object) -> str:
    """A value as it is written, but for whole numbers that would fill a page, or that Python does not write."""
    bits = value.bit_length() if isinstance(value, int) else 0
    try:
        return f"a number of {bits:,} bits" if bits > 256 else repr(value)
    except ValueError:  # of what holds such a number
        return f"a {type(value).__name__} with a number of thousands of digits"


class ExplainError(Exception):
    """Anything this library refuses. Catch it to catch all of the below."""

    __init__ = Exception.__init__  # by which `tf.function` knows that it can raise the same class again


class InputError(ExplainError, ValueError):
    """The images, units, or parameters of a call do not fit."""


class MethodNameError(InputError, KeyError):
    """No method has the name that was asked for."""

    __str__ = Exception.__str__  # a `KeyError` would show its message in quotation marks


class LayerError(ExplainError, ValueError):
    """A layer or a signal that was asked for, or that a method needs, is not in the model."""


class ChangedError(LayerError):
    """A model ran otherwise than when it was looked at, or another thread changed it meanwhile. What was kept of it is
    forgotten: the same call can succeed."""


class ModelFileError(ExplainError, ValueError):
    """A model or image file that cannot be read, or that is not safe to read."""


class BackendError(ExplainError, ImportError):
    """A framework that is not installed, or not the one Keras runs on."""


class OutputError(ExplainError, OSError):
    """Files cannot be written there: some exist, or the system refuses."""
