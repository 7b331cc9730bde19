"""How a linear layer y = W x + b gives the relevance r of its outputs to its inputs: one function a rule.

Each is `rule(linear, x, r) -> relevance of x`, and made of shares: of each output's relevance, an input x_j has the
part x_j W_jk / (sum_j x_j W_jk + b_k), for inputs and weights that the rule changes first. What the bias
has stays with it. `z_plus`, `w_square`, `flat` and `excitation` are rules as they are; `epsilon(...)`, `gamma(...)`,
`alpha_beta(...)` and `z_box(...)` make one of their parameters, the same one for the same numbers. They raise
`InputError` for parameters with which it would be none.
"""

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

from keras import ops

from keras_explainable import backend
from keras_explainable.errors import InputError
from keras_explainable.methods.loops import check_number

EPSILON = 1e-6


class Linear(NamedTuple):
    """A linear layer: `run(x, kernel)` is it without its bias, with any kernel; the bias is shaped as its outputs."""

    run: Callable[[Any, Any], Any]
    kernel: Any
    bias: Any


def stabilized(z: Any, epsilon: float = EPSILON) -> Any:
    """z, further from 0 by epsilon."""
    return z + ops.where(z < 0, -epsilon, epsilon)


def positive(value: Any) -> Any:
    """What is above 0 of it."""
    return ops.maximum(value, 0.0)


def negative(value: Any) -> Any:
    """What is below 0 of it."""
    return ops.minimum(value, 0.0)


def shares(linear: Linear, parts: Sequence[tuple], bias: Any, r: Any, epsilon: float = EPSILON) -> Any:
    """sum_i x_i * W_i^T (r / (sum_i W_i x_i + bias)), for the pairs (x_i, W_i) in `parts`."""
    pulls = [(x, *backend.vjp(lambda v, kernel=kernel: linear.run(v, kernel), x)) for x, kernel in parts]
    part = r / stabilized(sum(z for _, z, _ in pulls) + bias, epsilon)
    return sum(x * pull(part) for x, _, pull in pulls)


@cache
def epsilon(epsilon: float = EPSILON) -> Callable:
    """By what each input adds to the output, epsilon taking a part where that is little."""
    check_number("epsilon", epsilon, lambda e: 0 < e < math.inf, "a number above 0")
    epsilon = float(epsilon)

    def rule(linear, x, r):
        return shares(linear, [(x, linear.kernel)], linear.bias, r, epsilon)

    return rule


@cache
def alpha_beta(alpha: float = 2.0, beta: float = 1.0) -> Callable:
    """alpha times by what adds to the output, less beta times by what takes from it; alpha - beta = 1."""
    check_number("beta", beta, lambda b: 0 <= b < math.inf, "a number of 0 or more")
    check_number("alpha", alpha, lambda a: 1 <= a < math.inf, "a number of 1 or more")
    alpha, beta = float(alpha), float(beta)
    if not math.isclose(alpha - beta, 1.0, abs_tol=1e-6):
        raise InputError(f"alpha={alpha:g} and beta={beta:g} came: relevance is kept where alpha - beta is 1.")

    def rule(linear, x, r):
        up, down = positive(linear.kernel), negative(linear.kernel)
        found = alpha * shares(linear, [(positive(x), up), (negative(x), down)], positive(linear.bias), r)
        if not beta:
            return found
        return found - beta * shares(linear, [(positive(x), down), (negative(x), up)], negative(linear.bias), r)

    return rule


def z_plus(linear: Linear, x: Any, r: Any) -> Any:
    """By what adds to the output alone."""
    return alpha_beta(1.0, 0.0)(linear, x, r)


@cache
def gamma(gamma: float = 0.25) -> Callable:
    """By what each input adds, that of the output's own sign counting 1 + gamma times."""
    check_number("gamma", gamma, lambda g: 0 <= g < math.inf, "a number of 0 or more")
    gamma = float(gamma)

    def rule(linear, x, r):
        kernel, bias = linear.kernel, linear.bias
        up, down = kernel + gamma * positive(kernel), kernel + gamma * negative(kernel)
        high, low = positive(x), negative(x)
        y = linear.run(x, kernel) + bias
        # Of positive inputs and outputs, which most layers have, the first is all there is.
        raised = shares(linear, [(high, up), (low, down)], bias + gamma * positive(bias), r * ops.cast(y > 0, r.dtype))
        lowered = shares(linear, [(high, down), (low, up)], bias + gamma * negative(bias), r * ops.cast(y < 0, r.dtype))
        return raised + lowered

    return rule


def w_square(linear: Linear, x: Any, r: Any) -> Any:
    """By the squares of the weights, whatever the inputs are."""
    return shares(linear, [(ops.ones_like(x), ops.square(linear.kernel))], 0.0, r)


def flat(linear: Linear, x: Any, r: Any) -> Any:
    """In equal parts to all inputs that are connected."""
    return shares(linear, [(ops.ones_like(x), ops.ones_like(linear.kernel))], 0.0, r)


def z_box(low: Any, high: Any) -> Callable:
    """By what each input adds beyond the least that one in [low, high] could; of images, see `composites.Box`."""

    def rule(linear, x, r):
        least, most = (ops.broadcast_to(bound, ops.shape(x)) for bound in (low, high))
        up, down = positive(linear.kernel), negative(linear.kernel)
        return shares(linear, [(x, linear.kernel), (-least, up), (-most, down)], 0.0, r)

    return rule


def excitation(linear: Linear, x: Any, r: Any) -> Any:
    """By what active inputs add through positive weights; no bias."""
    return shares(linear, [(positive(x), positive(linear.kernel))], 0.0, r)


def summed(inputs: Sequence, r: Any) -> list:
    """A sum's relevance, by what each of its terms adds."""
    part = r / stabilized(sum(inputs))
    return [x * part for x in inputs]


def averaged(run: Callable, x: Any, r: Any) -> Any:
    """An average's relevance, by what each pixel adds."""
    y, pull = backend.vjp(run, x)
    return x * pull(r / stabilized(y))
