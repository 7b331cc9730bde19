"""DeepLIFT: the change of a score from a baseline to the image, sent back through activations by slopes of chords.

The parts of all pixels add up to score(x) - score(baseline). `differences` has the rules of products, attention and
normalisations. A layer or operation that is not linear, has no rule or cannot be seen raises `LayerError`."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from keras import ops

from keras_explainable import filters, models
from keras_explainable.errors import LayerError
from keras_explainable.methods.baselines import baseline_inputs, references
from keras_explainable.methods.explainer import explainer
from keras_explainable.methods.gradient.integrated_gradients import GAP, largest_gap
from keras_explainable.methods.gradient.reduction import PARTS, part_reducer, units_last
from keras_explainable.methods.propagation import differences, factors
from keras_explainable.models import INPUT, Override, Overrides, Point, Step, View
from keras_explainable.models.layer_roles import ELEMENTWISE, LINEAR
from keras_explainable.runtime import remarks
from keras_explainable.runtime.compile_cache import Program, repeated, repeats
from keras_explainable.runtime.progress import counted

SAME = 1e-6  # where the two differ by less there is no chord
CURVED = (*ELEMENTWISE, "maximum")
LINEARLY = (*LINEAR, "norm", "scaling", "average", "sum", "moving")  # where the gradient is the slope everywhere


def _compared(step: Step) -> list[tuple[Point, Point]]:
    """Where the signals of image and baseline are compared: before and after a call that is not linear."""
    pairs = [(step.inputs[0], step.call.output)] if step.role in CURVED else []
    return pairs + ([(step.call.linear, step.call.output)] if step.fused in ELEMENTWISE else [])


def _points(step: Step) -> list[Point]:
    """Where the signals of a step are needed for the baseline too."""
    return differences.compared(step) if _is_joint(step) else [point for pair in _compared(step) for point in pair]


def _have_rows(view: View, steps: Sequence[Step]) -> bool:
    """Whether all signals that are compared have a row for each image, and not for parts of it (windows, heads)."""
    shapes = [shape for step in steps if _points(step) for _, shape in step.call.signals]
    return all(shape[:1] == (view.operations.images,) for shape in shapes)


def _apart(x: Any, x0: Any) -> tuple[Any, Any]:
    """Where two signals differ, and by how much; 1 where they do not."""
    run = x - x0
    apart = ops.abs(run) > SAME
    return apart, ops.where(apart, run, 1.0)


def _chord(before: Point, after: Point, x0: Any, y0: Any) -> list[Override]:
    """An activation's slope from the baseline to the image; where these are the same, its gradient."""

    def send(g, inputs, output):
        apart, run = _apart(inputs[0], x0)
        return g * ops.where(apart, (output - y0) / run, 0.0), ops.where(apart, 0.0, g)

    return [Override(after, (before, after), send)]


def _change(before: Point, after: Point, x0: Any, y0: Any) -> list[Override]:
    """A maximum sends its rise to the largest value of the image, and its fall to that of the baseline. Both pass it,
    one after the other, and what arrives at the two belongs to their difference."""

    def rise_and_fall(g, inputs, y):
        return (ops.concatenate([g * ops.relu(y - y0), -g * ops.relu(y0 - y)]),)

    def per_difference(g, inputs, output):
        apart, run = _apart(inputs[0], x0)
        return (ops.where(apart, ops.add(*ops.split(g, 2)) / run, 0.0),)

    def both(x):
        return ops.concatenate([x, ops.cast(ops.broadcast_to(x0, ops.shape(x)), x.dtype)])

    return [
        Override(after, (after,), rise_and_fall, instead=lambda pairs: ops.split(pairs, 2)[0]),
        Override(before, (before,), per_difference, instead=both),
    ]


def _is_joint(step: Step) -> bool:
    """Whether a step has a rule in `differences`: it is no function of single numbers."""
    of_torch = step.role == "attention" and step.call.operation
    return step.role in ("layernorm", "softmax") or of_torch or factors.is_pair(step)


def _joint(view: View, step: Step, at_rest: dict[Point, Any], axes: dict) -> list[Override]:
    if step.role == "attention":
        return differences.attention(step, at_rest)
    if step.role == "layernorm":
        return [differences.normalisation(view.adapter, step, at_rest)]
    if step.role == "softmax":
        axis = axes[step.call.output[:2]]
        if axis is None:
            raise LayerError(f"No rule covers {step.name}, whose axis cannot be found by trying. Use a gradient.")
        return [differences.softmax(step.reached[0], step.call.output, axis, at_rest)]
    return [(differences.product if step.role == "product" else differences.quotient)(step, at_rest)]


def _rules(view: View, steps: Sequence[Step], at_rest: dict[Point, Any]) -> list[Override]:
    """Rules for all calls that are not linear, from their signals for the baseline; others keep their gradient."""
    joint = [step for step in steps if _is_joint(step)]
    plain = [step for step in steps if step not in joint]
    tried = view.tried([step for step in plain if step.role not in (*CURVED, *LINEARLY)])
    axes = view.summing([step for step in joint if step.role == "softmax"])
    found = [rule for step in joint for rule in _joint(view, step, at_rest, axes)]
    for step in plain:
        if step.role not in (*CURVED, *LINEARLY) and step.call.output[:2] not in tried:
            raise LayerError(f"No rule covers {step.name}, so a difference cannot be sent through it. Use a gradient.")
        if step.fused not in (*ELEMENTWISE, None, "moving"):
            raise LayerError(f"No rule covers {step.call.activation}, the activation of {step.name}. Use a gradient.")
        rule = _change if step.role == "maximum" else _chord
        for before, after in _compared(step):
            found += rule(before, after, at_rest[before], at_rest[after])
    return found


