"""What methods that repeat are made of: loops with running sums, quadrature, and the scores of images as they are."""

import math
from collections.abc import Callable, Iterable, Sequence
from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from keras_explainable import backend, models
from keras_explainable.errors import InputError, shortly
from keras_explainable.runtime.compile_cache import frozen, repeated
from keras_explainable.runtime.memory import check_fits
from keras_explainable.runtime.progress import counted

QUADRATURES = ("gauss_legendre", "midpoint")
AT_ONCE = 32  # images that are evaluated together
MOST = 1_000_000  # passes of the model for each image: hours of the smallest one, and a mean is no better for more
MOST_NODES = 2000  # of Gauss and Legendre: to find n takes time that grows as n^3, 0.6 s of these


class Rows(NamedTuple):
    """What a loop takes at each of its `number` steps, made when it is needed, so that memory does not grow with them:
    `drawn(start, stop)` are arrays (stop - start, ...), of steps `start` to `stop`."""

    number: int
    drawn: Callable

    @classmethod
    def of(cls, arrays: Sequence[Any]) -> "Rows":
        """Rows that are there already."""
        return cls(len(arrays[0]), lambda start, stop: [array[start:stop] for array in arrays])


def check_number(name: str, value: Any, fits: Callable, expected: str, kind: type = Real, most: Any = None) -> None:
    """Refuse what is no number of this kind, or one that does not fit; also whole ones for which there is no float."""
    known = isinstance(value, kind) and not isinstance(value, bool)
    large = kind is Real and isinstance(value, int) and value.bit_length() > 63
    if not known or large or not fits(value) or (most is not None and value > most):
        limit = ", of at most 63 bits" if large else "" if most is None else f", and at most {most:,}"
        raise InputError(f"{name}={shortly(value)}: {expected} was expected{limit}.")


def check_passes(what: str, number: int, instead: str) -> None:
    """Refuse what takes more passes of the model for each image than anybody waits for."""
    if number > MOST:
        raise InputError(
            f"{what} take {number:,} passes of the model for each image, and {MOST:,} are the most: {instead}."
        )


def check_choice(name: str, value: Any, choices: Iterable[str], otherwise: str = "") -> None:
    """Refuse what is none of some words."""
    if not (isinstance(value, str) and value in choices):
        raise InputError(f"{name}={value!r}: use one of {', '.join(map(repr, choices))}{otherwise}.")


def check_repetitions(repetitions: int, most: int = MOST) -> None:
    """Refuse what is no number of repetitions, or more than are worth their time."""
    check_number("repetitions", repetitions, lambda n: n >= 1, "a whole number, at least one,", Integral, most)


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


def copies_of(number: int, x: Any, at_once: int) -> tuple[int, int]:
    """`steps_of` copies of the images of a batch x, as many at once as there is memory for, or none."""
    steps, together = steps_of(number, x.shape[0], at_once)
    shape = (together, *x.shape)
    if all(isinstance(n, int) for n in shape):
        instead = "give a smaller at_once=, or fewer images at once by batch_size="
        check_fits(f"{together:,} copies of images of shape {tuple(x.shape)} at once", 4.0 * math.prod(shape), instead)
    return steps, together


def quadrature_of(kind: str, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes in (0, 1) and weights that sum to 1, as float32: sum weights f(nodes) is the integral of f."""
    check_choice("quadrature", kind, QUADRATURES)
    check_repetitions(number)
    if kind != "midpoint" and number > MOST_NODES:
        raise InputError(
            f"repetitions={number}: at most {MOST_NODES:,} nodes of Gauss and Legendre are found, and for more of them "
            'quadrature="midpoint" was expected.'
        )
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


def total_of(run: Callable, rows: Rows | Sequence[Any], x: Any) -> tuple:
    """The sum over i of the tensors of `run(*(row[i] for row in rows))`, and no more than two of them at a time. Rows
    are made step by step, but all at once for a loop of a program."""
    rows = rows if isinstance(rows, Rows) else Rows.of(rows)
    whole = [ops.convert_to_tensor(row) for row in rows.drawn(0, rows.number)] if backend.is_traced(x) else None

    def at(i):
        return (
            [ops.convert_to_tensor(row[0]) for row in rows.drawn(i, i + 1)] if whole is None else [w[i] for w in whole]
        )

    def add(i, sums):
        return tuple(total + new for total, new in zip(sums, run(*at(i)), strict=True))

    return loop(add, 1, rows.number, run(*at(0)), x)


def means(run: Callable, number: int, x: Any) -> tuple:
    """The mean of each tensor of `run(step)` over so many steps."""
    steps = Rows(number, lambda start, stop: [np.arange(start, stop, dtype="int32")])
    return tuple(total / number for total in total_of(run, steps, x))


def moments(run: Callable, number: int, x: Any) -> tuple:
    """The mean of the scores and the variance of the maps of `run(step)`, updated at each step (Welford): differences
    of large sums would lose all digits of a small variance."""

    def update(i, state):
        scores, mean, spread = state
        new_scores, maps = run(ops.convert_to_tensor(i, "int32"))
        new_mean = mean + (maps - mean) / ops.cast(i + 1, "float32")
        return scores + new_scores, new_mean, spread + (maps - mean) * (maps - new_mean)

    scores, maps = run(ops.convert_to_tensor(0, "int32"))
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
