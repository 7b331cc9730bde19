"""Probe images that are changed in some positions, and how much each signal of a model changes with them."""

import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from keras_explainable import backend
from keras_explainable.models.contract import Adapter
from keras_explainable.models.spatial import spatial_size
from keras_explainable.models.trace import Call, Point

VALUES_AT_ONCE = 9 * 3 * 128 * 128  # values (images x channels x pixels) that run together


class Changes(NamedTuple):
    """How much a signal changed with each copy, in each of its cells: (copies, cells) if its channels are first, the
    same if they are last, and (copies, tokens)."""

    first: np.ndarray | None
    last: np.ndarray | None
    tokens: np.ndarray | None


def images(shape: tuple, first: bool, scale: tuple[float, float] | None, masks: np.ndarray) -> np.ndarray:
    """A probe image of shape (B, ...) with coarse and fine structure, and a copy for each mask (copies, *S), with
    another image inside the mask. `scale` is (factor, shift): the model subtracts the shift, then multiplies by the
    factor."""
    size, channels = spatial_size(shape, first), shape[1] if first else shape[-1]
    rng = np.random.default_rng(0)
    coarse = rng.normal(size=(2, *(-(-s // 8) for s in size), channels))
    for axis, s in enumerate(size, 1):
        coarse = np.repeat(coarse, 8, axis=axis).take(range(s), axis=axis)
    one, other = 0.5 * coarse + 0.5 * rng.normal(size=coarse.shape)
    found = np.stack([one, *(np.where(mask[..., None], other, one) for mask in masks)])
    if scale is not None:
        found = scale[1] + found / scale[0]
    return (np.moveaxis(found, -1, 1) if first else found).astype("float32")


def changes(adapter: Adapter, batch: np.ndarray, calls: Sequence[Call]) -> dict[Point, Changes]:
    """How the signals of calls differ between the first image of a batch and each of the others. Only a few run at
    once."""
    each = len(batch) - 1 if batch.size <= VALUES_AT_ONCE else 2
    found: dict[Point, list[Changes]] = {}
    for start in range(1, len(batch), each):
        seen = _run(adapter, np.concatenate([batch[:1], batch[start : start + each]]), calls)
        for point, value in seen.items():
            found.setdefault(point, []).append(value)
    return {point: Changes(*map(_joined, zip(*parts, strict=True))) for point, parts in found.items()}


def _joined(parts: Sequence) -> np.ndarray | None:
    return None if parts[0] is None else np.concatenate(parts)


def _run(adapter: Adapter, batch: np.ndarray, calls: Sequence[Call]) -> dict[Point, Changes]:
    wanted = {call.output: call for call in calls}
    rank, seen = batch.ndim - 2, {}
    operations = any(call.operation for call in calls)

    def look(point: Point, value: Any) -> Any:
        call = wanted.get(point)
        if call is not None and tuple(value.shape[1:]) == call.shape[1:]:
            found = _changes(backend.to_host(ops.cast(value, "float32")), len(batch), rank)
            if found is not None:
                seen[point] = found
        return value

    backend.evaluate(lambda x, _: adapter.run(x, look, None, operations), adapter.images(batch))
    return seen


def _changes(value: np.ndarray, number: int, rank: int) -> Changes | None:
    if value.shape[0] != number:
        return None
    change = np.square(value[1:] - value[:1])
    if value.ndim == rank + 2:
        first, last = (change.sum(axis=axis).reshape(number - 1, -1) for axis in (1, -1))
        return Changes(first, last, None)
    return Changes(None, None, change.sum(axis=-1)) if value.ndim == 3 else None


def in_thread(measure: Callable[[], Any]) -> Any:
    """Run a measurement in another thread, outside of the program that is being built in this one. None if it fails."""
    found: list = []

    def run() -> None:
        try:
            found.append(measure())
        except Exception:  # the model cannot run on such images, or has no gradient
            found.append(None)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return found[0]
