"""How a linear layer y = W x + b gives the relevance r of its outputs to its inputs: one function a rule.

Each is `rule(linear, x, r) -> relevance of x`, and made of shares: of each output's relevance, an input x_j has the
part x_j W_jk / (sum_j x_j W_jk + b_k), for inputs and weights that the rule changes first. What the bias
has stays with it.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from keras import ops

from keras_explainable import backend

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


def epsilon(linear: Linear, x: Any, r: Any, epsilon: float = EPSILON) -> Any:
    """By what each input adds to the output, epsilon taking a part where that is little."""
    return shares(linear, [(x, linear.kernel)], linear.bias, r, epsilon)


def alpha_beta(linear: Linear, x: Any, r: Any, alpha: float = 2.0, beta: float = 1.0) -> Any:
    """alpha times by what adds to the output, less beta times by what takes from it."""
    up, down = positive(linear.kernel), negative(linear.kernel)
    more = shares(linear, [(positive(x), up), (negative(x), down)], positive(linear.bias), r)
    less = shares(linear, [(positive(x), down), (negative(x), up)], negative(linear.bias), r) if beta else 0.0
    return alpha * more - beta * less


def z_plus(linear: Linear, x: Any, r: Any) -> Any:
    """By what adds to the output alone."""
    return alpha_beta(linear, x, r, 1.0, 0.0)


def gamma(linear: Linear, x: Any, r: Any, gamma: float = 0.25) -> Any:
    """By what each input adds, that of the output's own sign counting 1 + gamma times."""
    kernel, bias = linear.kernel, linear.bias
    up, down = kernel + gamma * positive(kernel), kernel + gamma * negative(kernel)
    high, low = positive(x), negative(x)
    y = linear.run(x, kernel) + bias
    # Of positive inputs and outputs, which most layers have, the first is all there is.
    raised = shares(linear, [(high, up), (low, down)], bias + gamma * positive(bias), r * ops.cast(y > 0, r.dtype))
    lowered = shares(linear, [(high, down), (low, up)], bias + gamma * negative(bias), r * ops.cast(y < 0, r.dtype))
    return raised + lowered


def w_square(linear: Linear, x: Any, r: Any) -> Any:
    """By the squares of the weights, whatever the inputs are."""
    return shares(linear, [(ops.ones_like(x), ops.square(linear.kernel))], 0.0, r)


def flat(linear: Linear, x: Any, r: Any) -> Any:
    """In equal parts to all inputs that are connected."""
    return shares(linear, [(ops.ones_like(x), ops.ones_like(linear.kernel))], 0.0, r)


def z_box(linear: Linear, x: Any, r: Any, low: Any, high: Any) -> Any:
    """By what each input adds beyond the least that one in [low, high] could."""
    low, high = (ops.broadcast_to(bound, ops.shape(x)) for bound in (low, high))
    up, down = positive(linear.kernel), negative(linear.kernel)
    return shares(linear, [(x, linear.kernel), (-low, up), (-high, down)], 0.0, r)


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
