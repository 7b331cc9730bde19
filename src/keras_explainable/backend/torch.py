"""The backend for PyTorch. Nothing is recorded before the first signal, and gradients are reduced as they arrive."""

import math
from collections.abc import Callable

import keras
import numpy as np
import torch

from keras_explainable.backend.read_only import read_only

AT_ONCE = 1 << 20  # values
IMAGES = 8 * 224 * 224 * 3  # values


def compile(step: Callable, variables: Callable, jit_compile: bool | None, spread: bool) -> Callable:
    # PyTorch uses one process per device; each explains its own images.
    def run(*args):
        # Detached weights need no gradient, so nothing is kept for the backward pass.
        frozen = [(v, v.value.detach()) for v in variables() if isinstance(v, keras.Variable)]
        with read_only(tuple(frozen)):
            return step(*args)

    return run


def jacobian(run: Callable, x, at: list, reduce: Callable, keep: bool) -> tuple:
    signals = _Signals(at, reduce, keep)
    with torch.inference_mode(False), torch.no_grad():
        scores = run(x.clone() if x.is_inference() else x, signals.tap)
    with torch.inference_mode(False), torch.no_grad():
        columns = [signals.column(scores, k) for k in range(scores.shape[-1])]
        gradients = {key: _stacked([column[key] for column in columns]) for key in signals.zeros}
        return scores.detach(), signals.values, gradients, signals.reached


class _Signals:
    """The tapped signals of one forward pass, and the reduced gradients that arrive at them."""

    def __init__(self, at: list, reduce: Callable, keep: bool) -> None:
        self.at, self.reduce, self.keep = at, reduce, keep
        self.values: dict = {}
        self.zeros: dict = {}  # by key: zeros like the signal, in no memory
        self.leaves: dict = {}  # by key: the signals where the graph begins
        self.nodes: set = set()  # autograd nodes of the tapped signals
        self.arrived: dict = {}  # by key: the reduced gradient of the present column
        self.reached: set = set()

    def tap(self, key, value):
        if key not in self.at or not value.is_floating_point():
            return value
        torch.set_grad_enabled(True)  # from here on; `no_grad` in `jacobian` ends it
        shared = key.link == "input"  # other layers may take it too, or change it in place
        if value.requires_grad and _follows(value.grad_fn, self.nodes):
            # Later layers may work in place: a hook sees the gradient of the value before that, but not on a view.
            seen = value.clone() if self.keep or shared or value._is_view() else value
            seen.register_hook(_arrival(key, self.reduce, self.values, self.arrived))
        else:  # no tapped signal comes before it (it may still depend on trainable weights): the graph begins here
            self.leaves[key] = (value.detach().clone() if self.keep else value.detach()).requires_grad_()
            seen = self.leaves[key].clone()
        self.nodes.add(seen.grad_fn)
        self.zeros[key] = torch.zeros((), device=value.device).expand(value.shape)
        if self.keep:
            self.values[key] = value.detach().clone() if shared else value.detach()
        return seen

    def column(self, scores, k: int) -> dict:
        """The reduced gradients of one column of the scores, by key."""
        self.arrived.clear()
        if scores.requires_grad:
            one = torch.zeros_like(scores)
            one[:, k] = 1
            more = k + 1 < scores.shape[-1]
            grads = torch.autograd.grad(scores, list(self.leaves.values()), one, retain_graph=more, allow_unused=True)
            for key, grad in zip(self.leaves, grads, strict=True):
                if grad is not None:
                    self.arrived[key] = self.reduce(key, grad.float(), self.values.get(key))
        self.reached |= self.arrived.keys()
        for key, zeros in self.zeros.items():
            if key not in self.arrived:
                self.arrived[key] = self.reduce(key, zeros.clone(), self.values.get(key))
        return {key: self.arrived[key] for key in self.zeros}


def _arrival(key, reduce: Callable, values: dict, arrived: dict) -> Callable:
    # Not a method: a hook that holds `_Signals` would be in a reference cycle with the graph.
    def hook(grad):
        if grad is not None:  # None after layers without a backward pass (quantized layers)
            arrived[key] = reduce(key, grad.detach().float(), values.get(key))

    return hook


