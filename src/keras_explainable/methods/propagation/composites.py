"""Which rule each linear layer has: data."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from keras_explainable.methods.propagation import rules


class Composite(NamedTuple):
    """A rule for each kind of linear layer; `first` for those that images reach before any other, None: as others."""

    convolution: Callable
    dense: Callable
    first: Callable | None = None


def epsilon_everywhere(epsilon: float) -> Composite:
    """Epsilon."""
    return Composite(partial(rules.epsilon, epsilon=epsilon), partial(rules.epsilon, epsilon=epsilon))


def epsilon_plus(epsilon: float) -> Composite:
    """Z-plus in convolutions, epsilon in dense layers."""
    return Composite(rules.z_plus, partial(rules.epsilon, epsilon=epsilon))


def epsilon_plus_flat(epsilon: float) -> Composite:
    """Flat at the pixels, then as `epsilon_plus`."""
    return epsilon_plus(epsilon)._replace(first=rules.flat)


def epsilon_gamma_box(epsilon: float, gamma: float, first: Callable) -> Composite:
    """The box rule at the pixels, gamma in convolutions, epsilon in dense layers."""
    return Composite(partial(rules.gamma, gamma=gamma), partial(rules.epsilon, epsilon=epsilon), first)


def epsilon_alpha2_beta1(epsilon: float) -> Composite:
    """Alpha-beta in convolutions, epsilon in dense layers."""
    return Composite(partial(rules.alpha_beta, alpha=2.0, beta=1.0), partial(rules.epsilon, epsilon=epsilon))


EXCITATION = Composite(rules.excitation, rules.excitation)
