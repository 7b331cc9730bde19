"""Excitation backprop: probabilities that propagate down along positive weights."""

from typing import Any

from keras import ops

from keras_explainable import filters
from keras_explainable.errors import LayerError
from keras_explainable.methods.explainer import explainer
from keras_explainable.methods.gradient.reduction import units_last
from keras_explainable.methods.propagation import composites
from keras_explainable.methods.propagation.engine import rules_of
from keras_explainable.models import Overrides, View

SIGNED = ("layernorm", "attention", "softmax")


@explainer(
    "propagation",
    "hidden signal, known layers",
    "1 forward + 2 K backward",
    "arXiv:1608.00507",
    postprocessing=filters.positive_normalize,
)
def excitation_backprop(view: View, layer: Any = None) -> tuple:
    """The probability that each position excites the unit, propagated along positive weights.

    P_j = sum_k x_j^+ W_jk^+ / (sum_j x_j^+ W_jk^+) P_k

    P is 1 at the unit and is propagated to the output of `layer`, where it is summed over channels. Biases are unused.
    Normalisations, sums and pooling are treated as in LRP. The sum of a map is 1 minus the probability that reaches
    neurons without excitatory input. (zennit's composite of that name is z-plus, which also counts biases, and products
    of negative inputs and negative weights.)

    Args:
        layer: see `ke.methods.cams`.

    Raises:
        LayerError: a layer or operation after the signal has no rule or cannot be observed.

    Reference: Zhang et al., Top-down Neural Attention by Excitation Backprop, arXiv:1608.00507.
    """
    point = view.signal(layer)
    steps = view.steps(point)
    signed = [step.name for step in steps if step.role in SIGNED]
    if signed:
        raise LayerError(
            f"No rule covers {signed[0]}, through which relevance can become negative: maps would not be "
            "probabilities. Use `lrp_epsilon_plus`."
        )
    rules = rules_of(view, composites.EXCITATION, steps)
    scores, _, p = view.jacobian([point], lambda _, p: ops.sum(p, axis=-1), keep=False, overrides=Overrides(rules))
    return scores, units_last(p[point])
