"""Composites: which rule each linear layer uses.

An example for `lrp`: `Composite(convolution=rules.alpha_beta(2, 1), dense=rules.epsilon(0.01), first=rules.w_square)`.
"""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

from keras_explainable.errors import InputError
from keras_explainable.methods.propagation import rules


class Box(NamedTuple):
    """`rules.z_box` for `first`, with the lowest and highest possible value of a pixel, in the range of the images.

    These are numbers, colours (C,), or images in the model's layout. None is each image's own minimum or maximum."""

    low: Any = None
    high: Any = None


class Composite(NamedTuple):
    """A rule for each kind of linear layer.

    `first` is for the linear layers that images reach before any other; None treats them like the others."""

    convolution: Callable
    dense: Callable
    first: Callable | Box | None = None


def check(composite: Any) -> None:
    """Raise if this is not a composite, or one of its rules is not a rule."""
    if not isinstance(composite, Composite):
        raise InputError(f"composite={composite!r} came, and a composites.Composite(convolution, dense) was expected.")
    for kind, rule in composite._asdict().items():
        if not (_is_rule(rule) or (kind == "first" and (rule is None or isinstance(rule, Box)))):
            raise InputError(
                f"{kind}={rule!r} came, and a rule (linear, x, r) was expected, such as rules.w_square or "
                "rules.gamma(0.25); for first= also None or a Box."
            )


def _is_rule(rule: Any) -> bool:
    try:
        inspect.signature(rule).bind("linear", "x", "r")
    except (TypeError, ValueError):
        return False
    return True


def epsilon_everywhere(epsilon: float) -> Composite:
    """Epsilon in all layers."""
    return Composite(rules.epsilon(epsilon), rules.epsilon(epsilon))


def epsilon_plus(epsilon: float) -> Composite:
    """Z-plus in convolutions, epsilon in dense layers."""
    return Composite(rules.z_plus, rules.epsilon(epsilon))


def epsilon_plus_flat(epsilon: float) -> Composite:
    """Flat at the pixels, `epsilon_plus` in other layers."""
    return epsilon_plus(epsilon)._replace(first=rules.flat)


def epsilon_gamma_box(epsilon: float, gamma: float, low: Any, high: Any) -> Composite:
    """The box rule at the pixels, gamma in convolutions, epsilon in dense layers."""
    return Composite(rules.gamma(gamma), rules.epsilon(epsilon), Box(low, high))


def epsilon_alpha2_beta1(epsilon: float) -> Composite:
    """Alpha-beta in convolutions, epsilon in dense layers."""
    return Composite(rules.alpha_beta(2.0, 1.0), rules.epsilon(epsilon))


EXCITATION = Composite(rules.excitation, rules.excitation)
