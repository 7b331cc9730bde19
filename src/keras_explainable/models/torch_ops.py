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

from keras_explainable.models.trace import Point

PROPERTIES = {"T": "t", "mT": "transpose", "H": "adjoint", "mH": "adjoint", "real": "real", "imag": "imag"}
NAMES = {
    **{f"{side}{name}": name for name in ("add", "sub", "mul", "matmul", "pow") for side in "i"},
    **{"radd": "add", "rmul": "mul", "rdiv": "rdiv", "truediv": "div", "itruediv": "div", "idiv": "div"},
    **{"rtruediv": "rdiv", "true_divide": "div", "divide": "div", "multiply": "mul", "subtract": "sub"},
    **{"concat": "cat", "concatenate": "cat"},
}
ATTENTION = ("softmax", "scaled_dot_product_attention", "multi_head_attention_forward")
INSIDE = ("queries", "keys", "products", "logits", "values", "mixed")  # of attention: softmax(Q K^T + M) V
NORMS = ("layer_norm", "rms_norm", "group_norm", "normalize")
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
        writes = _may_write(func, args, kwargs) and bool(args) and isinstance(args[0], torch.Tensor)
        session.see_again(*key, functools.partial(_apart, func) if writes else func, args, kwargs)
        if name in ATTENTION:
            func = self._attending(name, point, func)
        deviation = point._replace(link="deviation")
        if name in NORMS and session.points is not None and deviation in session.points:
            func = functools.partial(NORMALISED[name], functools.partial(session.see, deviation))
        held = args[0] if args and isinstance(args[0], torch.Tensor) else None
        replaced = session.points is not None and any(p[:3] == (*key, "output") for p in session.points)
        if replaced and writes:
            args = (args[0].clone(), *args[1:])  # what it writes is kept for its gradient, and what is seen is another
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

    def _attending(self, name: str, point: Point, func: Callable) -> Callable:
        """An operation with attention in it, which shows what is asked for of that; in a trace, its probabilities."""
        session, attention = self.session, point._replace(link="attention")
        inside = {p for p in session.points or () if p[:2] == point[:2] and p.link in INSIDE}
        if session.points is not None and attention not in session.points and not inside:
            return func

        def show(link, value):
            return session.see(point._replace(link=link), value)

        return _showing(name, func, functools.partial(session.see, attention), show if inside else None)


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


def _showing(name: str, func: Callable, see: Callable, show: Callable | None) -> Callable:
    """An operation that shows its attention probabilities (B, H, T, T), computed outright where it is fused."""
    if name == "scaled_dot_product_attention":
        return functools.partial(attend, see, show=show or (lambda _, value: value))
    if name == "multi_head_attention_forward":
        return functools.partial(_attend_with_heads, see, show)
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
    show: Callable = lambda link, value: value,
) -> torch.Tensor:
    """`F.scaled_dot_product_attention`, step by step: softmax(Q K^T scale + mask) V."""
    if enable_gqa:
        repeats = query.shape[-3] // key.shape[-3]
        key, value = (v.repeat_interleave(repeats, dim=-3) for v in (key, value))
    query = show("queries", query * (1 / math.sqrt(query.shape[-1]) if scale is None else scale))
    scores = show("products", query @ show("keys", key).transpose(-2, -1))
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attn_mask, -math.inf)
    elif attn_mask is not None:
        scores = scores + attn_mask
    probabilities = F.dropout(see(torch.softmax(show("logits", scores), dim=-1)), dropout_p, dropout_p > 0)
    return show("mixed", probabilities @ show("values", value))


def _apart(func: Callable, tensor: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    """What an operation that works in place gives, as a new tensor."""
    new = tensor.clone()
    output = func(new, *args, **kwargs)
    return new if output is None else output


def _divided(see: Callable, x: torch.Tensor, axes: tuple, eps: float) -> torch.Tensor:
    """x by its deviation, which is shown."""
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


# The functions of `NORMS`, whose deviations are shown.
NORMALISED: dict[str, Callable] = {
    "layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
    "group_norm": _group_norm,
    "normalize": _of_length_1,
}


def _attend_with_heads(see: Callable, show: Callable | None, query: torch.Tensor, *args: Any, **kwargs: Any) -> tuple:
    """`F.multi_head_attention_forward`, whose probabilities are shown.

    A mode that watches gets the function as a whole, and may not look inside of it: a copy of it runs here, in which
    the two operations that make the probabilities are ours. Where more is shown, it is attention step by step, and the
    probabilities that are asked for are those seen."""
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
        "scaled_dot_product_attention": functools.partial(attend, probabilities, show=show or (lambda _, v: v)),
    }
    seen: list[torch.Tensor] = []
    plain = F.multi_head_attention_forward
    copy = types.FunctionType(plain.__code__, plain.__globals__ | own, plain.__name__, plain.__defaults__)
    if show is None or not kwargs.get("need_weights"):
        return copy(query, *args, **kwargs)
    output, _ = copy(query, *args, **kwargs | {"need_weights": False})
    weights = seen[0].mean(1) if kwargs.get("average_attn_weights", True) else seen[0]
    return output, weights if query.ndim == 3 else weights[0]
