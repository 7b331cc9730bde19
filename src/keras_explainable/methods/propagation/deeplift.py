"""DeepLIFT: the change of a score from a baseline to the image, propagated back by the slopes of secants.

The sum of a map is score(x) - score(baseline). `differences` has the rules for products, attention and normalisations.
A nonlinear layer or operation that has no rule or cannot be observed raises `LayerError`."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from keras import ops

from keras_explainable import filters, models
from keras_explainable.errors import LayerError
from keras_explainable.masking.baselines import baseline_inputs, references
from keras_explainable.methods.explainer import explainer
from keras_explainable.methods.gradient.integrated_gradients import GAP, largest_gap
from keras_explainable.methods.gradient.reduction import PARTS, part_reducer, units_last
from keras_explainable.methods.propagation import differences, factors
from keras_explainable.models import INPUT, Override, Overrides, Point, Step, View, linear
from keras_explainable.models.layer_roles import ELEMENTWISE, LINEAR
from keras_explainable.models.signal_layout import in_layout
from keras_explainable.runtime import remarks
from keras_explainable.runtime.compile_cache import Program, repeated
from keras_explainable.runtime.progress import counted

SAME = 1e-6  # if the difference is smaller, the gradient is used instead of the slope
CURVED = (*ELEMENTWISE, "maximum")
LINEARLY = (*LINEAR, "norm", "scaling", "average", "sum", "moving")  # roles whose gradient is the slope everywhere


def _compared(step: Step) -> list[tuple[Point, Point]]:
    """The points where the signals of image and baseline are compared: before and after a nonlinear call."""
    pairs = [(step.inputs[0], step.call.output)] if step.role in CURVED else []
    return pairs + ([(step.call.linear, step.call.output)] if step.fused in ELEMENTWISE else [])


def _points(step: Step) -> list[Point]:
    """The points of a step whose signals are also needed for the baseline."""
    return differences.compared(step) if _is_joint(step) else [point for pair in _compared(step) for point in pair]


def _have_rows(view: View, steps: Sequence[Step]) -> bool:
    """Whether all compared signals have one row for each image, and not rows for parts of it (windows, heads)."""
    shapes = [shape for step in steps if _points(step) for _, shape in step.call.signals]
    return all(shape[:1] == (view.operations.images,) for shape in shapes)


def _difference(x: Any, x0: Any) -> tuple[Any, Any]:
    """Where two signals differ, and their difference, which is set to 1 where they do not."""
    run = x - x0
    differs = ops.abs(run) > SAME
    return differs, ops.where(differs, run, 1.0)


def _slope(before: Point, after: Point, x0: Any, y0: Any) -> list[Override]:
    """The slope of an activation from the baseline to the image, or its gradient where both have the same input."""

    def backward(g, inputs, output):
        differs, run = _difference(inputs[0], x0)
        return g * ops.where(differs, (output - y0) / run, 0.0), ops.where(differs, 0.0, g)

    return [Override(after, (before, after), backward)]


def _change(before: Point, after: Point, x0: Any, y0: Any) -> list[Override]:
    """The rule of a maximum: an increase is attributed to the maximum of the image, a decrease to that of the baseline.

    Image and baseline run through it together, stacked as a batch. What arrives at both is added, and divided by their
    difference."""

    def rise_and_fall(g, inputs, y):
        return (ops.concatenate([g * ops.relu(y - y0), -g * ops.relu(y0 - y)]),)

    def per_difference(g, inputs, output):
        differs, run = _difference(inputs[0], x0)
        return (ops.where(differs, ops.add(*ops.split(g, 2)) / run, 0.0),)

    def both(x):
        return ops.concatenate([x, ops.cast(ops.broadcast_to(x0, ops.shape(x)), x.dtype)])

    return [
        Override(after, (after,), rise_and_fall, forward=lambda pairs: ops.split(pairs, 2)[0]),
        Override(before, (before,), per_difference, forward=both),
    ]


def _is_joint(step: Step) -> bool:
    """Whether a step has a rule in `differences`, because it is not an elementwise function."""
    of_torch = step.role == "attention" and step.call.operation
    return step.role in ("layernorm", "softmax") or of_torch or factors.is_pair(step)


def _joint(view: View, step: Step, at_baseline: dict[Point, Any], axes: dict) -> list[Override]:
    if step.role == "attention":
        return differences.attention(step, at_baseline)
    if step.role == "layernorm":
        return [differences.normalisation(view.adapter, step, at_baseline)]
    if step.role == "softmax":
        axis = axes[step.call.output[:2]]
        if axis is None:
            raise LayerError(f"No rule covers {step.name}, whose axis could not be determined. Use a gradient.")
        return [differences.softmax(step.reached[0], step.call.output, axis, at_baseline)]
    return [(differences.product if step.role == "product" else differences.quotient)(step, at_baseline)]


def _rules(view: View, steps: Sequence[Step], at_baseline: dict[Point, Any]) -> list[Override]:
    """The rules of all nonlinear calls, from their signals for the baseline; other calls keep their gradient."""
    joint = [step for step in steps if _is_joint(step)]
    plain = [step for step in steps if step not in joint]
    linear_calls = linear.find_linear(view, [step for step in plain if step.role not in (*CURVED, *LINEARLY)])
    axes = linear.summing(view, [step for step in joint if step.role == "softmax"])
    found = [rule for step in joint for rule in _joint(view, step, at_baseline, axes)]
    for step in plain:
        if step.role not in (*CURVED, *LINEARLY) and step.call.output[:2] not in linear_calls:
            raise LayerError(f"No rule covers {step.name}, so DeepLIFT cannot propagate through it. Use a gradient.")
        if step.fused not in (*ELEMENTWISE, None, "moving"):
            raise LayerError(f"No rule covers {step.call.activation}, the activation of {step.name}. Use a gradient.")
        rule = _change if step.role == "maximum" else _slope
        for before, after in _compared(step):
            found += rule(before, after, at_baseline[before], at_baseline[after])
    return found


def _nothing(rows: Any, outputs: Any) -> Any:
    return ops.zeros((rows, 1))


def _explain(view: View, start: Any, reduce: str | None = "sum") -> tuple:
    """Scores and maps of images compared with one baseline each, or with one for all, in the model's layout."""
    reduced = PARTS[reduce] if reduce else lambda parts: parts  # applied to each unit as soon as it is computed
    x, steps = view.inputs, view.steps()
    # The baseline needs a row for each image if the model has other inputs, or if it folds frames into the batch.
    layout = view.adapter.inputs.layout
    alone = view.adapter.inputs.alone and not (layout and layout.folds) and _have_rows(view, steps)
    rows = ops.shape(start if alone else x)[0]
    baseline = models.view(
        view.model, ops.broadcast_to(start, (rows, *ops.shape(x)[1:])), score=functools.partial(_nothing, rows)
    )
    points = dict.fromkeys(point for step in steps for point in _points(step))
    at_baseline = {p: in_layout(view, p, v) for p, v in baseline.evaluate(list(points))[1].items()}
    difference = view.x - baseline.x

    def contributions(_, slopes):
        return reduced(slopes * difference)

    overrides = Overrides(_rules(view, steps, at_baseline))
    scores, _, maps = view.jacobian([INPUT], contributions, keep=False, overrides=overrides)
    found = maps[INPUT] if reduce is None else units_last(maps[INPUT])
    if view.user_score is not None and reduce != "absolute" and remarks.wanted(x):
        below = view.of(ops.broadcast_to(start, ops.shape(x)), view.indices).evaluate()[0]
        total = ops.sum(ops.reshape(found, _joined(found, reduce)), axis=-1 if reduce is None else 1)
        remarks.keep(completeness, (scores, below, total))
    return scores, found


