"""The command `doctor`: what is installed, and what the library runs on. For reports of errors."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import typer

from keras_explainable.cli import options
from keras_explainable.cli.choices import NAME, Backend
from keras_explainable.cli.commands import cli
from keras_explainable.cli.failures import friendly

# Beside the frameworks: what the extras install, and libraries whose models are often explained.
OTHERS = ["numpy", "pillow", "matplotlib", "typer", "scikit-image", "pandas", "starlette", "uvicorn"]
MODELS = ["keras-hub", "torchvision", "timm", "transformers"]
FRAMEWORKS = {"tensorflow": ["tensorflow", "tensorflow-cpu"], "jax": ["jax"], "torch": ["torch"]}
MISSING = "not installed"


@cli.command()
@friendly
def doctor(backend: options.On = None, debug: options.Debug = False) -> None:
    """Print versions, the backend and its device, BLAS, and what is installed: paste this into a report of an error.

    It names no files and sends nothing."""
    rows = facts()
    width = max(len(name) for name, _ in rows)
    typer.echo("\n".join(f"{name:<{width}}  {value}" for name, value in rows))


def facts() -> list[tuple[str, str]]:
    """Return what to know about this installation, as names and values."""
    import keras
    import numpy as np

    import keras_explainable as ke

    running = keras.backend.backend()
    rows = [
        (NAME, ke.__version__),
        ("Python", f"{platform.python_version()} on {platform.system()} {platform.machine()}, {os.cpu_count()} cores"),
        ("Keras", f"{keras.__version__} on {running}"),
        ("device", _device(keras)),
        ("float type", f"{keras.config.floatx()}, {keras.config.image_data_format()}"),
        ("BLAS", _blas(np)),
    ]
    rows += [(backend, _first(FRAMEWORKS[backend])) for backend in Backend]
    rows += [(name, _first([name])) for name in OTHERS + [one for one in MODELS if _first([one]) != MISSING]]
    return [*rows, ("first map", _first_map(ke))]


def _first(distributions: list[str]) -> str:
    for name in distributions:
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return MISSING


def _device(keras: Any) -> str:
    """Return the type of the device on which a tensor lies."""
    tensor = keras.ops.zeros((1,))
    device = getattr(tensor, "device", "")
    return str(getattr(device, "device_kind", device)) or "unknown"


def _blas(np: Any) -> str:
    found = np.show_config(mode="dicts").get("Build Dependencies", {}).get("blas", {})
    return " ".join(filter(None, [found.get("name"), found.get("version")])) or "unknown"


def _first_map(ke: Any) -> str:
    """Explain a sample scene. Return whether this works, or its error."""
    try:
        scene = ke.demo.load_scenes(1, seed=7)[0]
        maps = ke.gradcam(ke.demo.load_model(), scene, "predicted", verbose=0).maps
        return f"gradcam of the embedded network, {maps.shape[1]} x {maps.shape[2]}: works"
    except Exception as error:
        return f"fails: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
