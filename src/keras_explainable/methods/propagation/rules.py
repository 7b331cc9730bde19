"""Rules that distribute the relevance r of the outputs of a linear layer y = W x + b to its inputs.

A rule is a function `rule(linear, x, r) -> relevance of x`. Input x_j gets the share x_j W_jk / (sum_j x_j W_jk + b_k)
of the relevance of output k, where each rule first changes x and W in its own way. The bias keeps its share. `z_plus`,
`w_square`, `flat` and `excitation` are rules. `epsilon(...)`, `gamma(...)`, `alpha_beta(...)` and `z_box(...)` make a
rule from parameters; the same numbers make the same rule. They raise `InputError` if the parameters are not valid.
"""

import math
from collections.abc import Callable, Sequence
from functools import cache, reduce, wraps
from operator import add
from typing import Any, NamedTuple

from keras import ops

from keras_explainable import backend
from keras_explainable.errors import InputError
from keras_explainable.runtime.validation import check_number

EPSILON = 1e-6


def of_numbers(rule: Callable) -> Callable:
    """A decorator for a function that makes a rule from numbers: the same numbers make the same rule."""
    kept = cache(rule)

    @wraps(rule)
    def made(*numbers: Any, **named: Any) -> Callable:
        try:
            return kept(*numbers, **named)
        except TypeError:  # not hashable, so not a number
            return rule(*numbers, **named)

    return made


class Linear(NamedTuple):
    """A linear layer: `run(x, kernel)` applies it without bias, with any kernel. The bias broadcasts to its outputs."""

    run: Callable[[Any, Any], Any]
    kernel: Any
    bias: Any
    nonnegative: bool = False  # whether no input can be below 0, as after a ReLU


def stabilized(z: Any, epsilon: float = EPSILON) -> Any:
    """z + epsilon sign(z), where sign(0) is 1."""
    return z + ops.where(z < 0, -epsilon, epsilon)


def positive(value: Any) -> Any:
    """max(value, 0)."""
    return ops.maximum(value, 0.0)


def negative(value: Any) -> Any:
    """min(value, 0)."""
    return ops.minimum(value, 0.0)


def with_pullback(linear: Linear, parts: Sequence[tuple], bias: Any = None) -> tuple[Any, Callable]:
    """z = sum_i W_i x_i + bias for the pairs (x_i, W_i) in `parts`, and the function v -> sum_i x_i * W_i^T v."""
    pulls = [(x, *backend.vjp(lambda v, kernel=kernel: linear.run(v, kernel), x)) for x, kernel in parts]
    z = reduce(add, [z for _, z, _ in pulls] + ([] if bias is None else [bias]))
    return z, lambda v: reduce(add, [x * pull(v) for x, _, pull in pulls])


def shares(linear: Linear, parts: Sequence[tuple], bias: Any, r: Any, epsilon: float = EPSILON) -> Any:
    """sum_i x_i * W_i^T (r / (sum_i W_i x_i + bias)), for the pairs (x_i, W_i) in `parts`."""
    z, give = with_pullback(linear, parts, bias)
    return give(r / stabilized(z, epsilon))


def signed(linear: Linear, x: Any, above: Any, below: Any) -> list[tuple]:
    """The pairs of x^+ with the kernel `above` and x^- with `below`. Without x^- this is half the work."""
    return [(x, above)] if linear.nonnegative else [(positive(x), above), (negative(x), below)]


@of_numbers
def epsilon(epsilon: float = EPSILON) -> Callable:
    """The epsilon rule: relevance in proportion to x_j W_jk. Epsilon absorbs relevance where the output is small."""
    check_number("epsilon", epsilon, lambda e: 0 < e < math.inf, "a number above 0")
    epsilon = float(epsilon)

    def rule(linear, x, r):
        return shares(linear, [(x, linear.kernel)], linear.bias, r, epsilon)

    return rule


