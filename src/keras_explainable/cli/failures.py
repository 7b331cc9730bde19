"""Print errors in one line, and set exit codes."""

import functools
import sys
from collections.abc import Callable
from typing import Any

from keras_explainable.cli.backends import is_free, start_again, start_keras


def friendly(command: Callable) -> Callable:
    """Wrap a command: print an error in one line and exit with 1, or let it through if `debug`."""

    @functools.wraps(command)
    def run(*, debug: bool, **options: Any) -> None:
        import typer

        from keras_explainable.errors import BackendError

        try:
            start_keras(options.get("backend"), debug)
            command(debug=debug, **options)
        except (typer.Exit, typer.Abort, typer.BadParameter):
            raise
        except Exception as error:
            if isinstance(error, BackendError) and is_free():  # a factory made a module of PyTorch
                start_again("torch", sys.argv[1:])
            if debug:
                raise
            typer.echo(_one_line(error), err=True)
            raise typer.Exit(1) from None

    return run


def _one_line(error: Exception) -> str:
    from keras_explainable.errors import ExplainError, printable

    text = printable(" ".join(str(error).split()))
    if isinstance(error, ExplainError | OSError):
        return f"Error: {text}"
    return f"Error: {type(error).__name__}: {text[:300]} (unexpected: --debug shows where)"
