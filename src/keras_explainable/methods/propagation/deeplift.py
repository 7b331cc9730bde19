"""What changes a score between a baseline and the image, given back through each activation by the slope of its chord.

What all pixels have adds up to score(x) - score(baseline). `LayerError` is raised for a layer that no rule covers, and
for an operation that is no layer."""

from typing import Any

from keras import ops

from keras_explainable import filters, models
from keras_explainable.compiling import frozen, repeated, repeats
from keras_explainable.errors import LayerError
from keras_explainable.methods.gradient import units_last
from keras_explainable.methods.path import references
from keras_explainable.methods.perturbation import behind_inputs
from keras_explainable.models import INPUT, Rule, View, Wiring
from keras_explainable.models.kinds import ELEMENTWISE, LINEAR
from keras_explainable.progress import counted
from keras_explainable.registry import explainer

SAME = 1e-6  # where the two differ by less there is no chord
LINEARLY = (*LINEAR, "norm", "scaling", "average", "sum", "moving")  # where the gradient is the slope everywhere


def _chord(g: Any, inputs: tuple, output: Any) -> tuple:
    """An activation's slope from the baseline to the image; where these are the same, its gradient."""
    x, x0 = ops.split(inputs[0], 2)
    y, y0 = ops.split(output, 2)
    g, _ = ops.split(g, 2)
    apart = ops.abs(x - x0) > SAME
    slope = ops.where(apart, (y - y0) / ops.where(apart, x - x0, 1.0), 0.0)
    return _of_images(g * slope), _of_images(ops.where(apart, 0.0, g))


def _rise_and_fall(g: Any, inputs: tuple, output: Any) -> tuple:
    """The change of a maximum: what it rises by goes to the image's largest, what it falls by to the baseline's."""
    y, y0 = ops.split(output, 2)
    g, _ = ops.split(g, 2)
    return (ops.concatenate([g * ops.relu(y - y0), -g * ops.relu(y0 - y)]),)


def _per_difference(g: Any, inputs: tuple, output: Any) -> tuple:
    """Contributions to that change, by what is different there."""
    difference = ops.subtract(*ops.split(inputs[0], 2))
    apart = ops.abs(difference) > SAME
    both = ops.add(*ops.split(g, 2))
    return (_of_images(ops.where(apart, both / ops.where(apart, difference, 1.0), 0.0)),)


def _of_images(g: Any) -> Any:
    """Nothing is sent to the baselines."""
    return ops.concatenate([g, ops.zeros_like(g)])


def _rules(view: View) -> list[Rule]:
    """Rules for all that is not linear; the rest has its own gradient."""
    found = []
    for step in view.steps():
        after, before = step.call.output, step.inputs[0]
        if step.role in ELEMENTWISE:
            found.append(Rule(after, (before, after), _chord))
        elif step.role == "maximum":
            found += [Rule(after, (after,), _rise_and_fall), Rule(before, (before,), _per_difference)]
        elif step.role not in LINEARLY:
            raise LayerError(f"No rule covers {step.name}, so a difference cannot be sent through it. Use a gradient.")
        if step.fused in ELEMENTWISE:
            found.append(Rule(after, (step.call.linear, after), _chord))
        elif step.fused not in (None, "moving"):
            raise LayerError(f"No rule covers {step.call.activation}, the activation of {step.name}. Use a gradient.")
    return found


def _explain(model: Any, x: Any, behind: Any, units: Any, score: Any) -> tuple:
    """Scores and maps of images against one baseline each, both in the model's layout."""
    pairs = ops.concatenate([x, ops.broadcast_to(behind, ops.shape(x))])
    view = models.view(model, pairs, None if units is None else ops.concatenate([units, units]), score)
    difference = ops.subtract(*ops.split(view.x, 2))

    def contributions(_, slopes):
        return ops.sum(ops.split(slopes, 2)[0] * difference, axis=-1)

    scores, _, maps = view.jacobian([INPUT], contributions, keep=False, wiring=Wiring(_rules(view)))
    return ops.split(scores, 2)[0], units_last(maps[INPUT])


@explainer(
    "propagation",
    "gradient, known layers",
    "2 forward + 2 K backward",
    "arXiv:1704.02685",
    postprocessing=filters.absolute_normalize,
)
def deeplift(model: Any, inputs: Any, indices: Any = None, score: Any = None, *, baseline: Any = 0.0) -> tuple:
    """What each pixel adds to the score compared with a baseline, in one pass; the parts add up exactly.

    maps = sum over c of m (x - x0), m sent back as a gradient is, but through activations as m_in = m_out dy / dz, the
    differences to those of the baseline (the rescale rule); a maximum's change belongs to the pixels it comes from.

    Args:
        baseline: x0, in the images' range: a number, a colour (C,), images, or "mean" for each image's own mean colour.

    Reference: Shrikumar et al., Learning Important Features Through Propagating Activation Differences,
    arXiv:1704.02685.
    """
    view = models.view(model, inputs)
    units = models.units(model, inputs, indices, score)
    return _explain(model, view.inputs, behind_inputs(view, baseline), units, score)


@repeats
@explainer(
    "propagation",
    "gradient, known layers",
    "R (2 forward + 2 K backward)",
    "arXiv:1705.07874",
    postprocessing=filters.absolute_normalize,
)
def deep_shap(model: Any, inputs: Any, indices: Any = None, score: Any = None, *, baselines: Any = 0.0) -> tuple:
    """What each pixel adds to the score compared with the images that the model knows: DeepLIFT, averaged over them.

    maps = 1/R sum_i deeplift(x, baseline=r_i); their sum is score(x) less the mean of score(r_i).

    Args:
        baselines: images (R, *S, C), in the model's layout; or a number or a colour, as one.

    Reference: Lundberg and Lee, A Unified Approach to Interpreting Model Predictions, arXiv:1705.07874.
    """
    view = models.view(model, inputs)
    units = models.units(model, inputs, indices, score)

    def one(subject, x, behind, units):
        return _explain(subject, x, behind, units, score)

    x, behind = view.inputs, references(view, baselines)
    run = repeated(one, frozen(["deep_shap", score]), model, deeplift, x)
    count, scores, maps = int(behind.shape[0]), None, 0.0
    for i in counted(range(count)):
        scores, new = run(x, behind[i : i + 1], units)
        maps = maps + new
    return scores, maps / count
