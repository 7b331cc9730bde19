"""PyTorch files that hold a whole module: read them, and find what images such a module takes."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

_loading = threading.Lock()


def scripted(path: Path) -> nn.Module:
    """The module in a TorchScript file."""
    return torch.jit.load(path, map_location="cpu")


def exported(path: Path) -> nn.Module:
    """The module in an archive of `torch.export`, read without unpickling."""
    with _weights_only():
        return torch.export.load(path).module()


def channels_of(module: nn.Module) -> int:
    """The number of channels of the images that a module takes, 1 or 3, read from its first convolution."""
    kernels = (p for p in module.parameters() if p.ndim == 4)
    return 1 if next((k.shape[1] for k in kernels), 3) == 1 else 3


def size_of(module: nn.Module) -> tuple[int, int] | None:
    """Height and width of the images that an exported module takes. None for other modules, which do not declare it."""
    shape = input_shape(module)
    return (shape[2], shape[3]) if shape and all(isinstance(side, int) for side in shape[2:]) else None


def input_shape(module: nn.Module) -> tuple | None:
    """The shape of the only tensor that an exported module takes. Sizes that vary are not integers."""
    graph = getattr(module, "graph", None)
    if not isinstance(module, torch.fx.GraphModule) or graph is None:
        return None
    taken = [node.meta.get("val") for node in graph.nodes if node.op == "placeholder"]
    return tuple(taken[0].shape) if len(taken) == 1 and isinstance(taken[0], torch.Tensor) else None


@contextmanager
def _weights_only() -> Iterator[None]:
    """A scope in which PyTorch does not unpickle. Otherwise `torch.export.load` unpickles what it cannot read."""
    name = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    with _loading:
        before = os.environ.get(name)
        os.environ[name] = "1"
        try:
            yield
        finally:
            del os.environ[name]
            if before is not None:
                os.environ[name] = before
