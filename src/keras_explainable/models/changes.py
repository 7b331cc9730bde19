"""Whether a module runs as it did when it was traced: the same layers in the same order, the same operations."""

from collections import Counter
from typing import NamedTuple

from keras_explainable.errors import ChangedError, LayerError


class Calls(NamedTuple):
    """What one run called: layers in order, and how often each operation (if operations were watched)."""

    layers: tuple[str, ...]
    operations: dict[str, int]


def difference(now: Calls, then: Calls, operations: bool) -> str | None:
    """The first layer or operation in which two runs differ, in words; None if they are alike."""
    for i, path in enumerate(now.layers):
        if i >= len(then.layers) or path != then.layers[i]:
            other = repr(then.layers[i]) if i < len(then.layers) else "none"
            return f"call {i} is of layer {path!r}, and was of {other}"
    if len(now.layers) < len(then.layers):
        return f"layer {then.layers[len(now.layers)]!r} is no longer called"
    if operations and now.operations != then.operations:
        odd = sorted(p for p in now.operations | then.operations if now.operations.get(p) != then.operations.get(p))
        return f"{odd[0]} runs another number of times"
    return None


def check(now: Calls, then: Calls, tried: bool, needed: set[str] | None, operations: bool) -> None:
    """Raise if a run differs from the traced one.

    Args:
        tried: whether the module was already traced again; then what runs depends on the images.
        needed: the layers whose calls must be alike even then; None for all.

    Raises:
        ChangedError: the module must be traced again.
        LayerError: it was, and needed layers still differ.
    """
    found = difference(now, then, operations)
    if found is None:
        return
    if not tried:
        raise ChangedError(f"The module runs differently from when it was last traced: {found}. Call again.")
    counted = [Counter(p for p in calls.layers if needed is None or p in needed) for calls in (now, then)]
    if needed is None or counted[0] != counted[1]:
        raise LayerError(
            f"What the module runs depends on the images, or on how many there are ({found}), so it is unknown how "
            "each layer contributes to the score. If it goes through the images one by one, give batch_size=1. "
            "Otherwise use a method that explains the input, such as `gradients` or `integrated_gradients`."
        )
