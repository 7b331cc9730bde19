"""Canonizers: linear layers merged with the normalisations after them. The model is not changed."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from keras import ops

from keras_explainable.methods.propagation.rules import Linear
from keras_explainable.models import Adapter, Call, Override, Point, Step
from keras_explainable.models.biases import per_channel
from keras_explainable.models.layer_roles import LINEAR
from keras_explainable.models.trace import IMAGES

Number = tuple[str, int]  # of a call
# Roles that keep signs, except the kinds in UNSURE, which have borders of any value or interpolate bicubically.
KEEPING = ("average", "maximum", "sum", "moving")
UNSURE = ("pad", "Pad", "UpSampling2D")
OUTPUTS_FIRST = ("linear", "conv1d", "conv2d", "conv3d")  # functions whose weights are (outputs, ...)
OUTPUTS_LAST = ("Conv",)  # functions whose weights are (..., outputs)
# Kinds that join signals. As Keras operations they may also join constants, which are not recorded.
JOINING = ("Concatenate", "concatenate", "Stack", "stack")


class Merged(NamedTuple):
    """What is merged with a linear call whose output has no other use: a constant that an operation adds, and a
    normalisation."""

    shift: Point | None = None  # the point of the constant
    end: Point | None = None  # the point after the addition
    norm: Call | None = None


def merged(steps: Sequence[Step]) -> dict[Number, Merged]:
    """What each linear call is merged with. Calls that are merged with nothing are left out."""
    users = Counter(value for step in steps for value in step.call.inputs)
    open_calls = {
        s.call.outputs[0]: s.call for s in steps if s.role in LINEAR and s.call.activation in (None, "linear")
    }
    found: dict[Number, Merged] = {}
    for step in steps:
        value = step.call.inputs[step.reached[0].part] if step.reached else -1
        before = open_calls.get(value)
        if before is None or users[value] > 1:
            continue
        known = found.get(before.output[:2], Merged())
        if step.role == "norm" and (not before.operation or before.kind in (*OUTPUTS_FIRST, *OUTPUTS_LAST)):
            found[before.output[:2]] = known._replace(norm=step.call)
        elif step.role == "sum" and len(step.reached) == 1 and len(step.inputs) == 2 and known.shift is None:
            (constant,) = set(step.inputs) - set(step.reached)
            if constant in step.fixed and per_channel(dict(step.call.signals)[constant], step.call):
                found[before.output[:2]] = Merged(constant, step.call.output)
                open_calls[step.call.outputs[0]] = before
    return found


def nonnegative(adapter: Adapter, steps: Sequence[Step]) -> set[int]:
    """The values that cannot be below 0: outputs of ReLUs, and values pooled, summed or moved from only such values."""
    found: set[int] = set()
    for step in steps:
        if ("relu" in (step.role, step.fused) and adapter.layers.rectifies(step.call)) or (
            _keeps_signs(step) and found.issuperset(step.call.inputs)
        ):
            found.update(step.call.outputs)
    return found


def _keeps_signs(step: Step) -> bool:
    """Whether the outputs of a call are 0 or more if all of its inputs are."""
    call = step.call
    # A single input means that the other one may be a constant, which is not recorded.
    alone = len(call.inputs) < 2 and (step.role == "sum" or call.kind in JOINING)
    return step.role in KEEPING and step.fused is None and call.kind not in UNSURE and not alone


def linear(adapter: Adapter, call: Call, norm: Call | None, nonnegative: bool = False, shift: Any = None) -> Linear:
    """A linear layer with its current weights, merged with the `shift` added after it and the normalisation after that:
    s (W x + b) + t = (s W) x + s b + t."""
    scale = None if norm is None else adapter.layers.scale(norm.path)
    bias = _bias(adapter, call, (adapter.layers.bias(call.path), shift), scale, norm)
    kernel = adapter.layers.weight(call.path, scale)
    return Linear(lambda x, kernel: adapter.layers.apply(call.path, x, kernel), kernel, bias, nonnegative)


def linear_override(
    adapter: Adapter, step: Step, more: Merged, nonnegative: bool, rule: Callable, keeps: tuple
) -> Override:
    """The override that applies `rule(linear, x, g, output)` to a linear call and what is merged with it.

    The call is that of a layer, or of a function that takes its weights as inputs."""
    call, at, constants = step.call, more.end or step.call.linear, [more.shift] if more.shift else []
    if not call.operation:

        def of_layer(g, inputs, output):
            x, *shift = inputs
            r = rule(linear(adapter, call, more.norm, nonnegative, *shift), x, g, output)
            return r, *map(ops.zeros_like, shift)

        return Override(at, (step.inputs[0], *constants), of_layer, keeps=keeps)
    weights = [point for point in step.inputs if point not in step.reached]

    def of_function(again, g, inputs, output):
        x, kernel, *rest = inputs
        own, shift = rest[: len(weights) - 1], rest[len(weights) - 1 :]
        scale = None if more.norm is None else adapter.layers.scale(more.norm.path)
        bias = _bias(adapter, call, (*own, None)[:1] + (*shift, None)[:1], scale, more.norm)
        none = {point.part: None for point in weights[1:]}

        def run(x, kernel):
            return again({step.reached[0].part: x, weights[0].part: kernel} | none)

        r = rule(Linear(run, _scaled(call, kernel, scale), bias, nonnegative), x, g, output)
        return r, *map(ops.zeros_like, (kernel, *rest))

    again = call.output._replace(link="again")
    return Override(at, (step.reached[0], *weights, *constants), of_function, keeps=keeps, again=again)


def _scaled(call: Call, kernel: Any, scale: Any) -> Any:
    """The weights of a function whose outputs are multiplied by `scale` (channels,)."""
    if scale is None or call.kind in OUTPUTS_LAST:
        return kernel if scale is None else kernel * scale
    return kernel * ops.reshape(scale, (-1, *(1,) * (len(kernel.shape) - 1)))


def _bias(adapter: Adapter, call: Call, added: tuple[Any, Any], scale: Any, norm: Call | None) -> Any:
    """The bias of a linear call (channels,) plus the constant added after it, broadcastable to its outputs; both scaled
    and shifted if there is a normalisation."""

    def shaped(values):
        return ops.reshape(values, (-1, *(1,) * (len(call.shape) - 2))) if call.channels_first else values

    own, shift = added
    bias = shaped(ops.zeros((1,)) if own is None else ops.cast(own, "float32"))
    bias = bias if shift is None else bias + shift
    return bias if norm is None else bias * shaped(scale) + shaped(ops.cast(adapter.layers.bias(norm.path), "float32"))


def first(steps: Sequence[Step]) -> list[Step]:
    """The linear layers that images reach without passing another linear layer."""
    raw, found = {IMAGES}, []
    for step in steps:
        if raw.isdisjoint(step.call.inputs):
            continue
        if step.role in LINEAR:
            found.append(step)
        else:
            raw.update(step.call.outputs)
    return found
