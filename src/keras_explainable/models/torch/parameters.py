"""The weights of modules that are not normalisations, and copies of a module with other weights."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from keras_explainable.errors import InputError
from keras_explainable.models.contract import Parameter
from keras_explainable.models.torch.layer_math import CONVOLUTIONS, NORMS

NORMALISATIONS = (*NORMS, nn.LayerNorm, *(getattr(nn, name) for name in ("RMSNorm",) if hasattr(nn, name)))


def parameters(module: nn.Module) -> list[Parameter]:
    """The floating-point parameters that each module has itself, not those of modules inside it, by its path."""
    found: dict[int, Parameter] = {}
    for path, one in module.named_modules():
        for name, weight in [] if isinstance(one, NORMALISATIONS) else one.named_parameters(recurse=False):
            if id(weight) not in found and weight.is_floating_point():
                kernel = name.startswith("weight") and isinstance(one, (nn.Linear, *CONVOLUTIONS)) and weight.ndim > 1
                axes = (*range(2, weight.ndim), 1, 0) if kernel else tuple(range(weight.ndim))
                value = weight.detach().to("cpu", torch.promote_types(weight.dtype, torch.float32)).numpy()
                found[id(weight)] = Parameter(path, weight, value.transpose(axes), axes)
    return list(found.values())


@contextmanager
def replacing(module: nn.Module) -> Iterator[tuple[nn.Module, Callable]]:
    """A copy of a module, which shares the module's weights until it gets others, and a function that sets others.

    Raises:
        InputError: the module cannot be copied.
    """
    with torch.inference_mode(False):
        shared = {id(p): nn.Parameter(p.detach(), requires_grad=False) for p in module.parameters()}
        computed = (v for one in module.modules() for v in vars(one).values() if isinstance(v, torch.Tensor))
        kept: dict[int, Any] = {id(v): v.detach().clone() for v in computed if v.grad_fn is not None}
        try:
            other = copy.deepcopy(module, kept | shared)
        except Exception as error:
            raise InputError(
                f"The {type(module).__name__} cannot be copied, and no copy of it can have other weights: {error}. "
                "copy.deepcopy(module) must work."
            ) from error

    def put(pairs: list[tuple[nn.Parameter, np.ndarray]]) -> None:
        values = {id(p): torch.from_numpy(np.ascontiguousarray(value)).to(p.device, p.dtype) for p, value in pairs}
        for own in module.parameters():
            shared[id(own)].data = values.get(id(own), own.detach())

    yield other, put
