"""Disable activation checkpoints during a run. Their recomputation in the backward pass would no longer be in
evaluation mode, and would not pass the taps. All activations are kept instead.

Many modules import `torch.utils.checkpoint.checkpoint` by name, so two names that it looks up when it is called are
replaced, for the time of a scope, and only for threads that are in a run."""

from collections.abc import Callable, Iterator
from typing import Any

import torch.utils.checkpoint as checkpoints

from keras_explainable.models.recording import Shared

NAMES = "CheckpointFunction", "_checkpoint_without_reentrant_generator"  # reentrant, and non-reentrant


class _Reentrant:
    def __init__(self, plain: Any, is_ours: Callable[[], bool]) -> None:
        self.plain, self.is_ours = plain, is_ours

    def apply(self, function: Callable, preserve: bool, *args: Any) -> Any:
        return function(*args) if self.is_ours() else self.plain.apply(function, preserve, *args)


def _without(plain: Callable, is_ours: Callable[[], bool]) -> Callable:
    def around(*args: Any, **kwargs: Any) -> Iterator[None]:
        if not is_ours():
            yield from plain(*args, **kwargs)
            return
        yield  # here the function runs

    return around


def left_out(is_ours: Callable[[], bool]) -> Shared:
    """A scope without checkpoints, in the threads for which `is_ours()` is true."""

    def make(_: Any) -> Callable[[], None]:
        plain = {name: getattr(checkpoints, name) for name in NAMES if hasattr(checkpoints, name)}
        for name, one in plain.items():
            setattr(checkpoints, name, (_Reentrant if name == NAMES[0] else _without)(one, is_ours))

        def restore() -> None:
            for name, one in plain.items():
                setattr(checkpoints, name, one)

        return restore

    return Shared(make)