@of_numbers
def alpha_beta(alpha: float = 2.0, beta: float = 1.0) -> Callable:
    """The alpha-beta rule: alpha times the shares of the positive terms minus beta times those of the negative terms.

    alpha - beta is 1."""
    check_number("beta", beta, lambda b: 0 <= b < math.inf, "a number of 0 or more")
    check_number("alpha", alpha, lambda a: 1 <= a < math.inf, "a number of 1 or more")
    alpha, beta = float(alpha), float(beta)
    if not math.isclose(alpha - beta, 1.0, abs_tol=1e-6):
        raise InputError(f"alpha={alpha:g} and beta={beta:g} came: relevance is conserved only if alpha - beta is 1.")

    def rule(linear, x, r):
        up, down = positive(linear.kernel), negative(linear.kernel)
        found = shares(linear, signed(linear, x, up, down), positive(linear.bias), alpha * r)
        if not beta:
            return found
        return found - shares(linear, signed(linear, x, down, up), negative(linear.bias), beta * r)

    return rule


def z_plus(linear: Linear, x: Any, r: Any) -> Any:
    """The z-plus rule: relevance in proportion to the positive terms."""
    return alpha_beta(1.0, 0.0)(linear, x, r)


@of_numbers
def gamma(gamma: float = 0.25) -> Callable:
    """The gamma rule: relevance in proportion to x_j W_jk, multiplied by 1 + gamma if it has the sign of the output."""
    check_number("gamma", gamma, lambda g: 0 <= g < math.inf, "a number of 0 or more")
    gamma = float(gamma)

    def rule(linear, x, r):
        kernel, bias = linear.kernel, linear.bias
        up, down = kernel + gamma * positive(kernel), kernel + gamma * negative(kernel)
        # With positive inputs and outputs, which most layers have, only the first is needed.
        raised, give_raised = with_pullback(linear, signed(linear, x, up, down))
        lowered, give_lowered = with_pullback(linear, signed(linear, x, down, up))
        y = (raised + lowered) / (2 + gamma) + bias  # W^+ + W^- is W
        raised, lowered = raised + bias + gamma * positive(bias), lowered + bias + gamma * negative(bias)
        part = r / stabilized(ops.where(y > 0, raised, lowered))
        return give_raised(ops.where(y > 0, part, 0.0)) + give_lowered(ops.where(y < 0, part, 0.0))

    return rule


def w_square(linear: Linear, x: Any, r: Any) -> Any:
    """The w-square rule: relevance in proportion to the squared weights, for any inputs."""
    return shares(linear, [(ops.ones_like(x), ops.square(linear.kernel))], None, r)


def flat(linear: Linear, x: Any, r: Any) -> Any:
    """The flat rule: equal relevance for all connected inputs."""
    return shares(linear, [(ops.ones_like(x), ops.ones_like(linear.kernel))], None, r)


def z_box(low: Any, high: Any) -> Callable:
    """The box rule: relevance in proportion to x W - low W^+ - high W^-, for inputs in [low, high].

    For images, see `composites.Box`."""

    def rule(linear, x, r):
        least, most = (ops.broadcast_to(bound, ops.shape(x)) for bound in (low, high))
        up, down = positive(linear.kernel), negative(linear.kernel)
        return shares(linear, [(x, linear.kernel), (-least, up), (-most, down)], None, r)

    return rule


def excitation(linear: Linear, x: Any, r: Any) -> Any:
    """The excitation rule: relevance in proportion to x_j^+ W_jk^+, without bias."""
    return shares(linear, [(positive(x), positive(linear.kernel))], None, r)


def summed(inputs: Sequence, r: Any) -> list:
    """The relevance of the terms of a sum, in proportion to their values."""
    part = r / stabilized(reduce(add, inputs))
    return [x * part for x in inputs]


def averaged(run: Callable, x: Any, r: Any) -> Any:
    """The relevance of the pixels of an average, in proportion to what each adds."""
    y, pull = backend.vjp(run, x)
    return x * pull(r / stabilized(y))
