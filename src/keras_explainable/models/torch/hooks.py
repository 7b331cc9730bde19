"""The scope of a run of a module: hooks that show its signals to the running thread, evaluation mode, and no activation
checkpoints. Afterwards every flag of the module is as before."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

from keras_explainable.errors import ChangedError
from keras_explainable.models import precision, recording
from keras_explainable.models.contract import Tap
from keras_explainable.models.torch import checkpoints, function_mode
from keras_explainable.models.torch.layer_math import BATCH_NORMS
from keras_explainable.models.trace import Point

current: ContextVar["Session | None"] = ContextVar("session", default=None)


class Session(recording.Session):
    """One run, which sees the modules' calls through hooks."""

    def __init__(
        self, whole: nn.Module, paths: dict[int, str], tap: Tap, points: frozenset[Point] | None, fused: set[str]
    ) -> None:
        super().__init__(paths, tap, points)
        self.whole, self.fused = whole, fused  # layers with a bias that call their own activation afterwards
        self.open: list[tuple[str, int]] = []
        self.busy = False  # whether a tap is looking at a signal
        self.ran: list[int] = []  # the ids of the modules that were called, in order
        self.activated: set[tuple[str, int]] = set()

    def before(self, path: str, values: tuple) -> tuple:
        if self.open and self.open[-1][0] in self.fused and self.open[-1] not in self.activated:
            self.activated.add(self.open[-1])
            values = self.see_all(*self.open[-1], "linear", values)
        self.open.append((path, self.begin(path)))
        return self.see_all(*self.open[-1], "input", values)

    def after(self, output: Any) -> Any:
        key = self.open.pop()
        output = self.see_all(*key, "output", output)
        return output if self.points is None else self.see_all(*key, "attention", output)  # asked for at a softmax


def _before(module: nn.Module, args: tuple, kwargs: dict | None = None) -> tuple | None:
    session = current.get()
    if session is None or id(module) not in session.paths:
        return None
    with function_mode.quiet(session):
        args, kwargs = session.before(session.paths[id(module)], (args, kwargs))
        session.see_again(*session.open[-1], module.forward, args, kwargs)
        return args, kwargs


def _after(module: nn.Module, args: tuple, output: Any) -> Any:
    session = current.get()
    if session is None or id(module) not in session.paths:
        return output
    with function_mode.quiet(session):
        return session.after(output)


def _hook(module: nn.Module) -> Callable[[], None]:
    handles = module.register_forward_pre_hook(_before, with_kwargs=True), module.register_forward_hook(_after)

    def restore():
        for handle in handles:
            handle.remove()

    return restore


def _settle(module: nn.Module) -> Callable[[], None]:
    """Put a module into evaluation mode, uncompiled. The flag is set directly, because an overridden `module.eval()`
    may do more."""
    undo, own = [], module.__dict__

    def put(name, value):
        undo.append((name, own[name]))
        own[name] = value

    if own.get("_compiled_call_impl") is not None:  # by `module.compile()`
        put("_compiled_call_impl", None)
    if "_orig_mod" in own.get("_modules", ()) and "forward" in own:  # by `torch.compile(module)`
        put("forward", module._orig_mod.__call__)
    training = module.training
    if training:
        module.training = False

    def restore():
        own.update(undo)
        if training:
            module.training = True

    return restore


def _count(module: nn.Module, args: tuple) -> None:
    session = current.get()
    if session is not None and not session.busy:
        session.ran.append(id(module))
    if session is not None and session.whole.training:  # else this call would update its statistics
        raise ChangedError(
            "The module was put into training mode while it was explained: another thread called its train(). Wait "
            "until that thread has ended and call again, or explain copy.deepcopy(module)."
        )


def _repair_gradient_of_one_image(module: nn.Module, args: tuple, output: Any) -> None:
    """Work around PyTorch 2.13, which computes a wrong gradient for batch normalisation of one image on a CPU if the
    arriving gradient is a transposed tensor, as after `flatten(2).transpose(1, 2)`."""
    one = isinstance(output, torch.Tensor) and output.requires_grad and output.shape[:1] == (1,)
    if one and isinstance(module, BATCH_NORMS) and current.get() is not None:
        output.register_hook(torch.Tensor.contiguous)


def _counted(_: Any) -> Callable[[], None]:
    handles = register_module_forward_pre_hook(_count), register_module_forward_hook(_repair_gradient_of_one_image)
    return lambda: [handle.remove() for handle in handles][0]


_counting = recording.Shared(_counted)
_uncheckpointed = checkpoints.left_out(lambda: current.get() is not None)
_hooking, _settling = recording.Shared(_hook), recording.Shared(_settle)


def evaluation_weights(module: nn.Module) -> AbstractContextManager:
    """A scope in which the weights that a module computes are those of evaluation mode, and reading them changes
    nothing. (In training mode, spectral normalisation updates its iteration when read.)"""
    return _settling(module.modules() if hasattr(module, "parametrizations") else ())


def lowered(device: str) -> AbstractContextManager:
    """A scope in which this thread computes in the requested precision."""
    wanted = precision.current_precision()
    return nullcontext() if wanted is None else torch.autocast(device, getattr(torch, wanted))


@contextmanager
def watched(module: nn.Module, parts: Iterable[nn.Module]) -> Iterator[None]:
    """A scope in which a module is in evaluation mode, and the inputs and outputs of its `parts` are seen."""
    with _hooking(parts), _settling(module.modules()), _counting([_count]), _uncheckpointed([_count]):
        yield


def is_ours(hook: Any) -> bool:
    """Whether a hook was set by this file."""
    return hook is _before or hook is _after
