"""Relevance propagation through a model: the rule of each call, from the role of its layer and a composite."""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from keras_explainable.errors import LayerError
from keras_explainable.methods.propagation import canonizers, factors, normalised, rules
from keras_explainable.methods.propagation.composites import Composite
from keras_explainable.models import Override, Point, Step, View
from keras_explainable.models.layer_roles import ELEMENTWISE, LINEAR
from keras_explainable.models.linear import find_linear


def _pass(g: Any, inputs: tuple, output: Any) -> tuple:
    return (g,)


def _sum(g: Any, inputs: tuple, output: Any) -> list:
    return rules.summed(inputs, g)


def rules_of(view: View, composite: Composite, steps: Sequence[Step]) -> list[Override]:
    """The rules of all calls that relevance reaches. Calls that only move values keep their gradient."""
    merged, nonnegative = canonizers.merged(steps), canonizers.nonnegative(view.adapter, steps)
    shifts = {more.end for more in merged.values()}
    first = canonizers.first(steps) if composite.first else []
    linear_calls = find_linear(
        view, [step for step in steps if not _is_covered(step) and step.call.output not in shifts]
    )
    shares = _factors(steps, linear_calls)
    nothing = [point for one in shares.values() for point, share in one.items() if not share]
    found = []
    for step in factors.live(steps, view.made_of, nothing):
        call, inputs = step.call, step.inputs
        if step.role in LINEAR:
            rule = getattr(composite, "first" if step in first else str(step.role))
            more = merged.get(call.output[:2], canonizers.Merged())
            known = call.inputs[step.reached[0].part] in nonnegative
            found.append(canonizers.linear_override(view.adapter, step, more, known, _by(rule), ("inputs",)))
        elif call.output in shifts:
            continue
        elif step.role in ("norm", "scaling", *ELEMENTWISE):
            found.append(Override(call.output, step.reached[:1], _pass, keeps=()))
        elif call.output in shares:
            found += _product(step, shares[call.output])
        elif step.role == "layernorm":
            found += _normalisation(view.adapter, step)
        elif step.role == "average":
            found += _average(view.adapter, step)
        elif step.role == "sum" and _is_covered(step):
            found.append(Override(call.output, inputs, _sum, keeps=("inputs",)))
        elif linear_calls.get(call.output[:2]) == "linear":
            found += _shares(step)
        elif step.role not in ("maximum", "moving") and call.output[:2] not in linear_calls:
            raise LayerError(
                f"No rule covers {step.name}, so relevance cannot be sent through it. Use a gradient, or `attnlrp`, "
                "which also has a rule for softmax."
            )
        if step.fused in ELEMENTWISE:
            found.append(Override(call.output, (call.linear,), _pass, keeps=()))
        elif step.fused not in (None, "moving"):
            raise LayerError(f"No rule covers {call.activation}, the activation of {step.name}. Use a gradient.")
    return _chained(found, steps)


def _chained(found: Sequence[Override], steps: Sequence[Step]) -> list[Override]:
    """The rules, with one rule for a layer and the calls after it that pass relevance on unchanged.

    Signals in between are then not kept."""
    calls = {step.call.outputs[0]: step for step in steps}
    made = {value: step.call.linear if step.fused == "moving" else step.call.output for value, step in calls.items()}
    users = Counter(value for step in steps for value in step.call.inputs)
    taken = [
        (point, step.call.inputs[point.part])
        for step in steps
        for point, _ in step.call.signals
        if point.link == "input"
    ]
    before = {point: made[value] for point, value in taken if users[value] == 1 and value in made}
    at: dict[Point, Override] = {}
    for rule in found:
        old = at.get(before.get(rule.of[0], rule.of[0])) if rule.backward is _pass else None
        if old is not None and "output" not in old.keeps:
            rule = at.pop(old.at)._replace(at=rule.at)
        at[rule.at] = rule
    return list(at.values())


