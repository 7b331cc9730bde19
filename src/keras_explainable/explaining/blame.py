"""The line of the user's that a warning is about."""

import inspect
import os

HOME = os.path.dirname(os.path.dirname(__file__))  # no line in here is to blame for a warning


def outside() -> int:
    """The `stacklevel` of a warning whose caller is the user's own line."""
    return next(i for i, frame in enumerate(inspect.stack(0)) if not frame.filename.startswith(HOME))
