"""The command line: `keras-explainable explain photo.jpg`. Typer loads when it is needed."""

import functools
import os
import re
import sys
import warnings
from collections.abc import Callable, Sequence
from enum import StrEnum
from importlib.util import find_spec
from typing import Any

NAME = "keras-explainable"
STOPPED = 130  # the exit code of what Ctrl-C ends


class Backend(StrEnum):
    """The frameworks that Keras runs on."""

    tensorflow = "tensorflow"
    jax = "jax"
    torch = "torch"


class Fit(StrEnum):
    """How an image gets the model's size."""

    stretch = "stretch"
    crop = "crop"
    pad = "pad"


def main() -> None:
    """Run the command line. Exit codes: 0 done, 1 it could not be done, 2 it was not said right, 130 Ctrl-C."""
    from keras_explainable import ctrl_c

    try:
        ctrl_c.raised()
        _restart(sys.argv[1:])
        if find_spec("typer") is None:
            sys.exit(f'The command line needs typer, which is missing: pip install "{NAME}[cli]"')
        warnings.formatwarning = _note
        app()(prog_name=NAME)
    except KeyboardInterrupt:
        _leave()
    except SystemExit as error:
        if error.code == STOPPED:  # which Typer makes of Ctrl-C
            _leave()
        raise


def _leave() -> None:
    """End at once: at its usual end a process waits for what its framework still computes."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(STOPPED)


def _note(message: object, *_: Any, **__: Any) -> str:
    """A warning, in a line."""
    from keras_explainable import viz

    return f"Note: {viz.tables.shown(' '.join(str(message).split()))}\n"


def app() -> Any:
    """The Typer application."""
    from keras_explainable.cli.commands import cli

    return cli


def _restart(arguments: Sequence[str]) -> None:
    """Begin anew where another backend is asked for: Keras took one when it was imported, before this line."""
    import keras

    match = re.search(r"(?:^|\0)--backend[=\0](\w+)", "\0".join(arguments))
    torch_file = any(word.endswith((".pt", ".pth", ".pt2")) for word in arguments)
    free = torch_file and not os.environ.get("KERAS_BACKEND")
    wanted = match[1] if match else "torch" if free else keras.backend.backend()
    if wanted not in list(Backend) or wanted in (keras.backend.backend(), os.environ.get("KERAS_BACKEND")):
        return
    if find_spec(wanted) is None:
        sys.exit(f'Error: {wanted} is not installed. Run: pip install "{NAME}[{wanted}]"')
    _again(wanted, arguments)


def _again(backend: str, arguments: Sequence[str]) -> None:
    """The same command in this process, on another backend; `-P`: no module comes from the current folder."""
    os.environ["KERAS_BACKEND"] = backend
    os.execv(sys.executable, [sys.executable, "-P", "-m", "keras_explainable.cli", *arguments])


def _is_free() -> bool:
    """Whether nobody has chosen a backend, and PyTorch could be the one."""
    chosen = os.environ.get("KERAS_BACKEND") or any(word.startswith("--backend") for word in sys.argv)
    return not chosen and find_spec("torch") is not None


def friendly(command: Callable) -> Callable:
    """The command, with errors told in one line and exit code 1, or as they are if `debug`."""

    @functools.wraps(command)
    def run(*, debug: bool, **options: Any) -> None:
        import typer

        from keras_explainable.errors import BackendError

        try:
            _check_backend(options.get("backend"))
            command(debug=debug, **options)
        except (typer.Exit, typer.Abort, typer.BadParameter):
            raise
        except Exception as error:
            if isinstance(error, BackendError) and _is_free():  # a factory made a module of PyTorch
                _again("torch", sys.argv[1:])
            if debug:
                raise
            typer.echo(_one_line(error), err=True)
            raise typer.Exit(1) from None

    return run


def _one_line(error: Exception) -> str:
    from keras_explainable import viz
    from keras_explainable.errors import ExplainError

    text = viz.tables.shown(" ".join(str(error).split()))
    if isinstance(error, ExplainError | OSError):
        return f"Error: {text}"
    return f"Error: {type(error).__name__}: {text[:300]} (unexpected: --debug shows where)"


def _check_backend(backend: str | None) -> None:
    import keras

    from keras_explainable.errors import BackendError

    if backend not in (None, keras.backend.backend()):
        raise BackendError(f"Keras runs on {keras.backend.backend()} already. Set KERAS_BACKEND={backend} beforehand.")
