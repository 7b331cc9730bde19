"""The seam on PyTorch: nothing is recorded below the first signal, and gradients are reduced as they arrive."""

import math
from collections.abc import Callable

import keras
import numpy as np
import torch

from keras_explainable.backend.read_only import read_only

AT_ONCE = 1 << 20  # values
IMAGES = 8 * 224 * 224 * 3  # values


def compile(step: Callable, variables: Callable, jit_compile: bool | None, spread: bool) -> Callable:
    # PyTorch has a process for each device: each explains images of its own.
    def run(*args):
        # Without gradients of their own, weights keep nothing for the way back.
        frozen = [(v, v.value.detach()) for v in variables() if isinstance(v, keras.Variable)]
        with read_only(tuple(frozen)):
            return step(*args)

    return run


def jacobian(run: Callable, x, at: list, reduce: Callable, keep: bool) -> tuple:
    values, like, leaves, arrived = {}, {}, {}, {}  # type: ignore[var-annotated]
    nodes: set = set()  # of the graph, where the taps are
    reached: set = set()

    def arrive(key):
        def hook(grad):
            if grad is not None:  # as what has no way back (quantized layers) gives
                arrived[key] = reduce(key, grad.detach().float(), values.get(key))

        return hook

    def tap(key, value):
        if key not in at or not value.is_floating_point():
            return value
        torch.set_grad_enabled(True)  # from here on; `no_grad` below ends it
        shared = key.link == "input"  # with others that also take it, or work on it in place
        if value.requires_grad and _follows(value.grad_fn, nodes):
            # What follows may work in place: the hook sees the gradient of the value before, except on a view.
            seen = value.clone() if keep or shared or value._is_view() else value
            seen.register_hook(arrive(key))
            nodes.add(seen.grad_fn)
        else:  # nothing before it is asked for, though weights may be: the graph begins here
            leaves[key] = (value.detach().clone() if keep else value.detach()).requires_grad_()
            seen = leaves[key].clone()
            nodes.add(seen.grad_fn)
        like[key] = torch.zeros((), device=value.device).expand(value.shape)
        if keep:
            values[key] = value.detach().clone() if shared else value.detach()
        return seen

    with torch.inference_mode(False), torch.no_grad():
        scores = run(x.clone() if x.is_inference() else x, tap)
    with torch.inference_mode(False), torch.no_grad():
        columns = []
        for k in range(scores.shape[-1]):
            arrived.clear()
            if scores.requires_grad:
                more = k + 1 < scores.shape[-1]
                unit = torch.zeros_like(scores)
                unit[:, k] = 1
                grads = torch.autograd.grad(scores, list(leaves.values()), unit, retain_graph=more, allow_unused=True)
                for key, grad in zip(leaves, grads, strict=True):
                    if grad is not None:
                        arrived[key] = reduce(key, grad.float(), values.get(key))
            reached |= arrived.keys()
            for key, zeros in like.items():
                if key not in arrived:
                    arrived[key] = reduce(key, zeros.clone(), values.get(key))
            columns.append({key: arrived[key] for key in like})
        gradients = {key: _stacked([column[key] for column in columns]) for key in like}
        return scores.detach(), values, gradients, reached


def _stacked(columns: list):
    return torch.stack(columns, dim=1) if len(columns) > 1 else columns[0][:, None]  # no copy of large signals


def _follows(node, known: set) -> bool:
    """Whether a node of the graph depends on one of those known."""
    waiting, passed = [node], set()
    while waiting:
        node = waiting.pop()
        if node in known:
            return True
        if node is not None and node not in passed:
            passed.add(node)
            waiting.extend(before for before, _ in reversed(node.next_functions))
    return False


def evaluate(run: Callable, x) -> tuple:
    values: dict = {}

    def tap(key, value):
        values[key] = value.clone()  # what follows may work in place
        return value

    with torch.inference_mode(False), torch.no_grad():
        return run(x.clone() if x.is_inference() else x, tap), values


class _Reroute(torch.autograd.Function):
    @staticmethod
    def forward(ctx, rule, output, *inputs):
        ctx.rule = rule
        ctx.mark_dirty(output)  # the same memory, as made here
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
    if not torch.is_grad_enabled():  # nothing is asked for above the first signal
        return output
    changed = any(value is output for value in inputs)  # what arrives, and not where it goes
    if changed and not looks and output.requires_grad:
        seen = output.clone() if output._is_view() else output
        seen.register_hook(lambda g: rule(g, None, None)[0])
        return seen
    kept = tuple(value.detach() for value in inputs) if "inputs" in looks else None
    plain = output.detach()
    known = plain if "output" in looks else None
    alone = plain.clone() if changed or "output" in looks else plain  # what follows may work in place
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
    # On a CPU, memory that is new costs more than the arithmetic on it: small temporaries are used again.
    pieces = values.numel() // AT_ONCE if values.device.type == "cpu" else 0
    return torch.cat([function(part) for part in values.chunk(pieces)]) if pieces > 1 else function(values)


def order_statistics(values) -> Callable:
    if values.device.type == "cpu":  # NumPy takes a tenth of PyTorch's time
        ordered = torch.from_numpy(np.sort(values.detach().numpy(), axis=-1))
    else:
        ordered = torch.sort(values, dim=-1).values
    return lambda rank: torch.gather(ordered, -1, rank.long())


def at_once(x, most: int) -> int:
    # On a CPU, signals of more than 32 MB are new memory each time: gradients of ResNet-50 take 1.4 times as long for
    # each of 32 images of 224 x 224 as for each of 8.
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
