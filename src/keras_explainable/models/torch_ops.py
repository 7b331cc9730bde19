"""What a module computes outside of PyTorch's own layers (`x + y`, `torch.cat`, `F.relu`, attention), as calls with
paths of their own, such as "layer1.0.add". Only a run that asks for one of them watches: that costs time."""

import functools
import math
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrize
from torch.overrides import TorchFunctionMode

from keras_explainable.models.taps import Point

PROPERTIES = {"T": "t", "mT": "transpose", "H": "adjoint", "mH": "adjoint", "real": "real", "imag": "imag"}
NAMES = {
    **{f"{side}{name}": name for name in ("add", "sub", "mul", "matmul", "pow") for side in "i"},
    **{"radd": "add", "rmul": "mul", "rdiv": "rdiv", "truediv": "div", "itruediv": "div", "idiv": "div"},
    **{"rtruediv": "rdiv", "true_divide": "div", "divide": "div", "multiply": "mul", "subtract": "sub"},
    **{"concat": "cat", "concatenate": "cat"},
}
ATTENTION = ("softmax", "scaled_dot_product_attention", "multi_head_attention_forward")
NORMS = ("layer_norm", "rms_norm")
WEIGHTED = ("linear", "conv")  # how the names of functions with a weight and a bias begin
LIKE = ("type_as", "to", "expand_as", "view_as", "reshape_as")  # of a second tensor, its shape or type alone
MOVING = ("permute", "movedim", "moveaxis", "transpose", "swapaxes")


class Watching(Protocol):
    """A session, as far as operations go by it."""

    open: list[tuple[str, int]]
    points: frozenset[Point] | None
    busy: bool

    def begin(self, path: str) -> int: ...
    def see(self, point: Point, value: Any) -> Any: ...
    def see_all(self, path: str, call: int, link: str, values: Any) -> Any: ...
    def see_again(self, path: str, call: int, function: Callable, args: tuple, kwargs: dict) -> None: ...


def name_of(function: Any) -> str:
    """The name of an operation: one for `x + y`, `torch.add`, `x.add_(y)`; "" for what only looks at a tensor."""
    name = getattr(function, "__name__", "")
    if name == "__get__":
        return PROPERTIES.get(getattr(function.__self__, "__name__", ""), "")
    name = name.partition(".")[0].strip("_").lower()  # of exported programs "conv2d.default"
    return NAMES.get(name, name)


def is_opaque(module: nn.Module) -> bool:
    """Whether a module is one of PyTorch's own, with none inside but those that make its weights: the layer is the
    operation."""
    inside = dict(module.named_children()).keys() - {"parametrizations"}
    return parametrize.type_before_parametrizations(module).__module__.startswith("torch.nn.") and not inside


