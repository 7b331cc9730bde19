"""Shared by the classes of this package: Keras on PyTorch, one class for each image, results as the user's tensors."""

import os
import sys
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

if "keras" not in sys.modules and not os.environ.get("KERAS_BACKEND") and find_spec("torch"):
    os.environ["KERAS_BACKEND"] = "torch"

import keras_explainable as ke  # noqa: E402  (after the choice above; so the other modules import it from here)

if ke.backend.name != "torch":
    raise ke.errors.BackendError(
        f"The package `saliency` explains PyTorch modules, but Keras runs on {ke.backend.name}. "
        + (
            "Start a new process (restart a notebook's kernel) with KERAS_BACKEND=torch in the environment, or without "
            "KERAS_BACKEND and with saliency imported before Keras."
            if find_spec("torch")
            else "PyTorch is not installed. Run: pip install 'keras-explainable[torch]'"
        )
    )

import keras  # noqa: E402
import torch  # noqa: E402

from keras_explainable import torch_compat as compat  # noqa: E402

IMAGE = (3, 224, 224)  # the default size (C, H, W) of images
Target = int | torch.Tensor | None


class Explainer:
    """The base class: holds a module (N, C, H, W) -> (N, units), without running or changing it.

    Signals (N, C, T) and volumes (N, C, D, H, W) are also accepted; their maps are (N, 1, T) and (N, 1, D, H, W)."""

    def __init__(self, model: torch.nn.Module) -> None:
        if not isinstance(model, torch.nn.Module) or isinstance(model, keras.Layer):
            raise ke.errors.InputError(
                f"A {type(model).__module__}.{type(model).__name__} came, and a plain torch.nn.Module was expected: "
                "explain Keras models by the functions of keras_explainable, such as `ke.full_gradients(model, x)`."
            )
        self.model = model

    def _map(self, method: Callable, image: torch.Tensor, target_class: Target, **params: Any) -> torch.Tensor:
        """Return the maps (N, 1, H, W) of a keras_explainable method for one class of each image."""
        units = self._units(image, target_class)
        _, maps = method(self.model, image.detach(), units, **params)
        return like(image, maps.movedim(-1, 1))

    def _units(self, image: torch.Tensor, target_class: Target) -> torch.Tensor:
        """Return the class (N, 1) to explain for each image: the given one, or the one with the highest score.

        Raises:
            InputError: the image is not a batch that the module takes, or the target is not one class for each image.
        """
        if not isinstance(image, torch.Tensor) or image.ndim not in (3, 4, 5):
            shape = f" and shape {tuple(image.shape)}" if hasattr(image, "shape") else ""
            raise ke.errors.InputError(
                f"An image of type {type(image).__name__}{shape} came, and a tensor with a batch of images "
                "(N, C, H, W), signals (N, C, T) or volumes (N, C, D, H, W) was expected: torch.as_tensor(image) makes "
                "a tensor, and image[None] adds the batch axis."
            )
        compat.check(self.model, image.detach(), target_class)
        if target_class is None:
            return compat.view(self.model, image.detach()).evaluate()[0].argmax(-1, keepdim=True)
        units = compat.unit_array(target_class)
        if units.ndim and units.shape != (len(image), 1):
            raise ke.errors.InputError(
                f"{units.shape[0]} x {units.shape[1]} classes came for {len(image)} images: give an int, or one class "
                "for each image, (N,) or (N, 1)."
            )
        return torch.as_tensor(units).expand(len(image), 1)


def in_layout(view: compat.View, point: compat.Point, values: torch.Tensor) -> torch.Tensor:
    """Bring values (N, 1, *S, C) of one class at a point into the module's layout at that point."""
    first = point == compat.INPUT or view.trace.at(point).channels_first
    return values[:, 0].movedim(-1, 1) if first else values[:, 0]


def like(image: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Bring values to an image's device and dtype, or to float32 if the dtype is an integer type."""
    return values.detach().to(image.device, image.dtype if image.is_floating_point() else torch.float32)