def _stacked(columns: list):
    return torch.stack(columns, dim=1) if len(columns) > 1 else columns[0][:, None]  # no copy of large signals


def _follows(node, ancestors: set) -> bool:
    """Whether a node of the graph depends on one of `ancestors`."""
    waiting, passed = [node], set()
    while waiting:
        node = waiting.pop()
        if node in ancestors:
            return True
        if node is not None and node not in passed:
            passed.add(node)
            waiting.extend(before for before, _ in reversed(node.next_functions))
    return False


def evaluate(run: Callable, x) -> tuple:
    values: dict = {}

    def tap(key, value):
        values[key] = value.clone()  # later layers may work in place
        return value

    with torch.inference_mode(False), torch.no_grad():
        return run(x.clone() if x.is_inference() else x, tap), values


class _Reroute(torch.autograd.Function):
    @staticmethod
    def forward(ctx, rule, output, *inputs):
        ctx.rule = rule
        ctx.mark_dirty(output)  # same memory, but counted as computed here
        return output

    @staticmethod
    def backward(ctx, g):
        return None, None, *ctx.rule(g)


class _StandIn(torch.autograd.Function):
    @staticmethod
    def forward(ctx, value):
        return value.new_zeros(()).expand(value.shape)

    @staticmethod
    def backward(ctx, g):
        return g


def reroute(inputs: tuple, output, rule: Callable, looks: tuple):
    if not torch.is_grad_enabled():  # no gradient is needed before the first signal
        return output
    changed = any(value is output for value in inputs)  # the rule changes the cotangent, not where it goes
    if changed and not looks and output.requires_grad:
        seen = output.clone() if output._is_view() else output
        seen.register_hook(lambda g: rule(g, None, None)[0])
        return seen
    kept = tuple(value.detach() for value in inputs) if "inputs" in looks else None
    plain = output.detach()
    known = plain if "output" in looks else None
    alone = plain.clone() if changed or "output" in looks else plain  # later layers may work in place
    return _Reroute.apply(lambda g: rule(g, kept, known), alone, *inputs)


def stand_in(value):
    return _StandIn.apply(value) if torch.is_grad_enabled() else value.detach()


def vjp(function: Callable, x) -> tuple:
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        y = function(x)
    return y.detach(), lambda g: torch.autograd.grad(y, x, g, allow_unused=True, materialize_grads=True)[0]


def trace(run: Callable, shape: tuple, dtype: str) -> None:
    with torch.inference_mode(False), torch.no_grad():
        run(torch.zeros(shape, dtype=getattr(torch, dtype)))


def by_image(function: Callable, values):
    # On a CPU, allocating memory costs more than the arithmetic: small temporaries are reused.
    pieces = values.numel() // AT_ONCE if values.device.type == "cpu" else 0
    return torch.cat([function(part) for part in values.chunk(pieces)]) if pieces > 1 else function(values)


def order_statistics(values) -> Callable:
    if values.device.type == "cpu":  # NumPy takes a tenth of PyTorch's time
        ordered = torch.from_numpy(np.sort(values.detach().numpy(), axis=-1))
    else:
        ordered = torch.sort(values, dim=-1).values
    return lambda rank: torch.gather(ordered, -1, rank.long())


def at_once(x, most: int) -> int:
    # On a CPU, signals of more than 32 MB are allocated anew each time: per image, gradients of ResNet-50 take 1.4
    # times as long with 32 images of 224 x 224 as with 8.
    device = x.device if isinstance(x, torch.Tensor) else keras.ops.convert_to_tensor(0.0).device
    return max(1, min(most, IMAGES // max(1, math.prod(x.shape[1:])))) if device.type == "cpu" else most


def is_traced(value) -> bool:
    return False


def to_host(value) -> np.ndarray:
    return value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)


def is_out_of_memory(error: Exception) -> bool:
    host = isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    return host or isinstance(error, torch.OutOfMemoryError)


def missing(error: Exception) -> str | None:
    return None
