"""Whether a call is linear in the values that come from the images. This is tested with numbers, not by the call's
name."""

import threading
from collections.abc import Callable, Sequence
from itertools import starmap
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_explainable import backend
from keras_explainable.models.contract import Adapter
from keras_explainable.models.inputs import sampled
from keras_explainable.models.operations import Step
from keras_explainable.models.scored import Scored
from keras_explainable.models.trace import Point

SIZES = (1e-3, 0.1, 1.0, 10.0, 1000.0)  # scales of the test inputs
EXACT, LOWER = 1e-3, 0.03  # tolerances for float32 sums, and for lower precisions
MOVING, LINEAR = "moving", "linear"

Key = tuple[str, int]  # the path and number of a call


def find_linear(view: Scored, steps: Sequence[Step]) -> dict[Key, str]:
    """Find which of some calls are linear, up to a constant, in the values that come from the images. "moving": each
    output is one of these values, or a constant; "linear": otherwise. The verdicts are kept with the trace.

    All calls are tested in one run of the model, on random images."""
    if not steps:
        return {}
    verdicts = view.operations.known.setdefault("linear", {})
    new = [step for step in steps if step.call.output[:2] not in verdicts]
    verdicts.update(dict.fromkeys([step.call.output[:2] for step in new]))
    testable = {step.call.output[:2]: step.reached for step in new if step.reached and not step.indexed}
    if testable:
        shape = _shape(view)
        _with_numbers(lambda: _run(sampled(view.adapter), shape, testable, verdicts, _verdict))
    return {key: kind for key, kind in verdicts.items() if kind}


def summing(view: Scored, steps: Sequence[Step]) -> dict[Key, int | None]:
    """The axis along which the output of each call sums to 1, counted from the last; None if there is none, or more
    than one. Kept with the trace."""
    if not steps:
        return {}
    axes = view.operations.known.setdefault("summing", {})
    new = {step.call.output[:2]: step.reached for step in steps if step.call.output[:2] not in axes}
    axes.update(dict.fromkeys(new))
    if new:
        shape = _shape(view)
        _with_numbers(lambda: _run(sampled(view.adapter), shape, new, axes, _axis))
    return axes


def is_constant(view: Scored, points: Sequence[Point]) -> bool:
    """Whether signals are the same for all images, tested on two batches of random ones. Kept with the trace."""
    known = view.operations.known.setdefault("constant", {})
    key = tuple(points)
    if key not in known:
        known[key], shape = False, _shape(view)
        _with_numbers(lambda: known.update({key: _same(sampled(view.adapter), shape, frozenset(points))}))
    return known[key]


def _shape(view: Scored) -> tuple:
    """The shape of as many images as the trace with operations has."""
    return (view.operations.images, *view.inputs.shape[1:])


def _with_numbers(work: Callable[[], None]) -> None:
    """Run in another thread, where tensors have values even while the backend traces in this one."""
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def _same(adapter: Adapter, shape: tuple, points: frozenset[Point]) -> bool:
    seen: list[dict[Point, np.ndarray]] = []

    def tap(point, value):
        seen[-1][point] = _numbers(value)
        return value

    try:
        for seed in range(2):
            seen.append({})
            with adapter.device():
                adapter.run(adapter.images(_random(shape, seed)), tap, points)
    except Exception:  # the model cannot run on such images
        return False
    first, second = seen
    return first.keys() == second.keys() == points and all(np.array_equal(first[p], second[p]) for p in points)