def _nothing(rows: Any, outputs: Any) -> Any:
    return ops.zeros((rows, 1))


def _explain(view: View, start: Any, reduce: str | None = "sum") -> tuple:
    """Scores and maps of images against one baseline each, or one for all, in the model's layout."""
    reduced = PARTS[reduce] if reduce else lambda parts: parts  # as soon as those of a unit are known
    x, steps = view.inputs, view.steps()
    # Other inputs have a row for each image, and a model that folds frames into the batch has them in rows.
    alone = view.adapter.inputs.alone and not view.folds and _have_rows(view, steps)
    rows = ops.shape(start if alone else x)[0]
    baseline = models.view(
        view.model, ops.broadcast_to(start, (rows, *ops.shape(x)[1:])), score=functools.partial(_nothing, rows)
    )
    points = dict.fromkeys(point for step in steps for point in _points(step))
    at_rest = {p: view.in_layout(p, v) for p, v in baseline.evaluate(list(points))[1].items()}
    difference = view.x - baseline.x

    def contributions(_, slopes):
        return reduced(slopes * difference)

    overrides = Overrides(_rules(view, steps, at_rest))
    scores, _, maps = view.jacobian([INPUT], contributions, keep=False, overrides=overrides)
    found = maps[INPUT] if reduce is None else units_last(maps[INPUT])
    if view.asked is not None and reduce != "absolute" and remarks.wanted(x):
        below = view.of(ops.broadcast_to(start, ops.shape(x)), view.indices).evaluate()[0]
        total = ops.sum(ops.reshape(found, _joined(found, reduce)), axis=-1 if reduce is None else 1)
        remarks.keep(completeness, (scores, below, total))
    return scores, found


def _joined(maps: Any, reduce: str | None) -> tuple:
    """The shape of maps with their places as one axis: (B, K, places) of signed parts, else (B, places, K)."""
    rows, units = maps.shape[0], maps.shape[1 if reduce is None else -1]
    return (rows, units, -1) if reduce is None else (rows, -1, units)


def completeness(scores: np.ndarray, below: np.ndarray, total: np.ndarray) -> remarks.Remark:
    """How nearly the parts of a score of the user's own add up: what it does to the outputs has its gradient."""
    gap = largest_gap(scores, below, total)
    warning = (
        f"The parts miss the change of the score from the baseline's, to which they add up for a score that is linear "
        f"in the model's outputs, by up to {gap:.0%}: what score= does with them has its gradient alone. Explain the "
        "outputs themselves, or use integrated_gradients."
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
    """What each pixel adds to the score compared with a baseline, in one pass; the parts add up exactly.

    maps = sum over c of m (x - x0), m sent back as a gradient is, but through activations as m_in = m_out dy / dz, the
    differences to those of the baseline (the rescale rule); a maximum's change belongs to the pixels it comes from.
    Of a product x y (gates, attention) x has (y + y0) / 2 of its difference, and y (x + x0) / 2; quotients and
    normalisations have the gradient at the means of both, and a softmax that at the logarithmic means of its outputs.

    Args:
        baseline: x0, in the images' range: a number, a colour (C,), images, or "mean" for each image's own mean colour.
        reduce: over channels, the "sum" of the signed parts, or of their "absolute" values; None keeps channels, as
            (B, K, *S, C).

    Reference: Shrikumar et al., Learning Important Features Through Propagating Activation Differences,
    arXiv:1704.02685.
    """
    part_reducer(reduce)  # which raises for an unknown one
    return _explain(view, baseline_inputs(view, baseline), reduce)


@dataclass(frozen=True)
class AgainstOne(Program):
    """Scores and maps against one baseline."""

    def __call__(self, view: View, start: Any) -> tuple:
        return _explain(view, start)


@repeats
@explainer(
    "propagation",
    "gradient, known layers",
    "R (2 forward + 2 K backward)",
    "arXiv:1705.07874",
    postprocessing=filters.absolute_normalize,
)
def deep_shap(view: View, *, baselines: Any = 0.0) -> tuple:
    """What each pixel adds to the score compared with the images that the model knows: DeepLIFT, averaged over them.

    maps = 1/R sum_i deeplift(x, baseline=r_i); their sum is score(x) less the mean of score(r_i).

    Args:
        baselines: images (R, *S, C), in the model's layout: some tens of those that the model knows. Or a number or a
            colour, as one, with which this is `deeplift`; 0, in the model's range, unless given.

    Reference: Lundberg and Lee, A Unified Approach to Interpreting Model Predictions, arXiv:1705.07874.
    """
    starts, run = references(view, baselines), repeated(AgainstOne(), view)
    count, scores, maps = int(starts.shape[0]), None, 0.0
    for i in counted(range(count)):
        scores, new = run(starts[i : i + 1])
        maps = maps + new
    return scores, maps / count
