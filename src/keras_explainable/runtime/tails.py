"""The scores of a model with each of many values in place of a hidden signal."""

import math
from collections.abc import Callable
from typing import Any

from keras import ops

from keras_explainable import backend, models
from keras_explainable.errors import ExplainError, printable
from keras_explainable.runtime.repetition import by_number, copies_of, evaluated, steps_of
from keras_explainable.runtime.validation import at_once_of

LENGTH = 200  # characters of a framework's reason


def with_changes(view: models.View, point: models.Point, change: Callable, at_once: int | None = None) -> tuple:
    """Scores (B, K) of a view, its signal (B, *S', C) at a point, and the scores (C, B, K) with `change(signal, c)` in
    place of the signal, for each of its channels c.

    What comes before the signal runs once, and what comes after it for many channels at once. If the framework cannot
    do this, the whole model runs once for each channel, and `whole_passes` says so.

    Args:
        change: a function of the signal and the number of a channel, or of signals (P, B, *S', C) and numbers
            (P, 1, ..., 1).
        at_once: how many images may be evaluated together. The number of signals is chosen to take the same memory.
    """
    at_once, reasons = at_once_of(at_once, view.inputs), view.trace.known.setdefault("passes", {})
    reasons.pop(point, None)
    try:
        return _tails(view, point, change, at_once)
    except ExplainError:
        raise
    except Exception as error:  # frameworks raise different exceptions for operations that they cannot map
        if backend.is_out_of_memory(error):
            raise
        reasons[point] = printable(f"{type(error).__name__}: {error}"[:LENGTH])
    return _passes(view, point, change, at_once)


def whole_passes(view: models.View, params: dict[str, Any]) -> dict[str, Any]:
    """For `.about`: why the whole model ran once for each channel, if it did."""
    reason = view.trace.known.get("passes", {}).get(view.signal(params.get("layer")))
    return {} if reason is None else {"passes": f"one of the whole model for each channel ({reason})"}


def _tails(view: models.View, point: models.Point, change: Callable, at_once: int) -> tuple:
    scores, signal, rest = view.resumed(point)
    steps = steps_of(signal.shape[-1], view.batch, at_once * _room(view, point))

    def changed(number):
        return rest(change(signal, number))

    return scores, signal, by_number(changed, signal.shape[-1], *steps, backend.mapped)


def _room(view: models.View, point: models.Point) -> int:
    """The ratio of the largest signal of a whole run, for which an image needs memory, to the largest one from a point
    on."""
    trace = view.trace if view.trace.at(point) else view.operations
    sizes = [math.prod(call.shape) for call in trace.calls]
    start = trace.calls.index(view.call(point))
    return max(1, max(sizes) // max(1, *sizes[start:]))


def _passes(view: models.View, point: models.Point, change: Callable, at_once: int) -> tuple:
    scores, seen = view.evaluate([point])
    signal = seen[point]

    def changed(numbers):
        shape = numbers.shape[0], view.batch, *ops.shape(signal)[1:]
        numbers = ops.reshape(numbers, (-1, *(1,) * len(signal.shape)))
        copies = ops.broadcast_to(view.inputs[None], (shape[0], *ops.shape(view.inputs)))
        each = {point: lambda v: ops.reshape(change(ops.reshape(v, shape), numbers), ops.shape(v))}
        return evaluated(view, copies, each)

    return scores, signal, by_number(changed, signal.shape[-1], *copies_of(signal.shape[-1], view.inputs, at_once))
