"""Print errors in one line, and set exit codes."""

import functools
import os
import sys
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from keras_explainable.cli.backends import is_free, start_again, start_keras

SETS = ("all", "quick")  # names of several methods
MODEL_FILES = (".keras", ".h5", ".hdf5", ".pt", ".pth", ".pt2")


def friendly(command: Callable, keras: bool = True) -> Callable:
    """Wrap a command: print an error in one line and exit with 1, or let it through if `debug`. Without `keras`, Keras
    is not started."""

    @functools.wraps(command)
    def run(*, debug: bool, **options: Any) -> None:
        import typer

        from keras_explainable.errors import BackendError

        _check_methods(options)
        if not debug and (missing := _missing(options)):
            typer.echo(f"Error: {missing}", err=True)
            raise typer.Exit(1)
        try:
            if keras:
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


def _check_methods(options: Mapping[str, Any]) -> None:
    """Raise a usage error if a method that was named is not of this library, unless the model may register it."""
    import typer

    from keras_explainable import public_names

    given = options.get("method") or options.get("methods") or []
    known = public_names.method_names()
    for name in [given] if isinstance(given, str) else given:
        if name not in (*known, *SETS) and ":" not in str(options.get("model") or ""):
            near = get_close_matches(name.lower().replace("-", "_"), known, 1)
            hint = f". Did you mean {near[0]}?" if near else f": use one of {', '.join(known)}."
            raise typer.BadParameter(f"There is no method {name!r}{hint}", param_hint="--method")


def _missing(options: Mapping[str, Any]) -> str:
    """Return what to say if a file that was named is not there: importing Keras, for the same answer, takes seconds."""
    from keras_explainable.errors import printable

    given = options.get("images") or [options.get("image")]
    images = [path for path in given if isinstance(path, Path)] if isinstance(given, list) else []  # of demo, a number
    model = str(options.get("model") or options.get("named") or "")
    if images and not any(os.path.lexists(path) for path in images):
        return printable(f"There is no image at {images[0]}. Check the path.")
    files = all(os.path.isfile(path) for path in images)  # what else they may be is said first
    if files and model.endswith(MODEL_FILES) and not Path(model).expanduser().exists():
        return printable(f"There is no model file at {model}. Check the path.")
    return ""


def _one_line(error: Exception) -> str:
    from keras_explainable.errors import ExplainError, printable

    text = printable(" ".join(str(error).split()))
    if isinstance(error, ExplainError | OSError):
        return f"Error: {text}"
    return f"Error: {type(error).__name__}: {text[:300]} (unexpected: --debug shows where)"