def _random(shape: tuple, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def _run(
    adapter: Adapter, shape: tuple, testable: dict[Key, tuple[Point, ...]], verdicts: dict, judge: Callable
) -> None:
    """Run the model, and store the verdict on each call."""
    seen: dict[Point, Any] = {}

    def tap(point, value):
        if point.link == "again":
            verdicts[point[:2]] = judge(value, {p.part: seen[p] for p in testable[point[:2]]})
        else:
            seen[point] = value
        return value

    points = frozenset([Point(*key, "again") for key in testable]).union(*testable.values())
    try:
        with adapter.device():
            adapter.run(adapter.images(_random(shape)), tap, points)
    except Exception:  # the model cannot run on such images: calls not yet tested stay unknown
        return


def _verdict(again: Callable, values: dict[int, Any]) -> str | None:
    """Test a call, `again({part: tensor})`, on such tensors: f(a + b) + f(0) = f(a) + f(b), f(-a) + f(a) = 2 f(0), and
    <f(a) - f(0), v> = <a, J^T v> for its own gradient J."""
    random = np.random.default_rng(0)
    exact = [_is_exact(value) for value in values.values()]

    def call(parts):
        given = zip(values, parts, values.values(), strict=True)
        y = again({part: _like(numbers, value) for part, numbers, value in given})
        exact.append(_is_exact(y))
        return _numbers(y)

    def draw(size):
        return [size * random.normal(size=value.shape) for value in values.values()]

    try:
        at_zero = call(draw(0))
        if not np.isfinite(at_zero).all():  # such as x / 0
            return None
        for size in SIZES:
            a, b = draw(size), draw(size)
            both, back = [x + y for x, y in zip(a, b, strict=True)], [-x for x in a]
            at, other, sum_of, opposite = (call(parts) - at_zero for parts in (a, b, both, back))
            tolerance = (EXACT if all(exact) else LOWER) * abs(at).max() + 1e-5 * abs(at_zero).max()
            if not max(abs(at + other - sum_of).max(), abs(at + opposite).max()) <= tolerance:
                return None
        if not _has_gradient(again, values, draw(1), draw(1), random, EXACT if all(exact) else LOWER):
            return None
        a = [numbers.astype("float32") for numbers in draw(1)]
        y = call(a)
        known = np.concatenate([np.ravel(_numbers(_like(n, v))) for n, v in zip(a, values.values(), strict=True)])
        return MOVING if bool(np.all(np.isin(y, known) | (y == at_zero))) else LINEAR
    except Exception:  # it needs other values, or returns no tensor
        return None


def _axis(again: Callable, values: dict[int, Any]) -> int | None:
    """The axis along which the output of a call sums to 1 for any value of its one signal."""
    random = np.random.default_rng(0)
    try:
        y = _numbers(again({part: _like(random.normal(size=v.shape), v) for part, v in values.items()}))
    except Exception:
        return None
    alone = bool(np.allclose(y, 1))  # all ones: it sums along an axis of size 1, not the batch
    axes = [axis for axis in range(1 - y.ndim if alone else -y.ndim, 0) if (y.shape[axis] == 1) == alone]
    sums = [axis for axis in axes if np.allclose(y.sum(axis), 1, atol=LOWER)][-1 if alone else 0 :]
    return sums[0] if len(sums) == 1 else None


def _has_gradient(
    again: Callable, values: dict[int, Any], a: list, base: list, random: np.random.Generator, tolerance: float
) -> bool:
    """Whether the backend's gradient for each tensor is that of the function. It is not if the gradient was stopped."""
    parts = list(values)
    fixed = dict(zip(parts, starmap(_like, zip(base, values.values(), strict=True)), strict=True))
    for part, numbers in zip(parts, a, strict=True):
        x = _like(numbers, values[part])
        y, pull = backend.vjp(lambda v, part=part: again(fixed | {part: v}), x)
        v = random.normal(size=y.shape)
        change = _numbers(y) - _numbers(again(fixed | {part: _like(0 * numbers, values[part])}))
        ours, theirs = (change * v).sum(), (_numbers(x) * _numbers(pull(_like(v, y)))).sum()
        if not abs(ours - theirs) <= tolerance * max(float(np.linalg.norm(change) * np.linalg.norm(v)), 1e-6):
            return False
    return True


def _like(numbers: np.ndarray, value: Any) -> Any:
    return ops.cast(ops.convert_to_tensor(numbers.astype("float32")), value.dtype)


def _numbers(value: Any) -> np.ndarray:
    return np.asarray(ops.convert_to_numpy(ops.cast(value, "float32")), "float64")


def _is_exact(value: Any) -> bool:
    return keras.backend.standardize_dtype(value.dtype) in ("float32", "float64")
