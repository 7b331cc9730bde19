"""The exceptions of the library. Each message says what came, what was expected, and what to do."""

import unicodedata


def shortly(value: object) -> str:
    """Like `repr`, except for integers that are too long to print."""
    bits = value.bit_length() if isinstance(value, int) else 0
    try:
        return f"a number of {bits:,} bits" if bits > 256 else repr(value)
    except ValueError:  # it contains such a number
        return f"a {type(value).__name__} with a number of thousands of digits"


def printable(name: object) -> str:
    """Return a name or a message that is safe to print in one line.

    Control characters, characters that change the direction of text, and bytes that are not UTF-8 are escaped."""
    return "".join(
        c if c.isprintable() or unicodedata.category(c) == "Zs" else c.encode("unicode_escape").decode()
        for c in str(name)
    )


def keep_partial(error: BaseException, partial: object, done: str) -> None:
    """Attach the results so far to an error, as `.partial`, and say so in a note."""
    error.partial = partial  # type: ignore[attr-defined]
    error.add_note(f"{done} before this: see this exception's `.partial`.")


class ExplainError(Exception):
    """The base of all errors of this library."""

    __init__ = Exception.__init__  # `tf.function` needs this to re-raise the same class


class InputError(ExplainError, ValueError):
    """The images, units, or parameters of a call do not fit."""


class MethodNameError(InputError, KeyError):
    """No method has this name."""

    __str__ = Exception.__str__  # a `KeyError` would show its message in quotation marks


class LayerError(ExplainError, ValueError):
    """A layer or signal that the user named, or that a method needs, is not in the model."""


class ChangedError(LayerError):
    """A model ran differently from when it was traced, or another thread changed it meanwhile. What was cached about it
    is dropped, so the same call may now succeed."""


class ModelFileError(ExplainError, ValueError):
    """A model or image file cannot be read, or is not safe to read."""


class BackendError(ExplainError, ImportError):
    """A framework is not installed, or is not the one that Keras runs on."""


class Stopped(KeyboardInterrupt):
    """Raised by the callback of `ke.progress.listening` to stop the work. It is handled like Ctrl-C: it does not count
    as an error of a method, and the results so far are in `.partial`."""


class OutputError(ExplainError, OSError):
    """Files cannot be written: some already exist, or the system refuses."""
