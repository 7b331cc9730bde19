"""The mathematics of PyTorch layers: their bias and factor per channel, their geometry, and the channels' axis."""

from itertools import chain
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrize, prune

from keras_explainable.errors import InputError
from keras_explainable.models.trace import Deviation

TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
POOLINGS = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)
ZERO_PADDINGS = (nn.ZeroPad1d, nn.ZeroPad2d, nn.ZeroPad3d, nn.ConstantPad1d, nn.ConstantPad2d, nn.ConstantPad3d)
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, *TRANSPOSED)
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
NORMS = (*BATCH_NORMS, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d, nn.GroupNorm)
POOLING = (*(getattr(nn, f"Adaptive{kind}Pool{n}d") for kind in ("Avg", "Max") for n in (1, 2, 3)), nn.Flatten)
KERNELS = (nn.Linear, *CONVOLUTIONS)


def check_tracked(module: nn.Module) -> None:
    """Raise if weights cannot pass a gradient on, or are sharded among processes."""
    if any(type(weight).__name__ == "DTensor" for weight in module.parameters()):
        raise InputError(
            "The module's weights are sharded among processes (FSDP2, DTensor): explain a whole copy of it, as from "
            "torch.distributed.checkpoint.state_dict.get_model_state_dict with full_state_dict=True."
        )
    weights = (w for w in chain(module.parameters(), module.buffers()) if not nn.parameter.is_lazy(w))
    if any(weight.is_inference() for weight in weights):
        raise InputError(
            "The module's weights were made under torch.inference_mode(), and no gradient can pass through them: make "
            "the module outside of that mode, or explain copy.deepcopy(module)."
        )


def current_weight(module: nn.Module, name: str) -> torch.Tensor | None:
    """A weight as the module's next call will use it, wherever it comes from. Call this in evaluation mode, since some
    weights are computed.

    Pruning sets weight times mask only before each call, so the attribute may hold an outdated product."""
    for hook in module._forward_pre_hooks.values():
        if isinstance(hook, prune.BasePruningMethod) and hook._tensor_name == name:
            return hook.apply_mask(module).detach()
    value = getattr(module, name, None)
    return value.detach() if isinstance(value, torch.Tensor) else None


def _owns(module: nn.Module, name: str) -> bool:
    """Whether a module has a weight itself, rather than exposing that of a module inside it."""
    if isinstance(module, (*KERNELS, *NORMS, nn.LayerNorm)):  # these use it in their own function
        return isinstance(getattr(module, name, None), torch.Tensor)
    if parametrize.is_parametrized(module, name):
        return True
    own = (module._parameters, module._buffers, vars(module))  # pruned ones are plain attributes
    return any(isinstance(values.get(name), torch.Tensor) for values in own)


def has_bias(module: nn.Module) -> bool:
    """Whether a module adds a constant to each channel of its output."""
    if _owns(module, "running_mean"):
        return True
    bias = current_weight(module, "bias") if _owns(module, "bias") else None
    return bias is not None and (bias.ndim == 1 or isinstance(module, nn.LayerNorm))


def effective_bias(module: nn.Module) -> torch.Tensor | None:
    """What a module adds to each channel of its output, from its current weights, or None.

    With running statistics this is beta - mean gamma / sqrt(variance + eps), where gamma and beta are optional;
    without, beta."""
    if not has_bias(module):
        return None
    found = (current_weight(module, name) for name in ("running_mean", "weight", "bias"))
    mean, gamma, beta = (None if value is None else value.float() for value in found)
    if mean is None:
        return beta if beta is None or beta.ndim == 1 else beta.movedim(0, -1)  # layer normalisation over (C, *S)
    if not hasattr(module, "eps"):  # a user's own class: its output for zeros
        return type(module).forward(module, torch.zeros_like(mean)[None, :, None, None]).flatten()
    shift = -mean / torch.sqrt(module.running_var.float() + module.eps)
    shift = shift if gamma is None else shift * gamma
    return shift if beta is None else shift + beta


def channels_first(module: nn.Module, shape: tuple) -> bool | None:
    """Whether a module has channels first, if its class says so; else None."""
    if isinstance(module, nn.LayerNorm):
        plain = type(module).forward is nn.LayerNorm.forward
        return len(module.normalized_shape) > 1 or (not plain and shape[1] == module.normalized_shape[0])
    if isinstance(module, (nn.Linear, nn.RNNBase)):
        return False
    return True if isinstance(module, (*CONVOLUTIONS, *NORMS)) else None


def kernel(module: nn.Module) -> torch.Tensor | None:
    """The weights (channels, units) of a linear layer or a 1 x 1 convolution, else None."""
    if not isinstance(module, KERNELS) or getattr(module, "groups", 1) > 1 or isinstance(module, TRANSPOSED):
        return None
    weight: torch.Tensor = current_weight(module, "weight")
    return weight.flatten(1).T if weight[0, 0].numel() == 1 else None