def _joined(maps: Any, reduce: str | None) -> tuple:
    """The shape of maps with all positions on one axis: (B, K, positions) if `reduce` is None, or (B, positions, K)."""
    rows, units = maps.shape[0], maps.shape[1 if reduce is None else -1]
    return (rows, units, -1) if reduce is None else (rows, -1, units)


def completeness(scores: np.ndarray, below: np.ndarray, total: np.ndarray) -> remarks.Remark:
    """The gap for a custom score, and a warning if it is large: for the score function itself, the gradient is used."""
    gap = largest_gap(scores, below, total)
    warning = (
        f"The maps miss the change of the score from the baseline's by up to {gap:.0%}. They add up to it only if "
        "score= is linear in the model's outputs, because the gradient is used for score= itself. Explain the outputs "
        "themselves, or use integrated_gradients."
    )
    return remarks.Remark({"gap": gap}, warning if gap > GAP else None)


@explainer(
    "propagation",
    "gradient, known layers",
    "2 forward + 2 K backward",
    "arXiv:1704.02685",
    postprocessing=filters.absolute_normalize,
)
def deeplift(
    view: View,
    *,
    baseline: Any = 0.0,
    reduce: str | None = "sum",
) -> tuple:
    """The change of the score from a baseline to the image, distributed exactly to the pixels in one pass.

    maps = sum over c of m (x - x0)

    m is propagated like a gradient, except for these rules:

    - Activations (rescale rule): m_in = m_out (y - y0) / (z - z0), with the input z and the output y.
    - Maxima: the change belongs to the pixels that it comes from.
    - Products x y (gates, attention): m of x is multiplied by (y + y0) / 2, and m of y by (x + x0) / 2.
    - Quotients and normalisations: the gradient at the means of image and baseline.
    - Softmax: the gradient at the logarithmic means of its outputs.

    Args:
        baseline, reduce: see `ke.methods.gradient`.

    Raises:
        LayerError: a nonlinear layer or operation has no rule or cannot be observed.

    Reference: Shrikumar et al., Learning Important Features Through Propagating Activation Differences,
    arXiv:1704.02685.
    """
    part_reducer(reduce)  # raises if it is unknown
    return _explain(view, baseline_inputs(view, baseline), reduce)


@dataclass(frozen=True)
class AgainstOne(Program):
    """Scores and maps compared with one baseline."""

    def __call__(self, view: View, start: Any) -> tuple:
        return _explain(view, start)


@explainer(
    "propagation",
    "gradient, known layers",
    "R (2 forward + 2 K backward)",
    "arXiv:1705.07874",
    postprocessing=filters.absolute_normalize,
    repeats=True,
)
def deep_shap(view: View, *, baselines: Any = 0.0) -> tuple:
    """DeepLIFT, averaged over many reference images as baselines.

    maps = 1/R sum_i deeplift(x, baseline=r_i)

    The sum of a map is score(x) minus the mean of score(r_i).

    Args:
        baselines: reference images (R, *S, C) in the model's layout, preferably some tens of training images; or a
            number or a colour, which is a single baseline, as in `deeplift`. The default is 0 in the range of the
            images.

    Raises:
        LayerError: as for `deeplift`.

    Reference: Lundberg and Lee, A Unified Approach to Interpreting Model Predictions, arXiv:1705.07874.
    """
    starts, run = references(view, baselines), repeated(AgainstOne(), view)
    count, scores, maps = int(starts.shape[0]), None, 0.0
    for i in counted(range(count)):
        scores, new = run(starts[i : i + 1])
        maps = maps + new
    return scores, maps / count
