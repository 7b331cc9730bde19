"""AttnLRP: relevance through transformers, as a gradient with different rules where the network is not linear."""

from collections.abc import Callable
from typing import Any

from keras import ops

from keras_explainable import filters
from keras_explainable.errors import LayerError
from keras_explainable.methods.explainer import explainer
from keras_explainable.methods.gradient.reduction import units_last
from keras_explainable.methods.propagation import canonizers, factors, normalised, rules
from keras_explainable.models import INPUT, Adapter, Call, Override, Overrides, Point, Step, View
from keras_explainable.models.layer_roles import ELEMENTWISE, LINEAR, TIMES
from keras_explainable.models.linear import find_linear

# Roles whose relevance is x times the gradient: for linear ones, what each input adds; for a softmax, the first term of
# its Taylor series.
GRADIENT = (*LINEAR, "norm", "scaling", "average", "maximum", "sum", "additive", "moving", "softmax")
LENGTHS = ("norm", "linalg_vector_norm", "linalg_norm", "Norm")  # f(t x) = t f(x), so x times the gradient sums to f

TINY = 1e-10  # a larger epsilon would absorb relevance in each of many blocks


def _identity(g: Any, inputs: tuple, output: Any) -> tuple:
    """g y / x: an elementwise function passes relevance on unchanged."""
    return (g * output / rules.stabilized(inputs[0], TINY),)


def _normalisation(adapter: Adapter, call: Call) -> Override:
    """The standard deviation counts as a constant; subtracting the mean is linear."""
    if call.operation:
        return factors.stopped(call.output._replace(link="deviation"))

    def backward(g, inputs, output):
        return (normalised.gradient_at_fixed_deviation(adapter.layers.deviation(call.path), inputs[0], g),)

    return Override(call.output, (call.output._replace(link="input"),), backward)


def _as_gradient(rule: Callable) -> Callable:
    """A rule in the form of a gradient: the relevance of each input, from R = g y, divided by that input."""

    def backward(linear, x, g, output):
        return ops.where(x == 0, 0.0, rule(linear, x, g * output) / ops.where(x == 0, 1.0, x))

    return backward


def _of_numbers(call: Call) -> bool:
    """Whether the only input is one signal, of the output's shape: x / c or c / x, which cannot be distinguished."""
    return len(call.inputs) == 1 and len({shape for _, shape in call.signals}) == 1


def _product(step: Step) -> list[Override]:
    """Half of the relevance of a product to each of its two factors; all of it if only one depends on the images."""
    if any(point.part > 1 for point in step.reached):
        raise LayerError(f"No rule covers {step.name}, a product of more than two signals. Use a gradient.")
    return [factors.part(point, 0.5) for point in step.reached] if len(step.reached) == 2 else []


def _deviations(step: Step, inverse: set[int]) -> list[Point]:
    """The standard deviation d of a normalisation written as operations, x / d or x (1 / d): one for several of x."""
    if factors.divides(step):
        return [step.reached[1]]
    if step.role != "product" or step.call.kind not in TIMES or not factors.is_pair(step):
        return []
    found = [p for p in step.reached if step.call.inputs[p.part] in inverse and factors.broadcast(step, p)]
    return found if len(found) == 1 else []


def _attention(view: View, step: Step) -> list[Override]:
    """The rules of softmax(Q K^T + M) V. Half of the relevance goes to the probabilities and half to V; Q and K share
    that of Q K^T equally. If a factor does not depend on the images, the other one gets all."""
    probabilities = step.call.output._replace(link="attention")
    if probabilities not in view.attended:
        raise LayerError(
            f"The probabilities of {step.name} cannot be observed, so relevance cannot be sent through it."
        )
    given = [point.part for point in step.inputs if point.part < 3]
    place = 2 if step.call.operation else 1  # a layer of Keras has query, value, key, or query and value
    reached = {point.part: point for point in step.reached}
    if not step.call.operation and list(reached) != given:
        raise LayerError(
            f"No rule covers {step.name} if queries, keys or values do not depend on the images, or if a mask does. "
            "Use a gradient."
        )
    value, of_scores = reached.get(place), [point for part, point in reached.items() if part < 3 and part != place]
    both = len(of_scores) == 2 or not step.call.operation
    found = [factors.part(point, 0.5) for point in of_scores if both]
    if value is not None and len(reached) > 1:
        found += [factors.part(value, 0.5), factors.part(probabilities, 0.5)]
    return found


