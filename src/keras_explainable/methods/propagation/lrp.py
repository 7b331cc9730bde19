"""Layer-wise relevance propagation: the score is sent back from layer to layer down to the pixels.

maps[b, s, k] = the relevance of pixel s, summed over channels. What the pixels have adds up to the score, less what
biases and stabilisers keep. `lrp` is by any rules, the other methods by those that are customary. All of them merge a
batch normalisation with the linear layer before it; any other, factors that no image changes, and activations pass
relevance on; the largest of a pooling has it all, and averages, sums, and what else is linear, as trying it on numbers
shows, give it by what is added.

What weighs a signal counts as a constant, and the signal has all: a gate (what a sigmoid gives, or one number for
several of the signal: squeeze and excitation), the probabilities of attention, so that its values have all (Arras et
al., arXiv:1906.09821, arXiv:1706.07206; Ali et al., arXiv:2202.07304), and the deviation that a layer, group or RMS
normalisation divides by. Of a product of two other signals each has half (arXiv:2402.05602). What only weights are made
of needs no rule.

Rules that tell positive inputs from negative ones cost half after a ReLU, where no input is below 0.

All raise `LayerError` for a layer or operation that has no rule or cannot be seen.
"""

from collections.abc import Callable, Sequence
from typing import Any

from keras import ops

from keras_explainable import filters
from keras_explainable.errors import InputError, LayerError
from keras_explainable.methods.baselines import baseline_inputs
from keras_explainable.methods.explainer import explainer
from keras_explainable.methods.gradient.reduction import units_last
from keras_explainable.methods.propagation import canonizers, composites, rules
from keras_explainable.methods.propagation.composites import Box, Composite
from keras_explainable.methods.propagation.engine import rules_of, starting
from keras_explainable.models import IMAGES, INPUT, Overrides, Point, Step, View, on_view, opens_view

NEEDS = "gradient, known layers"
READY = (
    "epsilon_everywhere(epsilon)",
    "epsilon_plus(epsilon)",
    "epsilon_plus_flat(epsilon)",
    "epsilon_alpha2_beta1(epsilon)",
    "epsilon_gamma_box(epsilon, gamma, low, high)",
    "EXCITATION",
)


@opens_view
def lrp(view: View, *, composite: Composite | None = None) -> tuple:
    """The score given back to the pixels by rules of your choice; the methods below are this with a composite each.

    With `composites.Composite(convolution=rules.gamma(0.1), dense=rules.epsilon(0.01), first=rules.w_square)`, for one,
    `ke.explain(ke.methods.propagation.lrp.lrp, model, x, y, composite=...)` has the w-square rule at the pixels, gamma
    in the other convolutions, and epsilon in dense layers.

    Args:
        composite: a rule for convolutions, one for dense layers, and one for those at the pixels, of
            `ke.methods.propagation.rules`; at the pixels also a `composites.Box`.

    Raises:
        InputError: no composite came, what came for a rule is none, or its parameters do not make one.
    """
    if composite is None:
        raise InputError(
            "No composite= came, and `lrp` goes by one: that of ke.methods.propagation.composites, "
            f"{', '.join(READY)}; or your own, composites.Composite(convolution=rules.gamma(0.1), "
            "dense=rules.epsilon(0.01)), of ke.methods.propagation.rules."
        )
    composites.check(composite)
    steps = view.steps()
    if isinstance(composite.first, Box):
        composite = composite._replace(first=_boxed(view, composite.first, steps))
    found = starting(view, rules_of(view, composite, steps), steps)
    scores, _, r = view.jacobian([INPUT], lambda _, r: ops.sum(r, axis=-1), keep=False, overrides=Overrides(found))
    return scores, units_last(r[INPUT])


def _boxed(view: View, box: Box, steps: Sequence[Step]) -> Callable:
    """The box rule, by the least and the largest inputs of the first linear layer, in its own layout."""
    found = canonizers.first(steps)
    if len(found) != 1:
        raise LayerError(
            f"The box rule is for one linear layer at the pixels, and there are {len(found)}"
            f"{': ' if found else ''}{', '.join(s.name for s in found)}. Use `lrp_epsilon_plus_flat`."
        )
    bounds = [_bound(view, *bound) for bound in (("low", box.low, ops.min), ("high", box.high, ops.max))]
    # What is before it, a change of range, of axes or padding, goes for the bounds as well.
    if found[0].call.inputs[found[0].reached[0].part] != IMAGES or view.adapter.inputs.front is not None:
        point: Point = found[0].reached[0]
        bounds = [view.in_layout(point, view.evaluate([point], inputs=b)[1][point]) for b in bounds]
    return rules.z_box(ops.minimum(*bounds), ops.maximum(*bounds))


