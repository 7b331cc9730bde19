"""Limit what Keras computes on PyTorch while it only looks for the shapes of layers."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class ShapesWithin(TorchFunctionMode):
    """A scope in which no layer is computed on more than `most` values only to find the shape of its output.

    Keras does that, with 83 images of ones, if PyTorch does not find the shape without values. If a layer would be
    computed on more values, or `repeat` would make more, the error `refuse(values)` is raised.
    """

    def __init__(self, most: int, refuse: Callable[[int], Exception]) -> None:
        super().__init__()
        self.most, self.refuse = most, refuse
        self.refused: Exception | None = None

    def __exit__(self, *raised: Any) -> None:
        super().__exit__(*raised)
        if self.refused:  # Keras raises another error in its place
            raise self.refused from None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call a function of PyTorch, unless it takes or makes too many values."""
        kwargs = kwargs or {}
        values = max((one.numel() for one in args if isinstance(one, torch.Tensor) and not one.is_meta), default=0)
        if func is torch.ones and torch.device(kwargs.get("device") or "cpu").type != "meta":
            values = math.prod(kwargs.get("size", ()))
        elif func is torch.repeat_interleave:
            values *= int(torch.as_tensor(args[1]).max())
        if values > self.most:
            self.refused = self.refuse(values)
            raise self.refused
        return func(*args, **kwargs)
