"""Guided backpropagation and DeconvNet: gradients with another rule for ReLUs."""

from collections.abc import Callable
from typing import Any

from keras import ops

from keras_explainable import filters
from keras_explainable.errors import LayerError
from keras_explainable.methods.explainer import explainer
from keras_explainable.methods.gradient.reduction import channel_reducer
from keras_explainable.models import INPUT, Override, Overrides, Step, View


def _positive(g: Any, inputs: tuple, output: Any) -> tuple:
    return (ops.relu(g),)


def _relus(view: View) -> list[Step]:
    """Every ReLU, fused or not, that the scores depend on, by call."""
    steps = view.steps()
    hidden = [step for step in steps if step.role is None]
    tried = view.tried(hidden)
    unknown = [step.name for step in hidden if step.call.output[:2] not in tried]
    if unknown:
        raise LayerError(
            f"Whether there are ReLUs in {', '.join(unknown)} cannot be seen: make such a layer of "
            "layers for all that it does. Or use `gradients`, which needs no ReLUs."
        )
    found = [step for step in steps if "relu" in (step.role, step.fused)]
    if not found:
        raise LayerError(
            f"This model has no ReLU, and without one this is the gradient: use `gradients`. "
            f"Its layers: {', '.join(step.name for step in steps)}."
        )
    return found


def counted(view: View) -> dict[str, Any]:
    """For `.about`: how many ReLUs were replaced, by call."""
    return {"relus": len(_relus(view))}


def _explain(view: View, reduce: str | None, rule: Callable[[Step], Override]) -> tuple:
    reduced = channel_reducer(reduce)
    scores, _, g = view.jacobian([INPUT], keep=False, overrides=Overrides([rule(step) for step in _relus(view)]))
    return scores, reduced(g[INPUT])


@explainer("gradient", "gradient, ReLUs", "1 forward + K backward", "arXiv:1412.6806", postprocessing=filters.normalize)
def guided_backprop(view: View, reduce: str | None = "mean") -> tuple:
    """Sharp outlines of what excites a unit: gradients that pass ReLUs only where they are positive.

    g_in = relu(g_out) [z > 0] at each ReLU, z what comes in (for one that ends at 6, [0 < z < 6]); elsewhere gradients.
    Known to depend little on the unit (arXiv:1810.03292): good to look at, not to judge a model by.
    `.about["relus"]` of the result says how many ReLUs that were, by call.

    Args:
        reduce: over channels, as in `gradients`.

    Raises:
        LayerError: the model has no ReLU, or operations or layers in which one could hide.

    Reference: Springenberg et al., Striving for Simplicity: The All Convolutional Net, arXiv:1412.6806.
    """
    return _explain(view, reduce, lambda step: Override(step.call.output, (step.call.output,), _positive, looks=()))


@explainer(
    "gradient",
    "gradient, ReLUs",
    "1 forward + K backward",
    "arXiv:1311.2901",
    postprocessing=filters.normalize,
    caveat="It finds objects no better than a random pixel: kept for comparison.",
)
def deconvnet(view: View, reduce: str | None = "mean") -> tuple:
    """The pattern that a unit would draw: what is sent back is rectified at each ReLU, whether that was on or off.

    g_in = relu(g_out) at each ReLU; elsewhere gradients. It depends little on the unit, and its largest values are
    often not on the object: it is here to be compared with. `.about["relus"]` says how many ReLUs that were, by call.

    Args:
        reduce: over channels, as in `gradients`.

    Raises:
        LayerError: the model has no ReLU, or operations or layers in which one could hide.

    Reference: Zeiler and Fergus, Visualizing and Understanding Convolutional Networks, arXiv:1311.2901.
    """

    def rule(step):
        before = step.call.linear if step.fused else step.inputs[0]
        return Override(step.call.output, (before,), _positive, looks=())

    return _explain(view, reduce, rule)


guided_backprop.about = deconvnet.about = counted