def _bound(view: View, name: str, value: Any, extreme: Callable) -> Any:
    """A bound of the pixels, as images in the model's layout."""
    if value is None:
        bound = extreme(view.inputs, axis=tuple(range(1, len(view.inputs.shape))), keepdims=True)
    else:
        try:
            bound = baseline_inputs(view, value)
        except InputError as error:
            raise InputError(f"{name}: {error}") from error
    return ops.broadcast_to(bound, ops.shape(view.inputs))


@explainer(
    "propagation",
    NEEDS,
    "1 forward + 3 K backward",
    "10.1371/journal.pone.0130140",
    postprocessing=filters.positive_normalize,
)
def lrp_epsilon(view: View, *, epsilon: float = rules.EPSILON) -> tuple:
    """The score given back to the pixels by what each input adds to a layer; of a ReLU network, gradient x input.

    Every linear layer: R_j = sum_k x_j W_jk / (z_k + epsilon sign(z_k)) R_k, z = W x + b.

    Args:
        epsilon: added to z; a larger one leaves out what is weak or cancels.

    Reference: Bach et al., On Pixel-Wise Explanations for Non-Linear Classifier Decisions by LRP, PLoS ONE 2015.
    """
    return on_view(lrp, view, composite=composites.epsilon_everywhere(epsilon))


@explainer(
    "propagation",
    NEEDS,
    "1 forward + 2 K (forward + backward)",
    "arXiv:1910.09840",
    postprocessing=filters.positive_normalize,
)
def lrp_epsilon_plus(view: View, *, epsilon: float = rules.EPSILON) -> tuple:
    """What speaks for the unit, clean and on the object: LRP with the z-plus rule in convolutions, epsilon in others.

    Convolutions: R_j = sum_k (x_j W_jk)^+ / sum_j (x_j W_jk)^+ R_k; dense layers as `lrp_epsilon`.

    Args:
        epsilon: as in `lrp_epsilon`.

    Reference: Kohlbrenner et al., Towards Best Practice in Explaining Neural Network Decisions with LRP,
    arXiv:1910.09840.
    """
    return on_view(lrp, view, composite=composites.epsilon_plus(epsilon))


@explainer(
    "propagation",
    NEEDS,
    "1 forward + 3 K (forward + backward)",
    "arXiv:1910.09840",
    postprocessing=filters.positive_normalize,
)
def lrp_epsilon_plus_flat(view: View, *, epsilon: float = rules.EPSILON) -> tuple:
    """As `lrp_epsilon_plus`, smoother: the first layer spreads relevance evenly over the pixels that it sees.

    First linear layer: R_j = sum_k R_k / (number of inputs of k); then as `lrp_epsilon_plus`.

    Args:
        epsilon: as in `lrp_epsilon`.

    Reference: Kohlbrenner et al., arXiv:1910.09840; the flat rule: Lapuschkin et al., arXiv:1902.10178.
    """
    return on_view(lrp, view, composite=composites.epsilon_plus_flat(epsilon))


@explainer(
    "propagation",
    NEEDS,
    "1 forward + 4 K (forward + backward)",
    "arXiv:1910.09840",
    postprocessing=filters.positive_normalize,
)
def lrp_epsilon_alpha2_beta1(view: View, *, epsilon: float = rules.EPSILON) -> tuple:
    """What speaks for the unit and what against it: LRP with the alpha-beta rule in convolutions, epsilon in others.

    Convolutions: R = 2 R^+ - R^-, the shares of what adds to an output and of what takes from it; dense layers as
    `lrp_epsilon`.

    Args:
        epsilon: as in `lrp_epsilon`.

    Reference: Bach et al., PLoS ONE 2015; Kohlbrenner et al., arXiv:1910.09840.
    """
    return on_view(lrp, view, composite=composites.epsilon_alpha2_beta1(epsilon))


@explainer(
    "propagation",
    NEEDS,
    "2 forward + 4 K (forward + backward)",
    "arXiv:1512.02479",
    postprocessing=filters.positive_normalize,
)
def lrp_epsilon_gamma_box(
    view: View,
    *,
    epsilon: float = rules.EPSILON,
    gamma: float = 0.25,
    low: Any = None,
    high: Any = None,
) -> tuple:
    """LRP for natural images: the box rule at the pixels, gamma in convolutions, epsilon in dense layers.

    First linear layer: R_j = sum_k n_jk / sum_j n_jk R_k, n = x W - low W^+ - high W^-; other convolutions count what
    has the output's own sign 1 + gamma times; dense layers as `lrp_epsilon`.

    Args:
        epsilon: as in `lrp_epsilon`.
        gamma: 0 is the epsilon rule, a large one z-plus.
        low, high: the least and the largest that a pixel can be: numbers, colours (C,), or images in the model's
            layout; None is each image's own.

    Reference: Montavon et al., Layer-Wise Relevance Propagation: An Overview, doi:10.1007/978-3-030-28954-6_10; the box
    rule: Montavon et al., arXiv:1512.02479.
    """
    return on_view(lrp, view, composite=composites.epsilon_gamma_box(epsilon, gamma, low, high))
