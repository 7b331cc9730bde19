"""Prepare images for a model: scale, size and channels."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_explainable.errors import InputError

MOST_PIXELS = 50_000_000  # per image, the same limit as for reading image files


SIDE = 224  # side of the images for a model that takes any size


def _as_applications(mode: str) -> Callable[[np.ndarray], np.ndarray]:
    return lambda x: keras.applications.imagenet_utils.preprocess_input(x, "channels_last", mode)


# Functions of 8-bit values. The last three are the modes of keras.applications.
SCALES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "raw": lambda x: x,
    "unit": lambda x: x / 255.0,
    **{mode: _as_applications(mode) for mode in ("tf", "torch", "caffe")},
}


@dataclass(frozen=True)
class Preprocess:
    """A function from uint8 images (N, H, W, 3) to float32 images with the number and order of the model's channels."""

    scale: Callable[[np.ndarray], np.ndarray]
    name: str
    guessed: bool = False
    channels: int = 3
    channels_first: bool = False
    fit: str = "stretch"  # how an image of another size is fitted; "crop" if the model is known to take crops
    softmax: bool = False  # whether the model was trained with a softmax that it now lacks

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """The images as the model takes them."""
        values = np.asarray(self.scale(np.array(images, "float32")), "float32")
        if self.channels == 1:
            values = values @ np.array([[0.299], [0.587], [0.114]], "float32")
        return np.moveaxis(values, -1, 1) if self.channels_first else values


class Loaded(NamedTuple):
    """A model, the preprocessing and size (H, W) of its images, and the names of its units if they are known."""

    model: Any
    preprocess: Preprocess
    size: tuple[int, int]
    class_names: list[str] | None


def with_chosen_preprocessing(model: Any, scale: str | None, size: tuple[int, int] | None) -> Loaded:
    """The model with the given scale and size of its images, or with a guess of these."""
    if isinstance(model, keras.Model):
        chosen = scale or ("raw" if _scales_itself(model) else "unit")
        loaded = with_preprocessing(model, SCALES[chosen], chosen, guessed=scale is None and chosen == "unit")
    else:
        from keras_explainable.models.torch import files

        chosen = scale or "torch"
        channels = files.channels_of(model)
        preprocess = Preprocess(SCALES[chosen], chosen, scale is None, channels, channels_first=True)
        loaded = Loaded(model, preprocess, files.size_of(model) or (SIDE, SIDE), None)
    return with_image_size(loaded, size)


def with_image_size(loaded: Loaded, size: tuple[int, int] | None) -> Loaded:
    """The model with images of this size. Raise an InputError if the model takes another size only."""
    if size is None:
        return loaded
    if isinstance(loaded.model, keras.Model):
        shape = loaded.model.input_shape
        own = shape[2:] if loaded.preprocess.channels_first else shape[1:3]
    else:
        from keras_explainable.models.torch import files

        own = files.size_of(loaded.model) or (None, None)
    if any(side not in (None, s) for side, s in zip(own, size, strict=True)):
        taken = " by ".join(str(side or "any") for side in own)
        raise InputError(f"size={size} (--size) came, and the model only takes images of {taken}: leave it out.")
    if min(size) < 1 or size[0] * size[1] > MOST_PIXELS:
        raise InputError(
            f"size={size} (--size) came, and sides of 1 or more and at most {MOST_PIXELS:,} pixels were expected."
        )
    return loaded._replace(size=size)


def with_preprocessing(
    model: Any, scale: Callable, name: str, guessed: bool = False, class_names: Any = None
) -> Loaded:
    """The model with the size and the channel order of its images, which are read from its input shape."""
    shape = getattr(model, "input_shape", None)
    if not isinstance(shape, tuple) or len(shape) != 4:
        raise InputError(
            f"The model takes inputs of shape {shape}, and one batch of images, (N, H, W, C), was expected."
        )
    first = shape[-1] not in (1, 3, None) and shape[1] in (1, 3)
    channels, space = (shape[1], shape[2:]) if first else (shape[3], shape[1:3])
    if channels not in (1, 3, None):
        raise InputError(
            f"The model takes images with {channels} channels, and 1 or 3 were expected, as image files have."
        )
    height, width = (side or SIDE for side in space)
    return Loaded(model, Preprocess(scale, name, guessed, channels or 3, first), (height, width), class_names)


def _scales_itself(model: Any) -> bool:
    return any(isinstance(layer, keras.layers.Rescaling | keras.layers.Normalization) for layer in _layers(model))


def _layers(model: Any) -> Iterator[Any]:
    for layer in getattr(model, "layers", ()):
        yield layer
        yield from _layers(layer)