def scale(module: nn.Module) -> torch.Tensor:
    """The factor of a batch normalisation for each channel: gamma / sqrt(variance + eps)."""
    factor, gamma = 1 / torch.sqrt(module.running_var.float() + module.eps), current_weight(module, "weight")
    return factor if gamma is None else factor * gamma.float()


def deviation(module: nn.Module) -> Deviation:
    """The deviation that a layer normalisation divides by."""
    gain, epsilon = current_weight(module, "weight"), module.eps
    if isinstance(module, nn.GroupNorm):
        shaped = (lambda rank: 1.0) if gain is None else (lambda rank: gain.float().reshape(-1, *(1,) * (rank - 2)))
        return Deviation((-1,), epsilon, True, shaped, module.num_groups, 1)
    return Deviation(
        tuple(range(-len(module.normalized_shape), 0)),
        torch.finfo(torch.float32).eps if epsilon is None else epsilon,
        isinstance(module, nn.LayerNorm),
        lambda rank: 1.0 if gain is None else gain.float(),
    )


def check_inference(module: nn.Module, error: RuntimeError) -> None:
    """If PyTorch's error says that tensors of a module stop the gradient, raise an error that names these tensors."""
    if "nference tensor" not in str(error):
        return
    parts = ((path, name, value) for path, part in module.named_modules() for name, value in vars(part).items())
    kept = [f"{path}.{name}".lstrip(".") for path, name, value in parts if _holds_inference(value)]
    raise InputError(
        f"The module keeps tensors that were made under torch.inference_mode() ({', '.join(kept) or 'not found'}), and "
        "no gradient can pass through them: make them outside of that mode, or clone them (tensor.clone())."
    ) from error


def is_of_gradients(error: Exception) -> bool:
    """Whether an error occurs only when gradients are recorded."""
    return "nference_mode" in str(error) or "nference tensor" in str(error) or "in-place operation" in str(error)


def _holds_inference(value: object) -> bool:
    values = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else [value]
    return any(isinstance(part, torch.Tensor) and part.is_inference() for part in values)


def reach(module: nn.Module, axis: int) -> float:
    """By how many positions a convolution shrinks its input at each end of a spatial axis."""
    if not isinstance(module, CONVOLUTIONS) or isinstance(module, TRANSPOSED) or module.padding == "same":
        return 0.0
    padding = 0 if isinstance(module.padding, str) else module.padding[axis]
    return max(0.0, (module.kernel_size[axis] - 1) * module.dilation[axis] / 2 - padding)


def geometry(module: nn.Module, axis: int) -> tuple[float, float] | None:
    """The distance between the centres of a module's output cells along a spatial axis, and the centre of the first
    one, both in input cells; None if unknown."""
    if isinstance(module, ZERO_PADDINGS):
        return 1.0, -float(module.padding[-2 - 2 * axis])  # PyTorch lists the last axis first, with both ends
    if not isinstance(module, (*CONVOLUTIONS, *POOLINGS)) or isinstance(module, TRANSPOSED):
        return None
    names = ("kernel_size", "stride", "dilation", "padding")
    width, step, spread, padding = (_along(getattr(module, name, 1), axis) for name in names)
    reach = (width - 1) * spread
    padding = {"same": reach // 2, "valid": 0}.get(padding, padding)
    return float(step), reach / 2 - padding


def _along(value: Any, axis: int) -> Any:
    return value[axis] if isinstance(value, (tuple, list)) else value


def weight(module: nn.Module, factor: torch.Tensor | None = None) -> torch.Tensor:
    """The weight of a linear layer or convolution, with its outputs scaled by `factor`."""
    found = current_weight(module, "weight").float()  # type: ignore[union-attr]
    if factor is None:
        return found
    if not isinstance(module, TRANSPOSED):  # (outputs, ...)
        return found * factor.reshape(-1, *(1,) * (found.ndim - 1))
    parts = found.unflatten(0, (module.groups, -1))  # (groups, inputs, outputs, ...) of each group
    return (parts * factor.reshape(module.groups, 1, -1, *(1,) * (found.ndim - 2))).flatten(0, 1)


def apply(module: nn.Module, x: torch.Tensor, kernel: torch.Tensor | None = None) -> torch.Tensor:
    """Run a module alone, without its hooks. With `kernel`, use that as its weight, and no bias."""
    if kernel is None:
        return type(module).forward(module, x)
    if isinstance(module, nn.Linear):
        return functional.linear(x, kernel)
    if isinstance(module, TRANSPOSED):
        run = getattr(functional, f"conv_transpose{kernel.ndim - 2}d")
        shape = (module.stride, module.padding, module.output_padding, module.groups, module.dilation)
        return run(x, kernel, None, *shape)
    return module._conv_forward(x, kernel, None)  # no public name runs a convolution with its padding mode
