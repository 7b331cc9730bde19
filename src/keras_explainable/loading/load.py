"""Models by name or file, and how to feed them images: the demo's, `keras.applications`, files of Keras and PyTorch."""

import importlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_explainable import models
from keras_explainable.errors import BackendError, InputError, ModelFileError
from keras_explainable.loading import keras_files
from keras_explainable.loading.texts import first_line

DEMO = "demo"
TORCH_FILES = (".pt", ".pth", ".pt2")
FACTORY = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")  # package.module:function
BATCH = 32
MOST_PIXELS = 50_000_000  # of an image, as of those that are read
SIDE = 224  # of images for a model that takes them at any size


def _as_applications(mode: str) -> Callable[[np.ndarray], np.ndarray]:
    return lambda x: keras.applications.imagenet_utils.preprocess_input(x, "channels_last", mode)


# What becomes of 8-bit values; the last three are the modes of keras.applications.
SCALES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "raw": lambda x: x,
    "unit": lambda x: x / 255.0,
    **{mode: _as_applications(mode) for mode in ("tf", "torch", "caffe")},
}


@dataclass(frozen=True)
class Preprocess:
    """Callable: images uint8 (N, H, W, 3) -> what the model takes, float32, in its number and order of channels."""

    scale: Callable[[np.ndarray], np.ndarray]
    name: str
    guessed: bool = False
    channels: int = 3
    channels_first: bool = False
    fit: str = "stretch"  # how an image of another shape gets its size; "crop" where the model is known to be fed so

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """The images as the model takes them."""
        values = np.asarray(self.scale(np.array(images, "float32")), "float32")
        if self.channels == 1:
            values = values @ np.array([[0.299], [0.587], [0.114]], "float32")
        return np.moveaxis(values, -1, 1) if self.channels_first else values


class Loaded(NamedTuple):
    """A model, how to prepare images for it, their size (H, W), and the names of its units where they are known."""

    model: Any
    preprocess: Preprocess
    size: tuple[int, int]
    class_names: list[str] | None


def load(
    name_or_path: str | Path | None = None,
    weights: str | None = "imagenet",
    safe_mode: bool = True,
    scale: str | None = None,
    size: tuple[int, int] | None = None,
) -> Loaded:
    """A model by name or file.

    Args:
        name_or_path: "demo" or None for the embedded one, a name in `keras.applications`, a `.keras` or `.h5` file, or
            "package.module:factory", a function that returns a keras.Model or torch.nn.Module. Without safe mode also a
            TorchScript file (`.pt`, `.pth`) or an archive of `torch.export` (`.pt2`). Modules need Keras's torch
            backend.
        weights: of a model of `keras.applications`; None for random ones.
        safe_mode: a file may name layers and functions of Keras, and those that are imported and registered already;
            nothing else is made, run, or unpickled. False for a file that you trust as much as a program.
        scale: what a file's model takes: "raw" (0..255), "unit" (0..1), "tf" (-1..1), "torch" or "caffe" (ImageNet's
            mean removed). None guesses "torch" for a module; for a Keras model it takes raw if there is a Rescaling or
            Normalization layer, else guesses unit.
        size: (H, W) of its images, where the model takes any; 224 by 224 for None.

    Raises:
        ModelFileError: no such name or file, it is no model or damaged, its code is refused, or weights that cannot be
            fetched. InputError: the model does not take one image, or none of this size, or there is no such scale.
            BackendError: a module, and Keras does not run on PyTorch.
    """
    if scale is not None and scale not in SCALES:
        raise InputError(f"No scale is named {scale!r}. Expected one of: {', '.join(SCALES)}.")
    name = str(name_or_path or DEMO)
    if name == DEMO:
        return _sized(_demo(), size)
    path = Path(name).expanduser()
    known = {n.lower(): n for n in applications()}
    if name.lower() in known and not path.is_file():
        return _sized(_application(known[name.lower()], weights), size)
    if FACTORY.fullmatch(name) and not path.exists():
        return _fed_as_told(_made(name), scale, size)
    if path.exists():
        file = _torch_file if path.suffix in TORCH_FILES and path.is_file() else keras_files.load
        return _fed_as_told(file(path, safe_mode), scale, size)
    if path.suffix or path.parent != Path():
        raise ModelFileError(f"There is no model file at {path}. Check the path.")
    near = get_close_matches(name.lower(), known, 3, 0.5)
    hint = f" Did you mean {' or '.join(known[n] for n in near)}?" if near else ""
    raise ModelFileError(f"{name!r} is neither a file nor a model of keras.applications.{hint}")


