"""What a module computes outside of PyTorch's own layers (`x + y`, `torch.cat`, `F.relu`, attention), as calls with
paths of their own, such as "layer1.0.add". Only a run that asks for one of them watches: that costs time."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import nn
from torch.nn.utils import parametrize
from torch.overrides import TorchFunctionMode

from keras_explainable.models.torch.functional import NORMALISED, apart, showing
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
        session.see_again(*key, functools.partial(apart, func) if writes else func, args, kwargs)
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

        return showing(name, func, functools.partial(session.see, attention), show if inside else None)


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
