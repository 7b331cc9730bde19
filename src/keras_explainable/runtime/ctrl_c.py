"""Handle Ctrl-C while one of our commands imports the package, which takes seconds: the command exits at once, without
a traceback."""

import os
import signal
import sys
import threading
from itertools import pairwise
from pathlib import Path

HOME = __name__.partition(".")[0]
STOPPED = 130  # the exit code after Ctrl-C


def is_command() -> bool:
    """Whether this process is one of our commands: `keras-explainable`, or `python -m` with a module of this
    package."""
    script = Path(sys.argv[0]).name if getattr(sys, "argv", None) else ""
    modules = (module for option, module in pairwise(sys.orig_argv) if option == "-m")
    return script.startswith("keras-explainable") or any(m.split(".")[0] == HOME for m in modules)


def _exchange(known: object, new: object) -> None:
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) == known:
        signal.signal(signal.SIGINT, new)  # type: ignore[arg-type]


def raise_again() -> None:
    """Make Ctrl-C raise `KeyboardInterrupt` again, so that commands can clean up."""
    if is_command():
        _exchange(signal.SIG_DFL, signal.default_int_handler)


def leave() -> None:
    """Exit at once. A normal exit would wait for the framework's computation to finish, or crash while it runs."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(STOPPED)


if is_command():  # an exception would print a traceback, and imported code might swallow it
    _exchange(signal.default_int_handler, signal.SIG_DFL)
