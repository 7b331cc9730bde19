"""What a module computes outside of PyTorch's own layers (`x + y`, `torch.cat`, `F.relu`, attention), as calls with
their own paths, such as "layer1.0.add". They are observed only in runs that need them, since that takes time."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import nn
from torch.nn.utils import parametrize
from torch.overrides import TorchFunctionMode

from keras_explainable.models.torch.functional import NORMALISED, observable, out_of_place
from keras_explainable.models.trace import Point

PROPERTIES = {"T": "t", "mT": "transpose", "H": "adjoint", "mH": "adjoint", "real": "real", "imag": "imag"}
NAMES = {
    **{f"{side}{name}": name for name in ("add", "sub", "mul", "matmul", "pow") for side in "i"},
    **{"radd": "add", "rmul": "mul", "rdiv": "rdiv", "truediv": "div", "itruediv": "div", "idiv": "div"},
    **{"rtruediv": "rdiv", "true_divide": "div", "divide": "div", "multiply": "mul", "subtract": "sub"},
    **{"concat": "cat", "concatenate": "cat"},
}
ATTENTION = ("softmax", "scaled_dot_product_attention", "multi_head_attention_forward")
INSIDE = ("queries", "keys", "products", "logits", "values", "mixed")  # parts of attention: softmax(Q K^T + M) V
NORMS = ("layer_norm", "rms_norm", "group_norm", "normalize")
WEIGHTED = ("linear", "conv")  # beginnings of the names of functions with a weight and a bias
LIKE = ("type_as", "to", "expand_as", "view_as", "reshape_as")  # they use only the shape or type of a second tensor
MOVING = ("permute", "movedim", "moveaxis", "transpose", "swapaxes")


class Watching(Protocol):
    """The part of a session that this file uses."""

    open: list[tuple[str, int]]
    points: frozenset[Point] | None
    busy: bool

    def begin(self, path: str) -> int: ...
    def see(self, point: Point, value: Any) -> Any: ...
    def see_all(self, path: str, call: int, link: str, values: Any) -> Any: ...
    def see_again(self, path: str, call: int, function: Callable, args: tuple, kwargs: dict) -> None: ...


def name_of(function: Any) -> str:
    """The name of an operation, the same for `x + y`, `torch.add` and `x.add_(y)`; "" if it only reads a property of a
    tensor."""
    name = getattr(function, "__name__", "")
    if name == "__get__":
        return PROPERTIES.get(getattr(function.__self__, "__name__", ""), "")
    name = name.partition(".")[0].strip("_").lower()  # exported programs have "conv2d.default"
    return NAMES.get(name, name)


def is_opaque(module: nn.Module) -> bool:
    """Whether a module is one of PyTorch's own without modules inside, except those that compute its weights: the layer
    is the operation."""
    inside = dict(module.named_children()).keys() - {"parametrizations"}
    return parametrize.type_before_parametrizations(module).__module__.startswith("torch.nn.") and not inside


class Operations(TorchFunctionMode):
    """Passes what this thread computes through a session."""

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
        args, kwargs = self._see_inputs(name, key, args, kwargs)
        writes = _may_write(func, args, kwargs) and bool(args) and isinstance(args[0], torch.Tensor)
        session.see_again(*key, functools.partial(out_of_place, func) if writes else func, args, kwargs)
        func = self._observable(name, point, func)
        held = args[0] if args and isinstance(args[0], torch.Tensor) else None
        replaced = session.points is not None and any(p[:3] == (*key, "output") for p in session.points)
        # Write to a copy: the old value is kept for its gradient, and the output is replaced.
        if replaced and writes:
            args = (args[0].clone(), *args[1:])
        return self._see_output(name, key, func, args, kwargs, held)

    def _see_inputs(self, name: str, key: tuple[str, int], args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        if name.startswith(WEIGHTED):
            args, kwargs = _in_order(args, kwargs)
        if name in LIKE:
            return (*self.session.see_all(*key, "input", args[:1]), *args[1:]), kwargs
        return self.session.see_all(*key, "input", (args, kwargs))

    def _observable(self, name: str, point: Point, func: Callable) -> Callable:
        """The operation. If its attention or its deviation is requested, the session sees it."""
        if name in ATTENTION:
            func = self._observable_attention(name, point, func)
        deviation = point._replace(link="deviation")
        if name in NORMS and self.session.points is not None and deviation in self.session.points:
            func = functools.partial(NORMALISED[name], functools.partial(self.session.see, deviation))
        return func

    def _see_output(
        self, name: str, key: tuple[str, int], func: Callable, args: tuple, kwargs: dict, held: torch.Tensor | None
    ) -> Any:
        """Run an operation, and return its output as the session's tap returns it. `held` is the caller's first tensor:
        if the operation writes to it, it gets the same values."""
        target = None if held is None else args[0]
        version = None if target is None else target._version
        output = func(*args, **kwargs)
        written = target is not None and target._version != version
        if name == "setitem":
            output = target
        seen = self.session.see_all(*key, "output", output)
        if held is None or not written or output is not target or seen is held:
            return seen
        if not held._is_view():
            held.detach_()  # it no longer matters how the old value was computed
        return held.copy_(seen)

    def _observable_attention(self, name: str, point: Point, func: Callable) -> Callable:
        """An operation that computes attention. The session sees the requested parts; in a trace, the probabilities."""
        session, attention = self.session, point._replace(link="attention")
        inside = {p for p in session.points or () if p[:2] == point[:2] and p.link in INSIDE}
        if session.points is not None and attention not in session.points and not inside:
            return func

        def see_part(link, value):
            return session.see(point._replace(link=link), value)

        return observable(name, func, functools.partial(session.see, attention), see_part if inside else None)


def _in_order(args: tuple, kwargs: dict) -> tuple[tuple, dict]:
    """The arguments of a linear function with its tensors in position: input, weight, bias."""
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
    """A scope in which this library's own operations on a signal do not count as the model's."""
    before, session.busy = session.busy, True
    try:
        yield
    finally:
        session.busy = before
