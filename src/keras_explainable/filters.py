"""Filters of finished maps. Each takes maps (B, *S, K) and their spatial axes, and keeps the shape."""

from typing import Any

from keras import ops

SPATIAL_AXIS = (-3, -2)


def normalize(x: Any, axis: tuple[int, ...] = SPATIAL_AXIS) -> Any:
    """(x - min) / (max - min) over the spatial axes; a constant map becomes zeros."""
    x = ops.convert_to_tensor(x)
    x = ops.maximum(x - ops.min(x, axis=axis, keepdims=True), 0)  # fused operations may round below 0
    high = ops.max(x, axis=axis, keepdims=True)
    return x / ops.where(high > 0, high, ops.ones_like(high))


def positive(x: Any, axis: tuple[int, ...] = SPATIAL_AXIS) -> Any:
    """max(x, 0): evidence for the unit."""
    return ops.maximum(ops.convert_to_tensor(x), 0)


def negative(x: Any, axis: tuple[int, ...] = SPATIAL_AXIS) -> Any:
    """max(-x, 0): evidence against the unit, as positive numbers."""
    return positive(-ops.convert_to_tensor(x))


def absolute(x: Any, axis: tuple[int, ...] = SPATIAL_AXIS) -> Any:
    """|x|."""
    return ops.abs(ops.convert_to_tensor(x))


def positive_normalize(x: Any, axis: tuple[int, ...] = SPATIAL_AXIS) -> Any:
    """`positive`, then `normalize`."""
    return normalize(positive(x), axis)


def negative_normalize(x: Any, axis: tuple[int, ...] = SPATIAL_AXIS) -> Any:
    """`negative`, then `normalize`."""
    return normalize(negative(x), axis)


def absolute_normalize(x: Any, axis: tuple[int, ...] = SPATIAL_AXIS) -> Any:
    """`absolute`, then `normalize`."""
    return normalize(absolute(x), axis)
