"""Choose the backend of a command, and import Keras without the log lines of its backend."""

import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from importlib.util import find_spec

from keras_explainable import ctrl_c
from keras_explainable.cli.choices import NAME, Backend
from keras_explainable.runtime import selection

# Of what frameworks write to the terminal by themselves, only errors are wanted, and those are raised in Python.
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "JAX_LOGGING_LEVEL": "ERROR"}


def select(arguments: Sequence[str]) -> None:
    """Select the backend that is asked for, before Keras is imported. If it runs on another, restart the process."""
    match = re.search(r"(?:^|\0)--backend[=\0](\w+)", "\0".join(arguments))
    torch_file = any(word.endswith((".pt", ".pth", ".pt2")) for word in arguments)
    free = torch_file and not os.environ.get("KERAS_BACKEND")
    wanted = match[1] if match else "torch" if free else None
    if wanted is None or wanted not in list(Backend) or wanted in (running(), os.environ.get("KERAS_BACKEND")):
        return
    if find_spec(wanted) is None:
        sys.exit(f'Error: {wanted} is not installed. Run: pip install "{NAME}[{wanted}]"')
    if running():
        start_again(wanted, arguments)
    os.environ["KERAS_BACKEND"] = wanted


def running() -> str | None:
    """Return the backend that Keras runs on; None if it was not imported yet."""
    keras = sys.modules.get("keras")
    return keras.backend.backend() if keras else None


def start_again(backend: str, arguments: Sequence[str]) -> None:
    """Replace this process by the same command on another backend. `-P`: import nothing from the current folder."""
    os.environ["KERAS_BACKEND"] = backend
    os.execv(sys.executable, [sys.executable, "-P", "-m", "keras_explainable.cli", *arguments])


def is_free() -> bool:
    """Return whether no backend was chosen and PyTorch is installed."""
    chosen = os.environ.get("KERAS_BACKEND") or any(word.startswith("--backend") for word in sys.argv)
    return not chosen and find_spec("torch") is not None


def start_keras(backend: str | None, debug: bool) -> None:
    """Import Keras, with its log lines if `debug`. Raise `BackendError` if it runs on no backend, or on another."""
    selection.choose()
    with nullcontext() if debug or running() or sys.stderr is None else _quiet():
        import keras

    from keras_explainable.errors import BackendError

    ctrl_c.raise_again()  # not before: an import may swallow it
    if backend not in (None, keras.backend.backend()):
        raise BackendError(f"Keras already runs on {keras.backend.backend()}. Set KERAS_BACKEND={backend} beforehand.")


@contextmanager
def _quiet() -> Iterator[None]:
    """Drop what is written to stderr meanwhile: no setting turns off TensorFlow's notice about oneDNN."""
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)
