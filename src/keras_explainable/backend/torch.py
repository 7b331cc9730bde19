"""The seam on PyTorch: nothing is recorded below the first signal, and gradients are reduced as they arrive."""

from collections.abc import Callable

import numpy as np
import torch


def compile(step: Callable, variables: Callable, jit_compile: bool | None) -> Callable:
    return step


def jacobian(run: Callable, x, at: list, reduce: Callable, keep: bool) -> tuple:
    values: dict = {}
    leaves: dict = {}
    arrived: dict = {}

    def arrive(key):
        def hook(grad):
            arrived[key] = reduce(key, grad.detach().float())

        return hook

    def tap(key, value):
        if key not in at:
            return value
        torch.set_grad_enabled(True)  # from here on; `no_grad` below ends it
        if value.requires_grad:
            value.register_hook(arrive(key))
            values[key] = value
            return value.clone() if keep else value
        leaves[key] = values[key] = value.detach().clone().requires_grad_()
        return values[key].clone()  # a copy: what follows may work in place

    with torch.inference_mode(False), torch.no_grad():
        scores = run(x.clone() if x.is_inference() else x, tap)
        columns = []
        for k in range(scores.shape[-1]):
            arrived.clear()
            if scores.requires_grad:
                last = k + 1 == scores.shape[-1]
                grads = torch.autograd.grad(scores[:, k].sum(), list(leaves.values()), retain_graph=not last, allow_unused=True)
                for key, grad in zip(leaves, grads, strict=True):
                    if grad is not None:
                        arrived[key] = reduce(key, grad.float())
            columns.append({key: arrived[key] if key in arrived else reduce(key, torch.zeros_like(v).float()) for key, v in values.items()})
        stacked = {key: torch.stack([column[key] for column in columns], dim=1) for key in values} if columns else {}
        kept = {key: value.detach() for key, value in values.items()} if keep else {}
        return scores.detach(), kept, stacked


def evaluate(run: Callable, x) -> tuple:
    values: dict = {}

    def tap(key, value):
        values[key] = value.clone()  # what follows may work in place
        return value

    with torch.inference_mode(False), torch.no_grad():
        return run(x.clone() if x.is_inference() else x, tap), values


def trace(run: Callable, shape: tuple, dtype: str) -> None:
    with torch.inference_mode(False), torch.no_grad():
        run(torch.zeros(shape, dtype=getattr(torch, dtype)))


def to_host(value) -> np.ndarray:
    return value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
