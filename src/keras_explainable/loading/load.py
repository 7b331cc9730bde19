"""Load a model by its name or file: the demo, `keras.applications`, Keras and PyTorch files."""

import importlib
import re
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_explainable import models
from keras_explainable.errors import BackendError, InputError, ModelFileError
from keras_explainable.loading import keras_files
from keras_explainable.loading.applications import application, applications
from keras_explainable.loading.preprocessing import (
    SCALES,
    Loaded,
    with_chosen_preprocessing,
    with_image_size,
    with_preprocessing,
)
from keras_explainable.loading.texts import first_line
from keras_explainable.models import processes

DEMO = "demo"
TORCH_FILES = (".pt", ".pth", ".pt2")
FACTORY = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")  # package.module:function
BATCH = 32


def load(
    name_or_path: str | Path | None = None,
    weights: str | None = "imagenet",
    safe_mode: bool = True,
    scale: str | None = None,
    size: tuple[int, int] | None = None,
) -> Loaded:
    """Load a model by its name or file.

    Args:
        name_or_path: "demo" or None for the included demo model, a name in `keras.applications`, a `.keras` or `.h5`
            file, or "package.module:factory", a function that returns a keras.Model or torch.nn.Module. Without safe
            mode, also a TorchScript file (`.pt`, `.pth`) or a `torch.export` archive (`.pt2`). Modules need the torch
            backend of Keras.
        weights: the weights of a model of `keras.applications`. None uses random weights.
        safe_mode: a file may name layers and functions of Keras, and objects that are already imported or registered.
            Nothing else is created, run or unpickled. Use False only for a file that you trust as much as a program.
        scale: the values that a model from a file takes: "raw" (0..255), "unit" (0..1), "tf" (-1..1), "torch" or
            "caffe" (ImageNet's mean removed). None guesses "torch" for a module. For a Keras model, None is "raw" if
            the model has a Rescaling or Normalization layer, otherwise "unit" is guessed.
        size: (H, W) of the images, if the model takes any size. None uses 224 by 224.

    Raises:
        ModelFileError: there is no such name or file, the file is damaged or is not a model, its code is refused, or
            weights cannot be downloaded.
        InputError: the model does not take one batch of images or this size, or there is no such scale.
        BackendError: the model is a module and Keras does not run on PyTorch, or this process was forked from one
            that had explained a model.
    """
    processes.check(runs=False)
    if scale is not None and scale not in SCALES:
        raise InputError(f"scale={scale!r} came, and one of {', '.join(SCALES)} was expected.")
    name = str(name_or_path or DEMO)
    if name == DEMO:
        return with_image_size(_demo(), size)
    path = Path(name).expanduser()
    known = {n.lower(): n for n in applications()}
    if name.lower() in known and not path.is_file():
        return with_image_size(application(known[name.lower()], weights), size)
    if FACTORY.fullmatch(name) and not path.exists():
        return with_chosen_preprocessing(_made(name), scale, size)
    if path.exists():
        file = _torch_file if path.suffix in TORCH_FILES and path.is_file() else keras_files.load
        return with_chosen_preprocessing(file(path, safe_mode), scale, size)
    if path.suffix or path.parent != Path():
        raise ModelFileError(f"There is no model file at {path}. Check the path.")
    near = get_close_matches(name.lower(), known, 3, 0.5)
    hint = f" Did you mean {' or '.join(known[n] for n in near)}?" if near else ""
    raise ModelFileError(f"{name!r} is neither a file nor a model of keras.applications.{hint}")


def scores(loaded: Loaded, inputs: np.ndarray) -> np.ndarray:
    """The model's outputs (N, units).

    Raises:
        InputError: the model fails on these images, has several outputs, or its output is not one number per unit.
    """
    if not isinstance(loaded.model, keras.Model):
        return unit_scores(loaded, inputs)
    try:
        outputs = loaded.model.predict(inputs, verbose=0)
    except Exception as error:
        raise InputError(
            f"The model loads, but fails on images of shape {inputs.shape}: {first_line(error)} Is the file complete?"
        ) from error
    if not isinstance(outputs, np.ndarray) or outputs.ndim != 2:
        shape = keras.tree.map_structure(np.shape, outputs)
        raise InputError(
            f"The model's outputs have shape {shape}, and (N, units) was expected: explain others in Python."
        )
    return outputs


def unit_scores(loaded: Loaded, inputs: np.ndarray, units: np.ndarray | None = None) -> np.ndarray:
    """The scores (N, K) of the given units, or of all, as they are explained: before the last softmax or sigmoid."""
    found = []
    for i in range(0, len(inputs), BATCH):
        part = slice(i, i + BATCH)
        view = models.view(loaded.model, inputs[part], None if units is None else units[part])
        found.append(keras.ops.convert_to_numpy(view.evaluate()[0]))
    return np.concatenate(found)


def probabilities(loaded: Loaded, outputs: np.ndarray, units: np.ndarray, explained: np.ndarray) -> np.ndarray | None:
    """The probabilities (N, K) of some units, by the model's outputs (N, units) and the scores (N, K) of these units as
    they are `explained`. None if the model is a module of PyTorch, or ends in no softmax or sigmoid, and was not
    trained with one that `load` left out."""
    if not isinstance(loaded.model, keras.Model):
        return None
    if loaded.preprocess.softmax:
        outputs = np.exp(outputs - outputs.max(-1, keepdims=True))
        return np.take_along_axis(outputs / outputs.sum(-1, keepdims=True), units, -1)
    found = np.take_along_axis(outputs, units, -1)
    if outputs.min() < 0 or outputs.max() > 1 or np.allclose(found, explained, atol=1e-4):
        return None
    return found


def _demo() -> Loaded:
    from keras_explainable import demo

    return with_preprocessing(demo.load_model(), SCALES["raw"], "raw", class_names=list(demo.CLASSES))


def _torch_file(path: Path, safe_mode: bool) -> Any:
    if keras.backend.backend() != "torch":
        raise BackendError(
            f"{path} is a PyTorch file, and Keras runs on {keras.backend.backend()}. Run the command with "
            "--backend torch, or set KERAS_BACKEND=torch before Keras is imported."
        )
    from keras_explainable.loading import torch_files

    return torch_files.load(path, safe_mode)


def _made(name: str) -> Any:
    """The model that the function at "package.module:function" returns.

    Raises:
        ModelFileError: there is no such module or function, or it does not return a model.
    """
    module_name, _, function = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise ModelFileError(
            f"There is no module {error.name!r} to import {name} from. Install it, or give the folder that it is in, "
            "by --path DIR or PYTHONPATH."
        ) from None
    factory = getattr(module, function, None)
    if not callable(factory):
        raise ModelFileError(f"{module_name} has no function {function!r}: give package.module:factory.")
    model = factory()
    try:
        models.adapter(model)
    except InputError as error:
        raise ModelFileError(f"{name} did not return a model. {error}") from None
    return model