class Operations(TorchFunctionMode):
    """Sends what is computed in this thread past a session."""

    def __init__(self, session: Watching, modules: dict[str, nn.Module]) -> None:
        super().__init__()
        self.session, self.modules = session, modules
        self.opaque = {path for path, module in modules.items() if is_opaque(module)}

    def __torch_function__(self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        inside = self.session.open[-1][0] if self.session.open else ""
        name = "" if self.session.busy or inside in self.opaque else name_of(func)
        if name == "add" and kwargs.get("alpha", 1) != 1:
            name = "add_scaled"
        if not name or name in ("set_grad_enabled", "register_hook"):
            return func(*args, **kwargs)
        path = f"{inside}.{name}" if inside else name
        while path in self.modules:
            path += "_"
        return self._operation(name, Point(path, self.session.begin(path)), func, args, kwargs)

    def _operation(self, name: str, point: Point, func: Callable, args: tuple, kwargs: dict) -> Any:
        session, key = self.session, point[:2]
        if name.startswith(WEIGHTED):
            args, kwargs = _in_order(args, kwargs)
        if name in LIKE:
            args = (*session.see_all(*key, "input", args[:1]), *args[1:])
        else:
            args, kwargs = session.see_all(*key, "input", (args, kwargs))
        session.see_again(*key, func, args, kwargs)
        attention = point._replace(link="attention")
        if name in ATTENTION and (session.points is None or attention in session.points):
            func = _showing(name, func, functools.partial(session.see, attention))
        deviation = point._replace(link="deviation")
        if name in NORMS and session.points is not None and deviation in session.points:
            func = functools.partial(_normalized, functools.partial(session.see, deviation), name == "layer_norm")
        held = args[0] if args and isinstance(args[0], torch.Tensor) else None
        replaced = session.points is not None and any(p[:3] == (*key, "output") for p in session.points)
        if held is not None and replaced and _may_write(func, args, kwargs):
            args = (held.clone(), *args[1:])  # what it writes is kept for its gradient, and what is seen is another
        target = None if held is None else args[0]
        version = None if target is None else target._version
        output = func(*args, **kwargs)
        written = target is not None and target._version != version
        if name == "setitem":
            output = target
        seen = session.see_all(*key, "output", output)
        if written and output is target and seen is not held:  # who holds the tensor gets what was seen as well
            if not held._is_view():  # type: ignore[union-attr]
                held.detach_()  # type: ignore[union-attr]  # how the value before was made plays no part
            return held.copy_(seen)  # type: ignore[union-attr]
        return seen


def _in_order(args: tuple, kwargs: dict) -> tuple[tuple, dict]:
    """The arguments of a linear function, its tensors by their place: input, weight, bias."""
    named = dict(kwargs)
    for name in ("input", "weight", "bias")[len(args) :]:
        if name not in named:
            break
        args = (*args, named.pop(name))
    return args, named


def _may_write(func: Callable, args: tuple, kwargs: dict) -> bool:
    """Whether an operation may work in place on its first argument."""
    name = getattr(func, "__name__", "")
    named = name.startswith("__i") if name.startswith("__") else name.endswith("_")
    return named or name == "__setitem__" or bool(kwargs.get("inplace")) or any(a is True for a in args[1:])


@contextmanager
def quiet(session: Watching) -> Iterator[None]:
    """What is done inside to look at a signal is no operation of the model."""
    before, session.busy = session.busy, True
    try:
        yield
    finally:
        session.busy = before


def _showing(name: str, func: Callable, see: Callable) -> Callable:
    """An operation that shows its attention probabilities (B, H, T, T), computed outright where it is fused."""
    if name == "scaled_dot_product_attention":
        return functools.partial(attend, see)
    if name == "multi_head_attention_forward":
        return functools.partial(_attend_with_heads, see)
    return functools.partial(_softmax, see, func)


def _softmax(see: Callable, func: Callable, *args: Any, **kwargs: Any) -> torch.Tensor:
    output = func(*args, **kwargs)
    axis = kwargs.get("dim", args[1] if len(args) > 1 else None)
    return see(output) if is_attention(tuple(output.shape)) and axis in (-1, 3) else output


def is_attention(shape: tuple) -> bool:
    """Whether a softmax along the last axis of such values can be that of attention."""
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
) -> torch.Tensor:
    """`F.scaled_dot_product_attention`, step by step: softmax(Q K^T scale + mask) V."""
    if enable_gqa:
        repeats = query.shape[-3] // key.shape[-3]
        key, value = (v.repeat_interleave(repeats, dim=-3) for v in (key, value))
    scores = query @ key.transpose(-2, -1) * (1 / math.sqrt(query.shape[-1]) if scale is None else scale)
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attn_mask, -math.inf)
    elif attn_mask is not None:
        scores = scores + attn_mask
    return F.dropout(see(torch.softmax(scores, dim=-1)), dropout_p, dropout_p > 0) @ value


def _normalized(
    see: Callable,
    centred: bool,
    input: torch.Tensor,
    normalized_shape: Any,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    eps: float | None = None,
    *_: Any,
) -> torch.Tensor:
    """`F.layer_norm`, or where not centred `F.rms_norm`, whose deviation is shown."""
    if not centred and bias is not None:  # the fourth argument of `F.rms_norm`
        bias, eps = None, bias
    eps = eps if eps is not None else 1e-5 if centred else torch.finfo(input.dtype).eps
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else normalized_shape
    axes = tuple(range(-len(shape), 0))
    x = input - input.mean(axes, keepdim=True) if centred else input
    output = x / see(torch.sqrt(x.square().mean(axes, keepdim=True) + eps))
    output = output if weight is None else output * weight
    return output if bias is None else output + bias


def _attend_with_heads(see: Callable, query: torch.Tensor, *args: Any, **kwargs: Any) -> tuple:
    """`F.multi_head_attention_forward`, whose probabilities are shown.

    A mode that watches gets the function as a whole, and may not look inside of it: a copy of it runs here, in which
    the two operations that make the probabilities are ours."""
    batch = query.shape[1] if query.ndim == 3 else 1

    def softmax(values, dim):
        output = F.softmax(values, dim)  # (batch * heads, T, T)
        return see(output.unflatten(0, (batch, -1))).flatten(0, 1)

    own = {
        "has_torch_function": lambda _: False,
        "softmax": softmax,
        "scaled_dot_product_attention": functools.partial(attend, see),
    }
    plain = F.multi_head_attention_forward
    copy = types.FunctionType(plain.__code__, plain.__globals__ | own, plain.__name__, plain.__defaults__)
    return copy(query, *args, **kwargs)
