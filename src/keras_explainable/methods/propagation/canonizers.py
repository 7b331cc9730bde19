"""What a network is, seen so that rules fit: layers merged, and nothing of the model changed."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from keras import ops

from keras_explainable.methods.propagation.rules import Linear
from keras_explainable.models import Call, Rule, Step, Taps
from keras_explainable.models.kinds import LINEAR
from keras_explainable.models.taps import IMAGES

Number = tuple[str, int]  # of a call
KEEPING = ("average", "maximum", "sum", "moving")  # what no sign is changed by,
UNSURE = ("pad", "Pad", "UpSampling2D")  # but by a border of any number, bicubic interpolation,
OUTPUTS_FIRST = ("linear", "conv1d", "conv2d", "conv3d")  # functions whose weights are (outputs, ...)
JOINING = (
    "Concatenate",
    "concatenate",
    "Stack",
    "stack",
)  # and as operations of Keras by constants, which are not seen


def norms(steps: Sequence[Step]) -> dict[Number, Call]:
    """The normalisation that each linear call is merged with: the only one to take what it gives."""
    made = {step.call.outputs[0]: step.call for step in steps if step.role in LINEAR and _takes_norm(step.call)}
    users = Counter(value for step in steps for value in step.call.inputs)
    found = {}
    for step in steps:
        before = made.get(step.call.inputs[0]) if step.role == "norm" else None
        if before is not None and users[step.call.inputs[0]] == 1:
            found[before.output[:2]] = step.call
    return found


def nonnegative(taps: Taps, steps: Sequence[Step]) -> set[int]:
    """The values that cannot be below 0: what ReLUs give, and what is pooled, added up or moved of such alone."""
    found: set[int] = set()
    for step in steps:
        if ("relu" in (step.role, step.fused) and taps.rectifies(step.call)) or (
            _keeps_signs(step) and found.issuperset(step.call.inputs)
        ):
            found.update(step.call.outputs)
    return found


def _keeps_signs(step: Step) -> bool:
    """Whether what a call gives is 0 or more wherever all that it takes is."""
    call = step.call
    alone = len(call.inputs) < 2 and (step.role == "sum" or call.kind in JOINING)  # with a constant, which is not seen
    return step.role in KEEPING and step.fused is None and call.kind not in UNSURE and not alone


def _takes_norm(call: Call) -> bool:
    """Whether no activation is fused into a call, and its outputs are the first axis of its weights, if those come to
    it from outside."""
    return call.activation in (None, "linear") and (not call.operation or call.kind in OUTPUTS_FIRST)


def linear(taps: Taps, call: Call, norm: Call | None, nonnegative: bool = False) -> Linear:
    """A linear layer as it is now, with the normalisation behind it: s (W x + b) + t = (s W) x + s b + t."""
    scale = None if norm is None else taps.scale(norm.path)
    bias = _shifted(taps, call, taps.bias(call.path), scale, norm)
    kernel = taps.weight(call.path, scale)
    return Linear(lambda x, kernel: taps.apply(call.path, x, kernel), kernel, bias, nonnegative)


def sending(taps: Taps, step: Step, norm: Call | None, nonnegative: bool, rule: Callable, looks: tuple) -> Rule:
    """What a linear call sends back, `rule(linear, x, g, output)`, with the normalisation behind it; of a layer, or of
    a function that takes its weights with the signal."""
    call = step.call
    if not call.operation:

        def of_layer(g, inputs, output):
            return (rule(linear(taps, call, norm, nonnegative), inputs[0], g, output),)

        return Rule(call.linear, step.inputs[:1], of_layer, looks=looks)
    weights = [point for point in step.inputs if point not in step.reached]

    def of_function(again, g, inputs, output):
        x, kernel, *rest = inputs
        scale = None if norm is None else taps.scale(norm.path)
        bias = _shifted(taps, call, rest[0] if rest else None, scale, norm)
        known = kernel if scale is None else kernel * ops.reshape(scale, (-1, *(1,) * (len(kernel.shape) - 1)))
        own, none = step.reached[0].part, {point.part: None for point in weights[1:]}

        def run(x, kernel):
            return again({own: x, weights[0].part: kernel} | none)

        r = rule(Linear(run, known, bias, nonnegative), x, g, output)
        return r, *map(ops.zeros_like, (kernel, *rest))

    again = call.output._replace(link="again")
    return Rule(call.output, (step.reached[0], *weights), of_function, looks=looks, again=again)


def _shifted(taps: Taps, call: Call, own: Any, scale: Any, norm: Call | None) -> Any:
    """The bias of a linear call and of the normalisation behind it, shaped as its outputs."""
    bias = ops.zeros((1,)) if own is None else ops.cast(own, "float32")
    if norm is not None:
        bias = bias * scale + ops.cast(taps.bias(norm.path), "float32")
    return ops.reshape(bias, (-1, *(1,) * (len(call.shape) - 2))) if call.channels_first else bias


def first(steps: Sequence[Step]) -> list[Step]:
    """The linear layers that images reach through no other one."""
    raw, found = {IMAGES}, []
    for step in steps:
        if raw.isdisjoint(step.call.inputs):
            continue
        if step.role in LINEAR:
            found.append(step)
        else:
            raw.update(step.call.outputs)
    return found
