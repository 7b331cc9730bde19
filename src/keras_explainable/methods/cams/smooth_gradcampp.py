"""Class activation maps from the gradients of many noisy copies of an image."""

from dataclasses import dataclass
from typing import Any

from keras import ops

from keras_explainable import filters
from keras_explainable.methods.cams.weighting import space_of, weighted
from keras_explainable.methods.explainer import explainer
from keras_explainable.methods.meta.smooth import SHARED, smooth
from keras_explainable.models import Point, View, on_view, opens_view
from keras_explainable.numerics.arithmetic import quotient
from keras_explainable.runtime.compile_cache import Program, repeated


@dataclass(frozen=True)
class SignalOf(Program):
    """The scores, and the signal of a layer."""

    layer: Any

    def __call__(self, view: View) -> tuple:
        point = view.signal(self.layer)
        scores, values = view.evaluate([point])
        return scores, values[point]


@opens_view
def powers(view: View, layer: Any = None) -> tuple:
    """The scores, and the first three powers of the gradient at a layer's signal."""
    point = view.signal(layer)
    scores, _, found = view.jacobian([point], keep=False)
    g = found[point]
    return scores, g, g**2, g**3


@explainer(
    "cam",
    "hidden signal, gradient",
    "(1 + n) forward",
    "arXiv:1908.01224",
    postprocessing=filters.positive_normalize,
    repeats=True,
    shares=SHARED,
)
def smooth_gradcampp(
    view: View,
    layer: Any = None,
    *,
    repetitions: int = 25,
    noise: float = 0.15,
    noise_kind: str = "range",
    seed: int | None = None,
) -> tuple:
    """Grad-CAM++ with gradients averaged over noisy copies of the image.

    maps = sum_c w_c A_c, w_c = sum_s alpha relu(D1), alpha = D2 / (2 D2 + D3 sum_s A), 0 where that is undefined

    Dp is the mean over the copies of g(x + sigma e)^p, e standard normal; A is the signal of the image itself.

    Args:
        layer: see `ke.methods.cams`.
        repetitions, noise, noise_kind, seed: see `ke.methods.gradient`.

    Reference: Omeiza et al., Smooth Grad-CAM++, arXiv:1908.01224.
    """
    layer = Point(*view.signal()) if layer is None else layer
    _, mean, second, third = on_view(smooth(powers, repetitions, noise, noise_kind), view, layer=layer, seed=seed)
    scores, a = repeated(SignalOf(layer), view)()
    total = ops.sum(a, axis=space_of(a), keepdims=True)[:, None]
    alpha = quotient(second, 2 * second + total * third)
    return scores, weighted(a, ops.sum(alpha * ops.relu(mean), axis=space_of(mean, 2)))
