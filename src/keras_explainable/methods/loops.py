"""What methods that repeat are made of: loops with running sums, quadrature, and the scores of images as they are."""

from collections.abc import Callable, Iterable, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
from keras import ops

from keras_explainable import backend, models
from keras_explainable.compiling import frozen, repeated
from keras_explainable.errors import InputError
from keras_explainable.progress import counted

QUADRATURES = ("gauss_legendre", "midpoint")
AT_ONCE = 32  # images that are evaluated together


def check_number(name: str, value: Any, fits: Callable, expected: str, kind: type = Real) -> None:
    """Refuse what is no number of this kind, or one that does not fit."""
    if isinstance(value, bool) or not isinstance(value, kind) or not fits(value):
        raise InputError(f"{name}={value!r}: {expected} was expected.")


def check_choice(name: str, value: Any, choices: Iterable[str], otherwise: str = "") -> None:
    """Refuse what is none of some words."""
    if not (isinstance(value, str) and value in choices):
        raise InputError(f"{name}={value!r}: use one of {', '.join(map(repr, choices))}{otherwise}.")


def check_repetitions(repetitions: int) -> None:
    """Refuse what is no number of repetitions."""
    check_number("repetitions", repetitions, lambda n: 1 <= n < 2**31, "a whole number, at least one,", Integral)


def at_once_of(at_once: int | None, x: Any) -> int:
    """How many images like `x` are evaluated together: so many, or (None) 32, and fewer where that is faster."""
    if at_once is None:
        return backend.at_once(x, AT_ONCE)
    expected = "a whole number of images evaluated together, 1 or more, or None"
    check_number("at_once", at_once, lambda n: n >= 1, expected, Integral)
    return int(at_once)


def seed_of(seed: int | None) -> int:
    """The seed that counts: none is 0."""
    if seed is None:
        return 0
    check_number("seed", seed, lambda _: True, "a whole number or None", Integral)
    return int(seed)


def steps_of(number: int, batch: Any, at_once: int) -> tuple[int, int]:
    """In how many equal steps that many copies of each image of a batch are evaluated, and how many copies in each: of
    no more than `at_once` images together, but of one copy of each at least."""
    steps = -(-number // max(1, at_once // batch)) if isinstance(batch, int) else number
    return steps, -(-number // steps)


def quadrature_of(kind: str, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes in (0, 1) and weights that sum to 1, as float32: sum weights f(nodes) is the integral of f."""
    check_choice("quadrature", kind, QUADRATURES)
    check_repetitions(number)
    if kind == "midpoint":
        nodes, weights = (np.arange(number) + 0.5) / number, np.full(number, 1 / number)
    else:
        nodes, weights = np.polynomial.legendre.leggauss(number)
        nodes, weights = (nodes + 1) / 2, weights / 2
    return nodes.astype("float32"), weights.astype("float32")


def loop(step: Callable, start: int, stop: int, state: Any, x: Any) -> Any:
    """state = step(i, state) for i from start to stop: in a loop of the program that x is part of, or of the host."""
    if backend.is_traced(x):
        return ops.fori_loop(start, stop, step, state)
    for i in counted(range(start, stop)):
        state = step(i, state)
    return state


def total_of(run: Callable, rows: Sequence[Any], x: Any) -> tuple:
    """The sum over i of the tensors of `run(*(row[i] for row in rows))`, and no more than two of them at a time."""

    def add(i, sums):
        return tuple(total + new for total, new in zip(sums, run(*(row[i] for row in rows)), strict=True))

    rows = [ops.convert_to_tensor(row) for row in rows]
    return loop(add, 1, rows[0].shape[0], run(*(row[0] for row in rows)), x)


def means(run: Callable, number: int, x: Any) -> tuple:
    """The mean of each tensor of `run(step)` over so many steps."""
    return tuple(total / number for total in total_of(run, [np.arange(number, dtype="int32")], x))


def moments(run: Callable, number: int, x: Any) -> tuple:
    """The mean of the scores and the variance of the maps of `run(step)`, updated at each step (Welford): differences
    of large sums would lose all digits of a small variance."""

    def update(i, state):
        scores, mean, spread = state
        new_scores, maps = run(steps[i])
        new_mean = mean + (maps - mean) / ops.cast(i + 1, "float32")
        return scores + new_scores, new_mean, spread + (maps - mean) * (maps - new_mean)

    steps = ops.arange(number, dtype="int32")
    scores, maps = run(steps[0])
    scores, _, spread = loop(update, 1, number, (scores, maps, ops.zeros_like(maps)), x)
    return scores / number, spread / number


def as_inputs(images: Any, channels_first: bool) -> Any:
    """Channels-last images in the layout of a model's."""
    return ops.moveaxis(images, -1, 1) if channels_first else images


def scores_of(model: Any, x: Any, units: Any, score: Any) -> Any:
    """The scores (B, K) of images, by a compiled forward pass."""

    def evaluate(subject, x, units):
        return models.view(subject, x, units, score).evaluate()[0]

    return repeated(evaluate, frozen(["scores", score]), model, evaluate, x)(x, units)
