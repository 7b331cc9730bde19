"""Relevance through transformers, as a gradient that is changed where the network is not linear (`attnlrp`)."""

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

# Where relevance is x times the gradient: what is linear gives to each input what it adds, and a softmax, the first
# term of its Taylor series.
GRADIENT = (*LINEAR, "norm", "scaling", "average", "maximum", "sum", "additive", "moving", "softmax")
LENGTHS = ("norm", "linalg_vector_norm", "linalg_norm", "Norm")  # f(t x) = t f(x): x times the gradient adds up to f

TINY = 1e-10  # a larger epsilon would take its part many times on the way through many blocks


def _identity(g: Any, inputs: tuple, output: Any) -> tuple:
    """g y / x: a function of single numbers passes relevance on."""
    return (g * output / rules.stabilized(inputs[0], TINY),)


def _normalisation(adapter: Adapter, call: Call) -> Override:
    """The deviation counts as a constant; taking the mean away is linear."""
    if call.operation:
        return factors.stopped(call.output._replace(link="deviation"))

    def send(g, inputs, output):
        return (normalised.held(adapter.deviation(call.path), inputs[0], g),)

    return Override(call.output, (call.output._replace(link="input"),), send)


def _as_gradient(rule: Callable) -> Callable:
    """A rule as a gradient: of R = g y, what each input has, by that input."""

    def send(linear, x, g, output):
        return ops.where(x == 0, 0.0, rule(linear, x, g * output) / ops.where(x == 0, 1.0, x))

    return send


def _of_numbers(call: Call) -> bool:
    """Whether one signal alone comes in, of which each number makes one: x / c, or c / x, which nobody can tell."""
    return len(call.inputs) == 1 and len({shape for _, shape in call.signals}) == 1


def _product(step: Step) -> list[Override]:
    """Half of what a product has to each of its two factors; all to one that alone depends on the images."""
    if any(point.part > 1 for point in step.reached):
        raise LayerError(f"No rule covers {step.name} of more than two signals. Use a gradient.")
    return [factors.part(point, 0.5) for point in step.reached] if len(step.reached) == 2 else []


def _deviations(step: Step, inverse: set[int]) -> list[Point]:
    """Of a normalisation by hand, x / d or x (1 / d), the deviation, one number for several of x."""
    if factors.divides(step):
        return [step.reached[1]]
    if step.role != "product" or step.call.kind not in TIMES or not factors.is_pair(step):
        return []
    found = [p for p in step.reached if step.call.inputs[p.part] in inverse and factors.broadcast(step, p)]
    return found if len(found) == 1 else []


def _attention(view: View, step: Step) -> list[Override]:
    """Of softmax(Q K^T + M) V, half to the probabilities and half to V; of what Q K^T then has, half to Q and half to
    K. A factor that does not depend on the images leaves the other its half."""
    probabilities = step.call.output._replace(link="attention")
    if probabilities not in view.attended:
        raise LayerError(f"The probabilities of {step.name} cannot be seen, so relevance cannot be sent through it.")
    given = [point.part for point in step.inputs if point.part < 3]
    place = 2 if step.call.operation else 1  # a layer of Keras has query, value, key, or query and value
    reached = {point.part: point for point in step.reached}
    if not step.call.operation and list(reached) != given:
        raise LayerError(
            f"No rule covers {step.name} where queries, keys or values do not depend on the images, or a mask does. "
            "Use a gradient."
        )
    value, of_scores = reached.get(place), [point for part, point in reached.items() if part < 3 and part != place]
    both = len(of_scores) == 2 or not step.call.operation
    found = [factors.part(point, 0.5) for point in of_scores if both]
    if value is not None and len(reached) > 1:
        found += [factors.part(value, 0.5), factors.part(probabilities, 0.5)]
    return found


def _is_covered(step: Step) -> bool:
    """Whether there is a rule for what a call does by its name."""
    known = step.role in (*GRADIENT, *ELEMENTWISE, "layernorm", "product", "attention")
    by_name = step.call.operation and step.call.kind in LENGTHS
    return known or by_name or factors.divides(step) or (step.role == "quotient" and _of_numbers(step.call))


def _rules(view: View, gamma: float) -> list[Override]:
    """A rule for each call whose own gradient is not right."""
    found: list[Override] = []
    of_convolutions, steps = rules.gamma(gamma), view.steps()
    merged = canonizers.merged(steps)
    nonnegative, of_convolutions = canonizers.nonnegative(view.adapter, steps), _as_gradient(of_convolutions)
    tried = view.tried([step for step in steps if not _is_covered(step)])
    inverse = factors.weights(steps, tried, (), factors.INVERSE)
    stopped = {point: step for step in steps for point in _deviations(step, inverse)}
    found += map(factors.stopped, stopped)
    for step in factors.live(steps, view.made_of, stopped):
        call, role = step.call, step.role
        if step in stopped.values():
            continue
        if role == "convolution" and gamma:
            known = call.inputs[step.reached[0].part] in nonnegative
            more = merged.get(call.output[:2], canonizers.Merged())._replace(norm=None)
            found.append(canonizers.sending(view.adapter, step, more, known, of_convolutions, ("inputs", "output")))
        elif role in ELEMENTWISE or (role == "quotient" and _of_numbers(call)):
            found.append(Override(call.output, step.inputs[:1], _identity))
        elif role == "layernorm":
            found.append(_normalisation(view.adapter, call))
        elif role == "product":
            found += _product(step)
        elif role == "attention":
            found += _attention(view, step)
        elif role not in GRADIENT and call.output[:2] not in tried and not _is_covered(step):
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
    """What each pixel adds to a transformer's score: LRP with rules for attention, softmax and layer normalisation.

    maps = sum over c of x g, g sent back as a gradient is, but y = f(x) of single numbers sends g y / x, each factor of
    a product of two signals gets half, and what a normalisation divides by, also one by hand, counts as a constant; of
    a softmax,
    R_i = x_i (r_i - s_i sum_j r_j) of the relevance r of its probabilities s. What biases, class tokens and positions
    add stays with them, and so do the softmax's constant terms. On a network without attention, LRP.

    Args:
        gamma: of convolutions, those of patches as well: what has the output's own sign counts 1 + gamma times. 0 is
            the epsilon rule, which dense layers and projections of attention have.

    Raises:
        InputError: gamma is below 0.
        LayerError: a layer or operation that no rule covers is on the way: attention with a gate, a product of three
            signals, a layer of your own that is not W x + b, ...

    Reference: Achtibat et al., AttnLRP: Attention-Aware Layer-Wise Relevance Propagation for Transformers,
    arXiv:2402.05602.
    """
    overrides = Overrides(_rules(view, gamma))
    scores, _, r = view.jacobian([INPUT], lambda _, g: ops.sum(view.x * g, axis=-1), keep=False, overrides=overrides)
    return scores, units_last(r[INPUT])
