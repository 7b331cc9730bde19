"""What a network is, seen so that rules fit: layers merged, and nothing of the model changed."""

from collections import Counter
from collections.abc import Sequence

from keras import ops

from keras_explainable.methods.propagation.rules import Linear
from keras_explainable.models import Call, Step, Taps
from keras_explainable.models.kinds import LINEAR
from keras_explainable.models.taps import IMAGES

Number = tuple[str, int]  # of a call
KEEPING = ("average", "maximum", "sum", "moving")  # what no sign is changed by,
UNSURE = ("pad", "Pad", "UpSampling2D")  # but by a border of any number, bicubic interpolation,
JOINING = (
    "Concatenate",
    "concatenate",
    "Stack",
    "stack",
)  # and as operations of Keras by constants, which are not seen


def norms(steps: Sequence[Step]) -> dict[Number, Call]:
    """The normalisation that each linear call is merged with: the only one to take what it gives."""
    made = {step.call.outputs[0]: step.call for step in steps if step.role in LINEAR and plain(step.call)}
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


def plain(call: Call) -> bool:
    """Whether no activation is fused into a call."""
    return call.activation in (None, "linear")


def linear(taps: Taps, call: Call, norm: Call | None, nonnegative: bool = False) -> Linear:
    """A linear layer as it is now, with the normalisation behind it: s (W x + b) + t = (s W) x + s b + t."""
    scale = None if norm is None else taps.scale(norm.path)
    own = taps.bias(call.path)
    bias = ops.zeros((1,)) if own is None else ops.cast(own, "float32")
    if norm is not None:
        bias = bias * scale + ops.cast(taps.bias(norm.path), "float32")
    if call.channels_first:
        bias = ops.reshape(bias, (-1, *(1,) * (len(call.shape) - 2)))
    kernel = taps.weight(call.path, scale)
    return Linear(lambda x, kernel: taps.apply(call.path, x, kernel), kernel, bias, nonnegative)


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