def scores(loaded: Loaded, inputs: np.ndarray) -> np.ndarray:
    """The model's outputs (N, units).

    Raises:
        InputError: it has several outputs, not one number for each unit, or fails on these images.
    """
    if not isinstance(loaded.model, keras.Model):
        return unit_scores(loaded, inputs)
    try:
        outputs = loaded.model.predict(inputs, verbose=0)
    except Exception as error:
        raise InputError(
            f"The model loads, but fails on images of shape {inputs.shape}: {first_line(error)} Is its file whole?"
        ) from error
    if not isinstance(outputs, np.ndarray) or outputs.ndim != 2:
        shape = keras.tree.map_structure(np.shape, outputs)
        raise InputError(f"The model's outputs are of shape {shape}. Expected (N, units): explain others in Python.")
    return outputs


def unit_scores(loaded: Loaded, inputs: np.ndarray, units: np.ndarray | None = None) -> np.ndarray:
    """The scores of units (N, K), or of all, where they are explained: before the last softmax or sigmoid."""
    found = []
    for i in range(0, len(inputs), BATCH):
        part = slice(i, i + BATCH)
        view = models.view(loaded.model, inputs[part], None if units is None else units[part])
        found.append(keras.ops.convert_to_numpy(view.evaluate()[0]))
    return np.concatenate(found)


def applications() -> dict[str, ModuleType]:
    """The names of `keras.applications`' models, and the module of each, which has its `preprocess_input`."""
    modules = {k: m for k, m in vars(keras.applications).items() if hasattr(m, "preprocess_input")}
    names = [name for name in vars(keras.applications) if name[0].isupper()]

    def module(name: str) -> ModuleType:
        own = [m for m in modules.values() if hasattr(m, name)]
        prefixes = [k for k in modules if name.lower().startswith(k.replace("_", ""))]  # MobileNetV3's has no model
        return own[0] if own else modules[max(prefixes, key=len)]

    return {name: module(name) for name in names}


def _demo() -> Loaded:
    from keras_explainable import demo

    return _fed(demo.load_model(), SCALES["raw"], "raw", class_names=list(demo.CLASSES))


def _application(name: str, weights: str | None) -> Loaded:
    module = applications()[name]
    try:
        model = getattr(keras.applications, name)(weights=weights, classifier_activation=None)
    except Exception as error:
        if "fetch failure" not in str(error):
            raise
        raise ModelFileError(
            f"The ImageNet weights of {name} could not be downloaded ({first_line(error)}). Connect to the internet, "
            "give the path of a .keras or .h5 file, or ask for random weights (--weights none): maps without meaning."
        ) from None

    def preprocess(x: np.ndarray) -> np.ndarray:
        return module.preprocess_input(x, data_format="channels_last")

    loaded = _fed(model, preprocess, name, class_names=_imagenet_names() if weights == "imagenet" else None)
    fit = "crop" if weights else "stretch"  # the accuracies published with the weights are of central crops
    return loaded._replace(preprocess=replace(loaded.preprocess, fit=fit))


def _imagenet_names() -> list[str] | None:
    """The thousand names, or None where their list cannot be downloaded: a map without a name is a map still."""
    try:
        best = keras.applications.imagenet_utils.decode_predictions(np.eye(1000), top=1)
        return [str(ranked[0][1]) for ranked in best]
    except Exception:
        return None


