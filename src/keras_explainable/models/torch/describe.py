"""Describe the calls of a module's layers and operations, including the channels' axis."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize

from keras_explainable.models.torch import function_mode, layer_math
from keras_explainable.models.torch.hooks import evaluation_weights
from keras_explainable.models.trace import Call


def children(module: nn.Module) -> dict[str, nn.Module]:
    """The modules inside a module that can be seen to run, without those that compute its weights."""
    if isinstance(module, torch.jit.ScriptModule):
        return {}
    return {name: child for name, child in module.named_children() if name != "parametrizations"}


def rank(module: nn.Module) -> int:
    """The number of spatial axes of a module's layers, by their names; 0 if the names do not say."""
    ends = (type(part).__name__[-2:] for part in module.modules())
    return max((int(end[0]) for end in ends if end in ("1d", "2d", "3d")), default=0)


def describe(paths: dict[str, nn.Module], ndim: int, layouts: dict, call: Call, fused: bool) -> Call:
    """Add to a call what is known of its module.

    `layouts` remembers the shape of each value and whether its channels are first: many modules keep the layout of
    their input, and do not declare one themselves."""
    if call.path not in paths:
        return _operation(ndim, layouts, call)
    module = paths[call.path]
    first, inside = layer_math.channels_first(module, call.shape), list(children(module).values())
    if first is None:
        same = [layouts[v][1] for v in (*call.outputs, *call.inputs) if layouts.get(v, [None])[0] == call.shape]
        first = same[0] if same else len(call.shape) == ndim
    layouts.update(dict.fromkeys(call.outputs[:1], (call.shape, first)))
    per_channel = not isinstance(module, nn.LayerNorm) or len(module.normalized_shape) in (1, ndim - 1)
    with evaluation_weights(module):
        has_bias = layer_math.has_bias(module) and per_channel
    return replace(
        call,
        kind=parametrize.type_before_parametrizations(module).__name__,
        leaf=not inside,
        activation=type(inside[-1]).__name__ if fused else None,
        has_bias=has_bias,
        has_kernel=isinstance(module, layer_math.KERNELS),
        channels_first=first,
    )


def _operation(ndim: int, layouts: dict, call: Call) -> Call:
    """Describe an operation. It keeps the layout of an input of the same shape, unless it moves the channels."""
    kind = call.path.rpartition(".")[2].rstrip("_")
    known = [layouts[value] for value in (*call.outputs, *call.inputs) if value in layouts]
    same = [first for shape, first in known if shape == call.shape]
    first = kind.startswith("conv") or (kind != "linear" and (same[0] if same else len(call.shape) == ndim))
    if kind in function_mode.MOVING and known:
        (batch, *rest), before = known[-1]
        if call.shape == (batch, *((*rest[1:], rest[0]) if before else (rest[-1], *rest[:-1]))):
            first = not before
    layouts.update(dict.fromkeys(call.outputs[:1], (call.shape, first)))
    return replace(call, kind=kind, operation=True, channels_first=first)


def parts_of(outputs: Any) -> Any:
    """What a module returned; an object of its own class as a dictionary of its fields."""
    plain = isinstance(outputs, (torch.Tensor, Mapping, tuple, list))
    return outputs if plain else getattr(outputs, "__dict__", {})


def first_tensor(outputs: Any) -> torch.Tensor | None:
    """What a module returned, or its `logits`, or else the first tensor in it that is not a scalar."""
    if isinstance(outputs, torch.Tensor):
        return outputs if outputs.ndim else None  # not a loss
    parts = parts_of(outputs)
    parts = parts if isinstance(parts, Mapping) else {}
    if isinstance(parts.get("logits"), torch.Tensor):
        return parts["logits"]
    values = outputs if isinstance(outputs, (tuple, list)) else parts.values()
    return next((found for found in map(first_tensor, values) if found is not None), None)


WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel)


def unwrap(module: nn.Module) -> nn.Module:
    """The module inside `DataParallel`, `DistributedDataParallel` and `torch.compile`."""
    while True:
        inner = module.module if isinstance(module, WRAPPERS) else getattr(module, "_orig_mod", None)
        if not isinstance(inner, nn.Module):
            return module
        module = inner
