"""Propagation through a normalisation y = gain (x - mean) / deviation + bias; deviation is the standard deviation."""

from collections.abc import Callable
from typing import Any

from keras import ops

from keras_explainable.models import Deviation


def gradient_at_fixed_deviation(norm: Deviation, x: Any, g: Any) -> Any:
    """The gradient with respect to x from the gradient g with respect to y, where the deviation is a constant."""
    to_groups, from_groups = _grouped(norm, x)
    centred = _centring(norm.axes, norm.centred)
    v = centred(to_groups(x))
    return from_groups(centred(to_groups(g * norm.gain(len(x.shape))) / _deviation(norm, v)))


def multiplier(norm: Deviation, x: Any, x0: Any, g: Any) -> Any:
    """The multiplier of the inputs' difference from the multiplier g of the outputs' difference.

    It is the gradient of n = (x - mean) / d with x, n and the deviation d replaced by the means of image and baseline.
    This is exact, because the differences of the products x - mean = n d and d^2 are those at the means."""
    to_groups, from_groups = _grouped(norm, x)
    x, x0, g = to_groups(x), to_groups(x0), to_groups(g * norm.gain(len(x.shape)))
    centred = _centring(norm.axes, norm.centred)
    d, d0 = _deviation(norm, centred(x)), _deviation(norm, centred(x0))
    return from_groups(_multiplier(x, x0, g, d, d0, norm.axes, centred, mean=True))


def multiplier_by_deviations(x: Any, x0: Any, d: Any, d0: Any, g: Any, centred: bool, mean: bool, groups: bool) -> Any:
    """`multiplier` for a function whose deviations d were recorded. It normalises over the axes where d has size 1."""
    norm = Deviation((-1,), 0.0, centred, lambda rank: 1.0, int(d.shape[1]) if groups else 0, 1)
    to_groups, from_groups = _grouped(norm, x)
    x, x0, g = map(to_groups, (x, x0, g))
    axes = tuple(i for i, (one, size) in enumerate(zip(d.shape, x.shape, strict=True)) if one == 1 != size)
    axes = axes or (len(x.shape) - 1,)
    return from_groups(_multiplier(x, x0, g, d, d0, axes, _centring(axes, centred), mean))


def _multiplier(x: Any, x0: Any, g: Any, d: Any, d0: Any, axes: tuple, centred: Callable, mean: bool) -> Any:
    c, c0, middle = centred(x), centred(x0), (d + d0) / 2
    through = (ops.mean if mean else ops.sum)(g * (c / d + c0 / d0) / 2, axis=axes, keepdims=True)
    return centred((g - through * (c + c0) / 2 / middle) / middle)


def _deviation(norm: Deviation, centred: Any) -> Any:
    return ops.sqrt(ops.mean(ops.square(centred), axis=norm.axes, keepdims=True) + norm.epsilon)


def _centring(axes: tuple, centred: bool) -> Callable:
    return (lambda v: v - ops.mean(v, axis=axes, keepdims=True)) if centred else (lambda v: v)


def _grouped(norm: Deviation, x: Any) -> tuple[Callable, Callable]:
    """A function from signals like x to (B, groups, members), and its inverse."""
    if not norm.groups:
        return (lambda v: v), (lambda v: v)
    rank, channels = len(x.shape), int(x.shape[norm.channels])
    groups = channels if norm.groups == -1 else norm.groups
    sizes = [int(x.shape[i]) for i in range(1, rank) if i != norm.channels % rank]

    def to_groups(v):
        members = channels // groups
        for size in sizes:
            members *= size
        return ops.reshape(ops.moveaxis(v, norm.channels, 1), (-1, groups, members))

    def from_groups(v):
        return ops.moveaxis(ops.reshape(v, (-1, channels, *sizes)), 1, norm.channels)

    return to_groups, from_groups