def _is_covered(step: Step) -> bool:
    """Whether a call has a rule by its role or name."""
    known = step.role in (*GRADIENT, *ELEMENTWISE, "layernorm", "product", "attention")
    by_name = step.call.operation and step.call.kind in LENGTHS
    return known or by_name or factors.divides(step) or (step.role == "quotient" and _of_numbers(step.call))


def _rules(view: View, gamma: float) -> list[Override]:
    """The rules of all calls whose own gradient is not the right one."""
    found: list[Override] = []
    of_convolutions, steps = rules.gamma(gamma), view.steps()
    merged = canonizers.merged(steps)
    nonnegative, of_convolutions = canonizers.nonnegative(view.adapter, steps), _as_gradient(of_convolutions)
    linear_calls = find_linear(view, [step for step in steps if not _is_covered(step)])
    inverse = factors.weights(steps, linear_calls, (), factors.INVERSE)
    stopped = {point: step for step in steps for point in _deviations(step, inverse)}
    found += map(factors.stopped, stopped)
    for step in factors.live(steps, view.made_of, stopped):
        call, role = step.call, step.role
        if step in stopped.values():
            continue
        if role == "convolution" and gamma:
            known = call.inputs[step.reached[0].part] in nonnegative
            more = merged.get(call.output[:2], canonizers.Merged())._replace(norm=None)
            found.append(
                canonizers.linear_override(view.adapter, step, more, known, of_convolutions, ("inputs", "output"))
            )
        elif role in ELEMENTWISE or (role == "quotient" and _of_numbers(call)):
            found.append(Override(call.output, step.inputs[:1], _identity))
        elif role == "layernorm":
            found.append(_normalisation(view.adapter, call))
        elif role == "product":
            found += _product(step)
        elif role == "attention":
            found += _attention(view, step)
        elif role not in GRADIENT and call.output[:2] not in linear_calls and not _is_covered(step):
            raise LayerError(f"No rule covers {step.name}, so relevance cannot be sent through it. Use a gradient.")
        if step.fused in ELEMENTWISE:
            found.append(Override(call.output, (call.linear,), _identity))
        elif step.fused not in (None, "moving", "softmax"):
            raise LayerError(f"No rule covers {call.activation}, the activation of {step.name}. Use a gradient.")
    return found


@explainer(
    "propagation",
    "gradient, known layers",
    "2 forward + 4 K (forward + backward)",
    "arXiv:2402.05602",
    postprocessing=filters.positive_normalize,
)
def attnlrp(view: View, *, gamma: float = 0.25) -> tuple:
    """LRP for transformers, with rules for attention, softmax and layer normalisation.

    maps = sum over c of x g, with g propagated like a gradient, except for these rules:

    - An elementwise function y = f(x) propagates g y / x.
    - Each factor of a product of two signals gets half.
    - The divisor of a normalisation, also of one written as operations, counts as a constant.
    - A softmax gives R_i = x_i (r_i - s_i sum_j r_j), where r is the relevance of its probabilities s.

    Biases, class tokens and position embeddings keep the relevance of what they add, and so do the constant terms of
    the softmax. For a network without attention this is LRP.

    Args:
        gamma: of the gamma rule in convolutions, including patch embeddings: terms with the sign of the output are
            multiplied by 1 + gamma. 0 is the epsilon rule, which dense layers and projections of attention use.

    Raises:
        InputError: gamma is below 0.
        LayerError: no rule covers a layer or operation, such as attention with a gate, a product of three signals, or
            a custom layer that is not W x + b.

    Reference: Achtibat et al., AttnLRP: Attention-Aware Layer-Wise Relevance Propagation for Transformers,
    arXiv:2402.05602.
    """
    overrides = Overrides(_rules(view, gamma))
    scores, _, r = view.jacobian([INPUT], lambda _, g: ops.sum(view.x * g, axis=-1), keep=False, overrides=overrides)
    return scores, units_last(r[INPUT])
