"""Ablation-CAM: channels weighted by what the score loses without them."""

from typing import Any

from keras import ops

from keras_explainable import filters
from keras_explainable.methods.cams.weighting import weighted
from keras_explainable.methods.explainer import explainer
from keras_explainable.models import View
from keras_explainable.runtime.tails import whole_passes, with_changes


@explainer(
    "cam",
    "hidden signal",
    "2 forward + C tail",
    "10.1109/WACV45572.2020.9093360",
    postprocessing=filters.positive_normalize,
    about=whole_passes,
)
def ablationcam(view: View, layer: Any = None, *, at_once: int | None = None) -> tuple:
    """The channels of a layer, each weighted by the fraction of the score that is lost without it.

    maps = sum_c w_c A_c, w_c = (f - f with A_c = 0) / |f|

    The paper divides by f, which inverts the maps of negative scores.

    What comes before the layer is computed once, and what comes after it (the tail) for many channels at once. Where
    the framework cannot do this, the whole model runs for each channel, and `.about["passes"]` says why.

    Args:
        layer: see `ke.methods.cams`.
        at_once: see `ke.methods.perturbation`. As many channels are removed at once as take the memory of this many
            images.

    Reference: Desai & Ramaswamy, Ablation-CAM, WACV 2020, doi:10.1109/WACV45572.2020.9093360.
    """

    def without(a, channel):
        return a * ops.cast(ops.arange(a.shape[-1]) != channel, a.dtype)

    scores, a, less = with_changes(view, view.signal(layer), without, at_once)
    losses = scores[None] - less
    size = ops.abs(scores)
    return scores, weighted(a, ops.einsum("cbk->bkc", losses / ops.where(size > 0, size, ops.ones_like(size))))
