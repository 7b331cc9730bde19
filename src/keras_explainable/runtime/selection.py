"""Choose the framework that Keras runs on, before Keras is imported: the user's setting, or else an installed one."""

import json
import os
import sys
from importlib.util import find_spec
from pathlib import Path

from keras_explainable.errors import BackendError

SUPPORTED = ("tensorflow", "jax", "torch")


def configured() -> str:
    """The backend that Keras would choose: `KERAS_BACKEND`, else its configuration file, else TensorFlow."""
    if os.environ.get("KERAS_BACKEND"):
        return os.environ["KERAS_BACKEND"]
    home = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
    try:
        return json.loads((home / "keras.json").read_text())["backend"]
    except (OSError, ValueError, KeyError, TypeError):
        return "tensorflow"


def choose() -> None:
    """Keep a setting that works. Otherwise select an installed backend, or raise and say how to install one.

    Raises:
        BackendError: no backend is installed, the one that the user set is not installed, or it is not supported.
    """
    if "keras" in sys.modules:
        return
    wanted = configured()
    installed = [name for name in SUPPORTED if find_spec(name)]
    if wanted in installed:
        return
    if os.environ.get("KERAS_BACKEND"):
        if wanted not in SUPPORTED:
            raise BackendError(
                f"KERAS_BACKEND={wanted!r}, but keras-explainable runs on {', '.join(SUPPORTED)}: set one of these."
            )
        raise BackendError(
            f"KERAS_BACKEND={wanted!r}, but {wanted} is not installed. Run: pip install 'keras-explainable[{wanted}]'"
            + (f", or set KERAS_BACKEND={installed[0]}, which is installed." if installed else ".")
        )
    if not installed:
        raise BackendError(
            "keras-explainable needs one of TensorFlow, JAX or PyTorch, and none is installed. "
            "Run one of: pip install 'keras-explainable[tensorflow]', 'keras-explainable[jax]', "
            "'keras-explainable[torch]'."
        )
    os.environ["KERAS_BACKEND"] = installed[0]
