"""Start the command line, and restart it for another backend."""

import os
import sys
import warnings
from importlib.util import find_spec
from typing import Any

from keras_explainable import ctrl_c
from keras_explainable.cli.backends import QUIET, select
from keras_explainable.cli.choices import NAME


def main() -> None:
    """Run the command line. Exit codes: 0 success, 1 error, 2 wrong usage, 130 Ctrl-C."""
    try:
        for name, value in QUIET.items() if "--debug" not in sys.argv else ():
            os.environ.setdefault(name, value)
        select(sys.argv[1:])
        if find_spec("typer") is None:
            sys.exit(f'The command line needs typer, which is missing: pip install "{NAME}[cli]"')
        warnings.formatwarning = _note
        app()(prog_name=NAME)
    except KeyboardInterrupt:
        ctrl_c.leave()
    except SystemExit as error:
        if error.code == ctrl_c.STOPPED:  # Typer turns Ctrl-C into this
            ctrl_c.leave()
        raise


def _note(message: object, *_: Any, **__: Any) -> str:
    """Format a warning in one line."""
    from keras_explainable import errors

    return f"Note: {errors.printable(' '.join(str(message).split()))}\n"


def app() -> Any:
    """Return the Typer application."""
    from keras_explainable.cli.batch_commands import cli

    return cli
