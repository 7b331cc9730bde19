"""Find the user's line that a warning is about."""

import inspect
import os

HOME = os.path.dirname(os.path.dirname(__file__))  # warnings never point to a line in here


def user_stacklevel() -> int:
    """The `stacklevel` that makes a warning point to the user's own line."""
    return next(i for i, frame in enumerate(inspect.stack(0)) if not frame.filename.startswith(HOME))
