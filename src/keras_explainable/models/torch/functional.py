"""Softmax, attention and normalisations, computed step by step so that their parts can be seen and rules apply to
them."""

import functools
import math
import types
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional as F


def observable(name: str, func: Callable, see: Callable, see_part: Callable | None) -> Callable:
    """An operation whose attention probabilities (B, H, T, T) pass through `see`, and its other parts through
    `see_part(link, value)`. A fused operation is replaced by its steps."""
    if name == "scaled_dot_product_attention":
        return functools.partial(attend, see, see_part=see_part or (lambda _, value: value))
    if name == "multi_head_attention_forward":
        return functools.partial(_attend_with_heads, see, see_part)
    return functools.partial(_softmax, see, func)


def _softmax(see: Callable, func: Callable, *args: Any, **kwargs: Any) -> torch.Tensor:
    output = func(*args, **kwargs)
    axis = kwargs.get("dim", args[1] if len(args) > 1 else None)
    return see(output) if is_attention(tuple(output.shape)) and axis in (-1, 3) else output


def is_attention(shape: tuple) -> bool:
    """Whether a softmax along the last axis of values of this shape may be that of attention."""
    return len(shape) == 4 and shape[-1] > 1


def attend(
    see: Callable,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
    see_part: Callable = lambda link, value: value,
) -> torch.Tensor:
    """`F.scaled_dot_product_attention`, step by step: softmax(Q K^T scale + mask) V."""
    if enable_gqa:
        repeats = query.shape[-3] // key.shape[-3]
        key, value = (v.repeat_interleave(repeats, dim=-3) for v in (key, value))
    query = see_part("queries", query * (1 / math.sqrt(query.shape[-1]) if scale is None else scale))
    scores = see_part("products", query @ see_part("keys", key).transpose(-2, -1))
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attn_mask, -math.inf)
    elif attn_mask is not None:
        scores = scores + attn_mask
    probabilities = F.dropout(see(torch.softmax(see_part("logits", scores), dim=-1)), dropout_p, dropout_p > 0)
    return see_part("mixed", probabilities @ see_part("values", value))


def out_of_place(func: Callable, tensor: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    """The result of an in-place operation as a new tensor."""
    new = tensor.clone()
    output = func(new, *args, **kwargs)
    return new if output is None else output


def _divided(see: Callable, x: torch.Tensor, axes: tuple, eps: float) -> torch.Tensor:
    """x divided by its deviation, which passes through `see`."""
    return x / see(torch.sqrt(x.square().mean(axes, keepdim=True) + eps))


def _axes(shape: Any) -> tuple:
    return tuple(range(-(1 if isinstance(shape, int) else len(shape)), 0))


def _layer_norm(
    see: Callable,
    input: torch.Tensor,
    normalized_shape: Any,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    eps: float = 1e-5,
    *_: Any,
) -> torch.Tensor:
    axes = _axes(normalized_shape)
    output = _divided(see, input - input.mean(axes, keepdim=True), axes, eps)
    output = output if weight is None else output * weight
    return output if bias is None else output + bias


def _rms_norm(
    see: Callable,
    input: torch.Tensor,
    normalized_shape: Any,
    weight: torch.Tensor | None = None,
    eps: float | None = None,
) -> torch.Tensor:
    output = _divided(see, input, _axes(normalized_shape), torch.finfo(input.dtype).eps if eps is None else eps)
    return output if weight is None else output * weight


def _group_norm(
    see: Callable,
    input: torch.Tensor,
    num_groups: int,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    eps: float = 1e-5,
    *_: Any,
) -> torch.Tensor:
    """Its deviation is (B, groups, 1)."""
    x = input.reshape(len(input), num_groups, -1)
    output = _divided(see, x - x.mean(-1, keepdim=True), (-1,), eps).reshape(input.shape)
    of_channels = (-1, *(1,) * (input.ndim - 2))
    output = output if weight is None else output * weight.reshape(of_channels)
    return output if bias is None else output + bias.reshape(of_channels)


def _of_length_1(
    see: Callable, input: torch.Tensor, p: float = 2.0, dim: Any = 1, eps: float = 1e-12, *_: Any, out: Any = None
) -> torch.Tensor:
    length = input.norm(p, dim, keepdim=True).clamp_min(eps)
    return input / (see(length) if p == 2 else length)


# Functions by the names in `NORMS`; their deviations pass through `see`.
NORMALISED: dict[str, Callable] = {
    "layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
    "group_norm": _group_norm,
    "normalize": _of_length_1,
}


def _attend_with_heads(
    see: Callable, see_part: Callable | None, query: torch.Tensor, *args: Any, **kwargs: Any
) -> tuple:
    """`F.multi_head_attention_forward`, with its probabilities passed through `see`.

    A function mode gets this function as a whole and cannot look inside. So a copy of it runs here, in which the two
    operations that compute the probabilities are replaced. If `see_part` is given, attention is computed step by
    step, and the returned weights are the probabilities that were seen."""
    batch = query.shape[1] if query.ndim == 3 else 1

    def softmax(values, dim):
        output = F.softmax(values, dim)  # (batch * heads, T, T)
        return see(output.unflatten(0, (batch, -1))).flatten(0, 1)

    def probabilities(values):
        seen.append(see(values))
        return seen[-1]

    own = {
        "has_torch_function": lambda _: False,
        "softmax": softmax,
        "scaled_dot_product_attention": functools.partial(attend, probabilities, see_part=see_part or (lambda _, v: v)),
    }
    seen: list[torch.Tensor] = []
    plain = F.multi_head_attention_forward
    copy = types.FunctionType(plain.__code__, plain.__globals__ | own, plain.__name__, plain.__defaults__)
    if see_part is None or not kwargs.get("need_weights"):
        return copy(query, *args, **kwargs)
    output, _ = copy(query, *args, **kwargs | {"need_weights": False})
    weights = seen[0].mean(1) if kwargs.get("average_attn_weights", True) else seen[0]
    return output, weights if query.ndim == 3 else weights[0]
