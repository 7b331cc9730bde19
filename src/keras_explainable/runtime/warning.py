"""Warnings of this library: told to a listener, or shown at the user's own line."""

import inspect
import os
import warnings

from keras_explainable.runtime import progress

HOME = os.path.dirname(os.path.dirname(__file__))  # warnings never point to a line in here


def warn(text: str) -> None:
    """Tell a warning to the listener (`ke.progress.listening`). If there is none, show it at the user's own line."""
    if not progress.warned(text):
        warnings.warn(text, stacklevel=_user_stacklevel())


def _user_stacklevel() -> int:
    """The `stacklevel` that makes a warning of `warn` point to the user's own line."""
    return next(i for i, frame in enumerate(inspect.stack(0)) if not frame.filename.startswith(HOME))