def _torch_file(path: Path, safe_mode: bool) -> Any:
    if keras.backend.backend() != "torch":
        raise BackendError(
            f"{path} is a file of PyTorch, and Keras runs on {keras.backend.backend()}. Run it with --backend torch, "
            "or with KERAS_BACKEND=torch set before Keras is imported."
        )
    from keras_explainable.models import torch_files

    return torch_files.load(path, safe_mode)


def _made(name: str) -> Any:
    """What the function at "package.module:function" returns, which has to be a model."""
    module_name, _, function = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise ModelFileError(
            f"There is no module {error.name!r} to import {name} from. Install it, or say the folder that it is in: "
            "--path DIR, or PYTHONPATH."
        ) from None
    factory = getattr(module, function, None)
    if not callable(factory):
        raise ModelFileError(f"{module_name} has no function {function!r}. Expected package.module:factory.")
    model = factory()
    try:
        models.adapter(model)
    except InputError as error:
        raise ModelFileError(f"{name} did not return a model. {error}") from None
    return model


def _fed_as_told(model: Any, scale: str | None, size: tuple[int, int] | None) -> Loaded:
    """The model with the scale and size of its images, or a guess."""
    if isinstance(model, keras.Model):
        chosen = scale or ("raw" if _scales_itself(model) else "unit")
        loaded = _fed(model, SCALES[chosen], chosen, guessed=scale is None and chosen == "unit")
    else:
        from keras_explainable.models import torch_files

        chosen = scale or "torch"
        channels = torch_files.channels(model)
        preprocess = Preprocess(SCALES[chosen], chosen, scale is None, channels, channels_first=True)
        loaded = Loaded(model, preprocess, torch_files.size(model) or (SIDE, SIDE), None)
    return _sized(loaded, size)


def _sized(loaded: Loaded, size: tuple[int, int] | None) -> Loaded:
    """The model with images of this size, which is refused where the model has a size of its own."""
    if size is None:
        return loaded
    if isinstance(loaded.model, keras.Model):
        shape = loaded.model.input_shape
        own = shape[2:] if loaded.preprocess.channels_first else shape[1:3]
    else:
        from keras_explainable.models import torch_files

        own = torch_files.size(loaded.model) or (None, None)
    if any(side not in (None, s) for side, s in zip(own, size, strict=True)):
        taken = " by ".join(str(side or "any") for side in own)
        raise InputError(f"size={size} (--size) came, and the model takes images of {taken} alone: leave it out.")
    if min(size) < 1 or size[0] * size[1] > MOST_PIXELS:
        raise InputError(
            f"size={size} (--size): sides of 1 or more, and {MOST_PIXELS:,} pixels at most, were expected."
        )
    return loaded._replace(size=size)


def _fed(model: Any, scale: Callable, name: str, guessed: bool = False, class_names: Any = None) -> Loaded:
    """The model with the size and order of channels of its images."""
    shape = getattr(model, "input_shape", None)
    if not isinstance(shape, tuple) or len(shape) != 4:
        raise InputError(f"The model takes {shape}. Expected one batch of images, (N, H, W, C).")
    first = shape[-1] not in (1, 3, None) and shape[1] in (1, 3)
    channels, space = (shape[1], shape[2:]) if first else (shape[3], shape[1:3])
    if channels not in (1, 3, None):
        raise InputError(f"The model takes images of {channels} channels. Expected 1 or 3, as image files have.")
    height, width = (side or SIDE for side in space)
    return Loaded(model, Preprocess(scale, name, guessed, channels or 3, first), (height, width), class_names)


def _scales_itself(model: Any) -> bool:
    return any(isinstance(layer, keras.layers.Rescaling | keras.layers.Normalization) for layer in _layers(model))


def _layers(model: Any) -> Iterator[Any]:
    for layer in getattr(model, "layers", ()):
        yield layer
        yield from _layers(layer)
