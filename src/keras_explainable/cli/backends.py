"""Choose the backend of a command. A process has one backend, and must restart for another."""

import os
import re
import sys
from collections.abc import Sequence
from importlib.util import find_spec

from keras_explainable.cli.choices import NAME, Backend


def restart(arguments: Sequence[str]) -> None:
    """Restart the process if another backend is asked for: Keras chose one when it was imported, before this line."""
    import keras

    match = re.search(r"(?:^|\0)--backend[=\0](\w+)", "\0".join(arguments))
    torch_file = any(word.endswith((".pt", ".pth", ".pt2")) for word in arguments)
    free = torch_file and not os.environ.get("KERAS_BACKEND")
    wanted = match[1] if match else "torch" if free else keras.backend.backend()
    if wanted not in list(Backend) or wanted in (keras.backend.backend(), os.environ.get("KERAS_BACKEND")):
        return
    if find_spec(wanted) is None:
        sys.exit(f'Error: {wanted} is not installed. Run: pip install "{NAME}[{wanted}]"')
    start_again(wanted, arguments)


def start_again(backend: str, arguments: Sequence[str]) -> None:
    """Replace this process by the same command on another backend. `-P`: import nothing from the current folder."""
    os.environ["KERAS_BACKEND"] = backend
    os.execv(sys.executable, [sys.executable, "-P", "-m", "keras_explainable.cli", *arguments])


def is_free() -> bool:
    """Return whether no backend was chosen and PyTorch is installed."""
    chosen = os.environ.get("KERAS_BACKEND") or any(word.startswith("--backend") for word in sys.argv)
    return not chosen and find_spec("torch") is not None


def check_backend(backend: str | None) -> None:
    """Raise `BackendError` if Keras runs on another backend than this."""
    import keras

    from keras_explainable.errors import BackendError

    if backend not in (None, keras.backend.backend()):
        raise BackendError(f"Keras already runs on {keras.backend.backend()}. Set KERAS_BACKEND={backend} beforehand.")
