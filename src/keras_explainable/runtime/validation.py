"""Checks of parameters of methods."""

from collections.abc import Callable, Iterable
from numbers import Integral, Real
from typing import Any

from keras_explainable import backend
from keras_explainable.errors import InputError, shortly
from keras_explainable.runtime.repetition import MOST

AT_ONCE = 32  # images that are evaluated together


def check_number(name: str, value: Any, fits: Callable, expected: str, kind: type = Real, most: Any = None) -> None:
    """Raise if the value is not a number of this kind, does not fit, or is too large."""
    known = isinstance(value, kind) and not isinstance(value, bool)
    large = kind is Real and isinstance(value, int) and value.bit_length() > 63
    if not known or large or not fits(value) or (most is not None and value > most):
        limit = " (at most 63 bits)" if large else "" if most is None else f" (at most {most:,})"
        raise InputError(f"{name}={shortly(value)} came, and {expected} was expected{limit}.")


def check_choice(name: str, value: Any, choices: Iterable[str], otherwise: str = "") -> None:
    """Raise if the value is not one of the choices."""
    if not (isinstance(value, str) and value in choices):
        raise InputError(f"{name}={value!r} came: use one of {', '.join(map(repr, choices))}{otherwise}.")


def check_repetitions(repetitions: int, most: int = MOST) -> None:
    """Raise if the number of repetitions is not a whole number from 1 to `most`."""
    check_number("repetitions", repetitions, lambda n: n >= 1, "a whole number of 1 or more", Integral, most)


def at_once_of(at_once: int | None, x: Any) -> int:
    """The number of images like `x` that are evaluated together: `at_once`; None is 32, or fewer if that is faster."""
    if at_once is None:
        return backend.at_once(x, AT_ONCE)
    expected = "a whole number of images evaluated together, 1 or more, or None"
    check_number("at_once", at_once, lambda n: n >= 1, expected, Integral)
    return int(at_once)


def seed_of(seed: int | None) -> int:
    """The seed as an integer; None is 0."""
    if seed is None:
        return 0
    check_number("seed", seed, lambda _: True, "a whole number or None", Integral)
    return int(seed)
