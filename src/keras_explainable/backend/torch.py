"""The backend for PyTorch. Nothing is recorded before the first signal, and gradients are reduced as they arrive."""

import math
from collections.abc import Callable, Container

import keras
import numpy as np
import torch

from keras_explainable.backend.graphs_torch import Graphs, tracing
from keras_explainable.backend.read_only import read_only
from keras_explainable.backend.signals_torch import Signals

VALUES_AT_ONCE = 1 << 20  # values
IMAGES = 8 * 224 * 224 * 3  # values


def compile(step: Callable, variables: Callable, jit_compile: bool | None, spread: bool) -> Callable:
    # PyTorch uses one process per device; each explains its own images.
    def run(*args):
        # Detached weights need no gradient, so nothing is kept for the backward pass.
        frozen = [(v, v.value.detach()) for v in variables() if isinstance(v, keras.Variable)]
        with read_only(tuple(frozen)):
            return step(*args)

    def weights():
        return [v.value if isinstance(v, keras.Variable) else v for v in variables()]

    return Graphs(run, weights) if jit_compile else run


def jacobian(run: Callable, x, at: list, reduce: Callable, keep: Container) -> tuple:
    signals = Signals(at, reduce, keep)
    with torch.inference_mode(False), torch.no_grad():
        scores = run(x.clone() if x.is_inference() else x, signals.tap)
    with torch.inference_mode(False), torch.no_grad():
        columns = [signals.column(scores, k) for k in range(scores.shape[-1])]
        gradients = {key: _stacked([column[key] for column in columns]) for key in signals.zeros}
        return scores.detach(), signals.values, gradients, signals.reached


def _stacked(columns):
    if isinstance(columns[0], tuple):
        return tuple(map(_stacked, zip(*columns, strict=True)))
    return torch.stack(columns, dim=1) if len(columns) > 1 else columns[0][:, None]  # no copy of large signals


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


def reroute(inputs: tuple, output, rule: Callable, keeps: tuple):
    if not torch.is_grad_enabled():  # no gradient is needed before the first signal
        return output
    changed = any(value is output for value in inputs)  # the rule changes the cotangent, not where it goes
    if changed and not keeps and output.requires_grad:
        seen = output.clone() if output._is_view() else output
        seen.register_hook(lambda g: rule(g, None, None)[0])
        return seen
    kept = tuple(value.detach() for value in inputs) if "inputs" in keeps else None
    plain = output.detach()
    known = plain if "output" in keeps else None
    alone = plain.clone() if changed or "output" in keeps else plain  # later layers may work in place
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
    # On a CPU, allocating memory takes longer than the arithmetic, and small temporaries are reused. A graph has none.
    pieces = values.numel() // VALUES_AT_ONCE if values.device.type == "cpu" and not tracing.get() else 0
    return torch.cat([function(part) for part in values.chunk(pieces)]) if pieces > 1 else function(values)


def order_statistics(values) -> Callable:
    if values.device.type == "cpu" and not tracing.get():  # NumPy takes a tenth of PyTorch's time
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
    return tracing.get()


def to_host(value) -> np.ndarray:
    return value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)


def is_out_of_memory(error: Exception) -> bool:
    host = isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    return host or isinstance(error, torch.OutOfMemoryError)


def missing(error: Exception) -> str | None:
    return None
