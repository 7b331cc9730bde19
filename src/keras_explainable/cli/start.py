"""Where the command line begins, and where it begins anew for another backend."""

import sys
import warnings
from importlib.util import find_spec
from typing import Any

from keras_explainable.cli.backends import restart
from keras_explainable.cli.choices import NAME, STOPPED
from keras_explainable.cli.failures import leave


def main() -> None:
    """Run the command line. Exit codes: 0 done, 1 it could not be done, 2 it was not said right, 130 Ctrl-C."""
    from keras_explainable import ctrl_c

    try:
        ctrl_c.raised()
        restart(sys.argv[1:])
        if find_spec("typer") is None:
            sys.exit(f'The command line needs typer, which is missing: pip install "{NAME}[cli]"')
        warnings.formatwarning = _note
        app()(prog_name=NAME)
    except KeyboardInterrupt:
        leave()
    except SystemExit as error:
        if error.code == STOPPED:  # which Typer makes of Ctrl-C
            leave()
        raise


def _note(message: object, *_: Any, **__: Any) -> str:
    """A warning, in a line."""
    from keras_explainable import viz

    return f"Note: {viz.tables.shown(' '.join(str(message).split()))}\n"


def app() -> Any:
    """The Typer application."""
    from keras_explainable.cli.commands import cli

    return cli
