"""Guided backpropagation and DeconvNet: gradients with a different rule for ReLUs."""

from collections.abc import Callable
from typing import Any

from keras import ops

from keras_explainable import filters
from keras_explainable.errors import LayerError
from keras_explainable.methods.explainer import explainer
from keras_explainable.methods.gradient.reduction import channel_reducer
from keras_explainable.models import INPUT, Override, Overrides, Step, View
from keras_explainable.models.linear import find_linear


def _positive(g: Any, inputs: tuple, output: Any) -> tuple:
    return (ops.relu(g),)


def _relus(view: View) -> list[Step]:
    """Every ReLU, fused or not, that the scores depend on, by call."""
    steps = view.steps()
    hidden = [step for step in steps if step.role is None]
    linear_calls = find_linear(view, hidden)
    unknown = [step.name for step in hidden if step.call.output[:2] not in linear_calls]
    if unknown:
        raise LayerError(
            f"{', '.join(unknown)} may contain a ReLU that cannot be seen: build such a layer from layers, one for "
            "each operation. Or use `gradients`, which needs no ReLUs."
        )
    found = [step for step in steps if "relu" in (step.role, step.fused)]
    if not found:
        raise LayerError(
            f"This model has no ReLU, and without ReLUs this method is the gradient: use `gradients`. "
            f"Its layers: {', '.join(step.name for step in steps)}."
        )
    return found


def counted(view: View, _: Any = None) -> dict[str, Any]:
    """For `.about`: the number of calls of ReLUs whose gradient was replaced."""
    return {"relus": len(_relus(view))}


def _explain(view: View, reduce: str | None, rule: Callable[[Step], Override]) -> tuple:
    reduced = channel_reducer(reduce)
    scores, _, g = view.jacobian([INPUT], keep=False, overrides=Overrides([rule(step) for step in _relus(view)]))
    return scores, reduced(g[INPUT])


@explainer(
    "gradient",
    "gradient, ReLUs",
    "1 forward + K backward",
    "arXiv:1412.6806",
    postprocessing=filters.normalize,
    about=counted,
)
def guided_backprop(view: View, reduce: str | None = "mean") -> tuple:
    """Gradients that pass each ReLU only where they are positive: sharp outlines of what excites a unit.

    g_in = relu(g_out) [z > 0] at each ReLU with input z ([0 < z < 6] for ReLU6); gradients elsewhere

    The maps depend little on the unit (arXiv:1810.03292): do not judge a model by them. `.about["relus"]` of the result
    is the number of ReLU calls that were changed.

    Args:
        reduce: over channels, as in `gradients`.

    Raises:
        LayerError: the model has no ReLU, or has layers or operations that may contain one that cannot be seen.

    Reference: Springenberg et al., Striving for Simplicity: The All Convolutional Net, arXiv:1412.6806.
    """
    return _explain(view, reduce, lambda step: Override(step.call.output, (step.call.output,), _positive, keeps=()))


@explainer(
    "gradient",
    "gradient, ReLUs",
    "1 forward + K backward",
    "arXiv:1311.2901",
    postprocessing=filters.normalize,
    caveat="It finds objects no better than a random pixel. It is provided for comparison.",
    about=counted,
)
def deconvnet(view: View, reduce: str | None = "mean") -> tuple:
    """Gradients that are rectified at each ReLU, whether the ReLU was active or not.

    g_in = relu(g_out) at each ReLU; gradients elsewhere

    The maps depend little on the unit, and their largest values are often not on the object. The method is provided for
    comparison. `.about["relus"]` of the result is the number of ReLU calls that were changed.

    Args:
        reduce: over channels, as in `gradients`.

    Raises:
        LayerError: the model has no ReLU, or has layers or operations that may contain one that cannot be seen.

    Reference: Zeiler and Fergus, Visualizing and Understanding Convolutional Networks, arXiv:1311.2901.
    """

    def rule(step):
        before = step.call.linear if step.fused else step.inputs[0]
        return Override(step.call.output, (before,), _positive, keeps=())

    return _explain(view, reduce, rule)
