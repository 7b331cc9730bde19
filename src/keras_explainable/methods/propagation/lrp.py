"""Layer-wise relevance propagation (LRP): the score is propagated back from layer to layer to the pixels.

maps[b, s, k] = the relevance of pixel s, summed over channels

The sum of a map is the score minus what biases and stabilisers absorb. `lrp` takes any rules; the other methods use the
usual ones. All of them treat layers as follows:

- A batch normalisation after a linear layer is merged with it. Any other batch normalisation, factors that do not
  depend on the image, and activations pass relevance on unchanged.
- Maximum pooling gives all relevance to the maximum. Averages, sums, and all other operations that a numerical trial
  shows to be linear distribute it in proportion to what each input adds.
- A factor that weights a signal counts as a constant, and the signal gets all relevance. This holds for gates (outputs
  of a sigmoid, or one number for several of the signal, as in squeeze and excitation), for attention probabilities,
  so that the values get all relevance (Arras et al., arXiv:1906.09821, arXiv:1706.07206; Ali et al.,
  arXiv:2202.07304), and for the standard deviation by which a layer, group or RMS normalisation divides. Operations
  that only such factors depend on need no rule.
- In a product of two other signals, each gets half (arXiv:2402.05602).

Rules that treat positive and negative inputs differently take half the time after a ReLU, where no input is negative.

All methods raise `LayerError` for a layer or operation that has no rule or cannot be observed.
"""

from collections.abc import Callable, Sequence
from typing import Any

from keras import ops

from keras_explainable import filters
from keras_explainable.errors import InputError, LayerError
from keras_explainable.masking.baselines import baseline_inputs
from keras_explainable.methods.explainer import explainer
from keras_explainable.methods.gradient.reduction import units_last
from keras_explainable.methods.propagation import canonizers, composites, rules
from keras_explainable.methods.propagation.composites import Box, Composite
from keras_explainable.methods.propagation.engine import rules_of, starting
from keras_explainable.models import IMAGES, INPUT, Overrides, Point, Step, View, on_view, opens_view
from keras_explainable.models.signal_layout import in_layout

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
    """Layer-wise relevance propagation with the rules of a composite.

    For example, `ke.explain(ke.methods.propagation.lrp.lrp, model, x, y, composite=...)` with
    `composites.Composite(convolution=rules.gamma(0.1), dense=rules.epsilon(0.01), first=rules.w_square)` uses the
    w-square rule at the pixels, gamma in the other convolutions, and epsilon in dense layers. The other LRP methods are
    this one with a fixed composite.

    Args:
        composite: a rule for convolutions, one for dense layers, and one for the layers at the pixels, from
            `ke.methods.propagation.rules`. At the pixels a `composites.Box` is also possible.

    Raises:
        InputError: there is no composite, or one of its rules is not a rule.
    """
    if composite is None:
        raise InputError(
            "No composite= came, and `lrp` needs one: from ke.methods.propagation.composites, "
            f"{', '.join(READY)}; or your own, composites.Composite(convolution=rules.gamma(0.1), "
            "dense=rules.epsilon(0.01)), with rules from ke.methods.propagation.rules."
        )
    composites.check(composite)
    steps = view.steps()
    if isinstance(composite.first, Box):
        composite = composite._replace(first=_boxed(view, composite.first, steps))
    found = starting(view, rules_of(view, composite, steps), steps)
    scores, _, r = view.jacobian([INPUT], lambda _, r: ops.sum(r, axis=-1), keep=False, overrides=Overrides(found))
    return scores, units_last(r[INPUT])


def _boxed(view: View, box: Box, steps: Sequence[Step]) -> Callable:
    """The box rule with the lowest and highest inputs of the first linear layer, in the layout of that layer."""
    found = canonizers.first(steps)
    if len(found) != 1:
        raise LayerError(
            f"The box rule needs exactly one linear layer at the pixels, and there are {len(found)}"
            f"{': ' if found else ''}{', '.join(s.name for s in found)}. Use `lrp_epsilon_plus_flat`."
        )
    bounds = [_bound(view, *bound) for bound in (("low", box.low, ops.min), ("high", box.high, ops.max))]
    # Operations before the layer (a change of range or axes, padding) apply to the bounds too.
    if found[0].call.inputs[found[0].reached[0].part] != IMAGES or view.adapter.inputs.layout is not None:
        point: Point = found[0].reached[0]
        bounds = [in_layout(view, point, view.evaluate([point], inputs=b)[1][point]) for b in bounds]
    return rules.z_box(ops.minimum(*bounds), ops.maximum(*bounds))


def _bound(view: View, name: str, value: Any, extreme: Callable) -> Any:
    """A bound of the pixels, as images in the model's layout. None is the `extreme` of each image."""
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
    """LRP with the epsilon rule in every linear layer; gradient x input if all activations are ReLUs.

    R_j = sum_k x_j W_jk / (z_k + epsilon sign(z_k)) R_k, z = W x + b

    Args:
        epsilon: added to |z|, above 0. A larger one suppresses relevance where z is small because its terms are weak or
            cancel.

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
    """LRP with z-plus in convolutions and epsilon in dense layers: evidence for the unit.

    Convolutions: R_j = sum_k (x_j W_jk)^+ / sum_j (x_j W_jk)^+ R_k; dense layers as in `lrp_epsilon`

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
    """`lrp_epsilon_plus` with the flat rule in the first layer: relevance is spread evenly over its inputs.

    First linear layer: R_j = sum_k R_k / (number of inputs of k); other layers as in `lrp_epsilon_plus`. The maps are
    smoother.

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
    """LRP with alpha-beta in convolutions and epsilon in dense layers: evidence for and against the unit.

    Convolutions: R = 2 R^+ - R^-, the shares of the positive and of the negative terms of an output; dense layers as in
    `lrp_epsilon`

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

    First linear layer: R_j = sum_k n_jk / sum_j n_jk R_k, n = x W - low W^+ - high W^-; other convolutions multiply
    terms with the sign of the output by 1 + gamma; dense layers as in `lrp_epsilon`

    Args:
        epsilon: as in `lrp_epsilon`.
        gamma: 0 is the epsilon rule; a large gamma approaches z-plus.
        low, high: the lowest and highest possible value of a pixel: numbers, colours (C,), or images in the model's
            layout. None is each image's own minimum and maximum.

    Reference: Montavon et al., Layer-Wise Relevance Propagation: An Overview, doi:10.1007/978-3-030-28954-6_10; the box
    rule: Montavon et al., arXiv:1512.02479.
    """
    return on_view(lrp, view, composite=composites.epsilon_gamma_box(epsilon, gamma, low, high))