def _is_covered(step: Step) -> bool:
    """Whether a call has a rule by its role."""
    if step.role == "sum":  # only of signals of one shape
        return len(step.inputs) > 1 and len({shape for _, shape in step.call.signals}) == 1
    known = (*LINEAR, *ELEMENTWISE, "norm", "scaling", "average", "maximum", "moving", "layernorm", "attention")
    return step.role in known or (step.role == "product" and factors.is_pair(step)) or factors.divides(step)


def _factors(steps: Sequence[Step], linear_calls: dict) -> dict[Point, factors.Shares]:
    """The share of each factor of each product. In attention the values get all, because probabilities are weights."""
    known, found = factors.weights(steps, linear_calls), {}
    for step in steps:
        if step.role == "attention":
            value = factors.value_of_attention(step)
            found[step.call.output] = {point: float(point == value) for point in step.reached}
        elif factors.is_pair(step) and (step.role == "product" or factors.divides(step)):
            found[step.call.output] = factors.shares_of_factors(step, known)
    return found


def _product(step: Step, shares: factors.Shares) -> list[Override]:
    """The rules of a product: each factor gets its share, and a factor that is a weight gets none."""
    divide, *times = _shares(step._replace(reached=tuple(p for p, share in shares.items() if share)))
    halved = [rule._replace(backward=_times(shares[rule.at])) for rule in times]
    inside = [step.call.output._replace(link="attention")] if step.role == "attention" else []
    stops = [] if step.call.operation else inside  # the gradient of a layer's queries passes only through these
    return [divide, *halved, *map(factors.stopped, [p for p, share in shares.items() if not share] + stops)]


def _times(share: float) -> Callable:
    return lambda g, x, _: (g * x[0] * share,)


def _normalisation(adapter: Any, step: Step) -> list[Override]:
    """Relevance in proportion to what each input adds. The standard deviation is a constant, like a layer's weights."""
    if step.call.operation:
        return [*_shares(step), factors.stopped(step.call.output._replace(link="deviation"))]

    def backward(g, inputs, y):
        return (
            inputs[0]
            * normalised.gradient_at_fixed_deviation(
                adapter.layers.deviation(step.call.path), inputs[0], g / rules.stabilized(y)
            ),
        )

    return [Override(step.call.output, step.reached, backward)]


def _by(rule: Callable) -> Callable:
    return lambda linear, x, g, output: rule(linear, x, g)


def _average(adapter: Any, step: Step) -> list[Override]:
    """Relevance in proportion to what each pixel adds: r / y, then the gradient of the average, then times x."""
    if step.call.path in adapter.paths():  # in one step, in float32, so that nothing overflows or underflows
        run = partial(adapter.layers.apply, step.call.path)
        return [
            Override(
                step.call.output, step.inputs[:1], lambda g, x, _: (rules.averaged(run, x[0], g),), keeps=("inputs",)
            )
        ]
    return _shares(step)


def _shares(step: Step) -> list[Override]:
    """Relevance of a linear call in proportion to what each input adds; a constant keeps its part."""
    after = step.call.linear
    divide = Override(after, (after,), lambda g, _, y: (g / rules.stabilized(y),))
    return [divide, *(Override(p, (p,), lambda g, x, _: (g * x[0],), keeps=("inputs",)) for p in step.reached)]


def starting(view: View, found: list[Override], steps: Sequence[Step]) -> list[Override]:
    """The rules, with an initial relevance of gradient times value, so that a unit starts with its score."""
    used = {value for step in steps for value in step.call.inputs}
    ends = [view.target] if view.target else [s.call.output for s in steps if used.isdisjoint(s.call.outputs)]
    at = {rule.at: rule for rule in found}

    def times_value(backward):
        return lambda *args: backward(*args[:-3], args[-3] * args[-1], *args[-2:])  # the last three: g, inputs, output

    for end in ends:
        old = at.get(end, Override(end, (end,), _pass))
        at[end] = old._replace(backward=times_value(old.backward), keeps=("inputs", "output"))
    return list(at.values())
