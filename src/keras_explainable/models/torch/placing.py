"""How a module takes its images: the device and type of its weights, the memory layout, and integers or floats."""

from itertools import chain
from typing import Any

import torch
from torch import nn

from keras_explainable.models import precision
from keras_explainable.models.inputs import Inputs
from keras_explainable.models.torch.describe import first_tensor
from keras_explainable.models.torch.hooks import watched
from keras_explainable.models.torch.layer_math import KERNELS


def place(module: nn.Module, inputs: Inputs) -> dict[str, Any]:
    """The device of the module's weights, and the type of its images: the user's own, or that of the first kernel if
    weights have several types."""
    tensors = [t for t in chain(module.parameters(), module.buffers()) if t.is_floating_point()]
    if not tensors:
        return {"device": None, "dtype": None}
    dtype = tensors[0].dtype
    if inputs.dtype is not None:
        dtype = getattr(torch, inputs.dtype)
    elif any(t.dtype != dtype for t in tensors):
        layers = (m for m in module.modules() if isinstance(m, KERNELS))
        dtype = next((m.weight.dtype for m in layers if m.weight.is_floating_point()), dtype)
    return {"device": tensors[0].device, "dtype": dtype}


def own_type(module: nn.Module, images: Any) -> str | None:
    """The type of the user's images, if the module's weights do not determine it."""
    name = str(getattr(images, "dtype", "")).removeprefix("torch.")
    types = {t.dtype for t in module.parameters() if t.is_floating_point()}
    return name if name in precision.LOWER and len(types) > 1 else None


def takes_integers_as_floats(module: nn.Module, inputs: Inputs, images: Any) -> bool:
    """Whether a module gives the same outputs for images of integers and for the same numbers as floats."""
    at = place(module, inputs)
    whole = torch.as_tensor(images[:1]).to(at["device"])
    results: list = []
    for x in (whole, whole.to(at["dtype"] or torch.float32)):
        try:
            with torch.inference_mode(False), torch.no_grad(), watched(module, ()):
                results.append(first_tensor(module(x)))
        except Exception:
            results.append(None)
    ours, floats = results
    if ours is None or floats is None or ours.shape != floats.shape:
        return ours is None
    return torch.allclose(ours.float(), floats.float(), rtol=1e-3, atol=1e-4 * float(floats.abs().max()))


def gains_from_layout(x: torch.Tensor) -> bool:
    """Whether convolutions are faster for images with channels last. They are in a lower precision on CPUs."""
    return precision.current_precision() is not None and x.ndim == 4 and x.device.type == "cpu"


def fastest_layout(module: nn.Module, inputs: Inputs, shape: tuple) -> torch.memory_format:
    """Channels last, unless the module cannot run with it (`view` cannot); then the images' own memory layout."""
    x = torch.zeros((2, *shape), **place(module, inputs)).contiguous(memory_format=torch.channels_last)
    args, kwargs = inputs.arguments(module.forward, inputs.around(x))
    try:
        with torch.inference_mode(False), torch.no_grad(), watched(module, ()):
            module(*args, **kwargs)
    except RuntimeError:
        return torch.preserve_format
    return torch.channels_last
