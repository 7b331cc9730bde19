"""Repeated steps: loops with running sums, and the scores of images and of copies."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import keras
from keras import ops

from keras_explainable import backend, models
from keras_explainable.errors import InputError
from keras_explainable.runtime.compile_cache import Program, repeated
from keras_explainable.runtime.interruptible import wait_for
from keras_explainable.runtime.memory import check_array_fits
from keras_explainable.runtime.progress import counted, listened, reported

MOST = 1_000_000  # passes of the model for each image: hours even for a small model, and more hardly improve a mean
HELD = 4  # arrays in memory at once, each the size of the copies: two terms, their sum, and at least the first signal
MOST_NODES = 2000  # Gauss-Legendre nodes: finding n takes time in proportion to n^3, 0.6 s for this many


class Rows(NamedTuple):
    """The arrays that a loop needs at each of its `number` steps.

    `drawn(start, stop)` makes those of steps `start` to `stop`, (stop - start, ...). They are made when needed, so
    memory does not grow with the number of steps."""

    number: int
    drawn: Callable

    @classmethod
    def of(cls, arrays: Sequence[Any]) -> "Rows":
        """Rows of known arrays."""
        return cls(arrays[0].shape[0], lambda start, stop: [array[start:stop] for array in arrays])


def check_passes(what: str, number: int, instead: str) -> None:
    """Raise if a method needs more than `MOST` passes of the model for each image."""
    if number > MOST:
        raise InputError(
            f"{what} take {number:,} passes of the model for each image, and at most {MOST:,} are possible: {instead}."
        )


def steps_of(number: int, batch: Any, at_once: int) -> tuple[int, int]:
    """The number of equal steps in which `number` copies of each image of a batch are evaluated, and the number of
    copies in each step: at most `at_once` images together, but at least one copy of each image."""
    steps = -(-number // max(1, at_once // batch)) if isinstance(batch, int) else number
    return steps, -(-number // steps)


def copies_of(number: int, x: Any, at_once: int) -> tuple[int, int]:
    """`steps_of` for copies of the images of a batch x.

    Raises:
        InputError: there is not enough memory for one step.
    """
    steps, together = steps_of(number, x.shape[0], at_once)
    instead = "give a smaller at_once=, or fewer images at once by batch_size="
    what = f"{together:,} copies of images of shape {tuple(x.shape)} and their signals at once"
    check_array_fits(what, (HELD, together, *x.shape), instead)
    return steps, together


def loop(step: Callable, start: int, stop: int, state: Any, x: Any) -> Any:
    """state = step(i, state) for i from start to stop: inside the traced program if x is traced, else on the host."""
    if backend.is_traced(x):
        return ops.fori_loop(start, stop, step, state)
    for i in counted(range(start, stop)):
        state = step(i, state)
        if listened():  # a step is done when its values are computed
            computed(keras.tree.flatten(state))
    return state


def computed(values: Any) -> Any:
    """The results of a step, once they are computed. The wait can be interrupted by Ctrl-C."""
    if not any(map(backend.is_traced, values)):
        for value in values:
            wait_for(value)
    return values


def total_of(run: Callable, rows: Rows | Sequence[Any], x: Any) -> tuple:
    """The sum over i of the tensors of `run(*(row[i] for row in rows))`. Two terms are in memory at a time.

    Rows are made step by step, or all at once inside a traced program."""
    rows = rows if isinstance(rows, Rows) else Rows.of(rows)
    whole = [ops.convert_to_tensor(row) for row in rows.drawn(0, rows.number)] if backend.is_traced(x) else None

    def at(i):
        return (
            [ops.convert_to_tensor(row[0]) for row in rows.drawn(i, i + 1)] if whole is None else [w[i] for w in whole]
        )

    def add(i, sums):
        return tuple(total + new for total, new in zip(sums, computed(run(*at(i))), strict=True))

    return loop(add, 1, rows.number, computed(run(*at(0))), x)


def aggregated(run: Callable, number: int, aggregates: Sequence[tuple[int, str]], x: Any) -> list[tuple]:
    """Aggregates over `number` steps of the parts of `run(step)`, each a tuple of tensors, the scores first.

    For each (part, "mean") it is the mean of all tensors; for each (part, "variance") the mean of the scores and the
    variance of the others. Variances are updated at each step (Welford), because the difference of large sums would
    lose all digits of a small variance."""

    def at(i):
        parts = run(ops.convert_to_tensor(i, "int32"))
        computed([value for part in parts for value in part])
        return parts

    def update(i, states):
        parts = at(i)
        return tuple(_NEXT[how](i, state, parts[p]) for (p, how), state in zip(aggregates, states, strict=True))

    parts = at(0)
    states = tuple(parts[p] if how == "mean" else _moments(parts[p]) for p, how in aggregates)
    states = loop(update, 1, number, states, x)
    return [
        tuple((v if how == "mean" or not k else v[1]) / number for k, v in enumerate(state))
        for (_, how), state in zip(aggregates, states, strict=True)
    ]


def _moments(part: tuple) -> tuple:
    """The scores, and the mean and the sum of squared deviations of each other tensor, after one step."""
    return part[0], *((value, ops.zeros_like(value)) for value in part[1:])


def _added(i: Any, sums: tuple, part: tuple) -> tuple:
    return tuple(total + new for total, new in zip(sums, part, strict=True))


def _deviated(i: Any, state: tuple, part: tuple) -> tuple:
    found = [state[0] + part[0]]
    for (mean, spread), value in zip(state[1:], part[1:], strict=True):
        new = mean + (value - mean) / ops.cast(i + 1, "float32")
        found.append((new, spread + (value - mean) * (value - new)))
    return tuple(found)


_NEXT = {"mean": _added, "variance": _deviated}


def as_inputs(images: Any, channels_first: bool) -> Any:
    """Channels-last images in the layout of the model's images."""
    return ops.moveaxis(images, -1, 1) if channels_first else images


def evaluated(view: models.View, copies: Any, replace: dict | None = None) -> Any:
    """The scores (P, B, K) of copies (P, B, *image), P of each image, for the units of the view."""
    number, shape = copies.shape[0], ops.shape(copies)
    units = view.indices
    if units is not None:
        units = ops.tile(models.unit_indices(units, view.batch, None), (number, 1))
    scores = view.of(ops.reshape(copies, (-1, *shape[2:])), units).evaluate(replace=replace)[0]
    return ops.reshape(scores, (number, -1, scores.shape[-1]))


def by_number(function: Callable, number: int, steps: int, together: int, over: Callable = ops.map) -> Any:
    """The scores (N, B, K) of a function that maps P of the numbers from 0 to N - 1 to (P, B, K), in equal steps. With
    `over=backend.mapped` the function maps one number to (B, K)."""
    numbers = ops.minimum(ops.arange(steps * together), number - 1)  # the last number pads the last step
    function = function if backend.is_traced(numbers) else reported(function, steps)
    found = over(function, ops.reshape(numbers, (steps, together)))
    return ops.reshape(found, (steps * together, -1, found.shape[-1]))[:number]


@dataclass(frozen=True)
class Scores(Program):
    """The scores (B, K) of a view."""

    def __call__(self, view: models.View) -> Any:
        return view.evaluate()[0]


def scores_of(view: models.View) -> Any:
    """The scores (B, K) of a view, by a compiled forward pass."""
    return repeated(Scores(), view)()
