"""Blur integrated gradients: a path from a blurred image to the image."""

import math
from dataclasses import dataclass
from typing import Any

from keras import ops

from keras_explainable import filters
from keras_explainable.errors import InputError
from keras_explainable.methods.explainer import explainer
from keras_explainable.methods.gradient.gradients import signed_gradients
from keras_explainable.methods.gradient.reduction import part_reducer
from keras_explainable.methods.quadrature import quadrature_of
from keras_explainable.models import View, on_view
from keras_explainable.numerics.blur import blur
from keras_explainable.runtime.compile_cache import Program, repeated
from keras_explainable.runtime.repetition import scores_of, total_of
from keras_explainable.runtime.validation import check_number


@dataclass(frozen=True)
class AtBlur(Program):
    """A term of the integral (B, K, *S, C), at one sigma."""

    def __call__(self, view: View, sigma: Any, weight: Any) -> tuple:
        first = 2 if view.adapter.channels_first else 1
        seen, change = blur(view.inputs, sigma, tuple(range(first, first + view.rank)))
        _, g = on_view(signed_gradients, view.of(seen, view.indices))
        change = ops.moveaxis(change, 1, -1) if first == 2 else change
        return (-weight * change[:, None] * g,)


@explainer(
    "gradient",
    "gradient",
    "1 forward + n (forward + K backward)",
    "arXiv:2004.03383",
    postprocessing=filters.absolute_normalize,
    repeats=True,
)
def blur_ig(
    view: View,
    *,
    repetitions: int = 50,
    max_sigma: float | None = None,
    quadrature: str = "gauss_legendre",
    reduce: str | None = "sum",
) -> tuple:
    """Gradients integrated along the path from a blurred image to the image; no baseline colour is needed.

    maps = - sum over c of integral from 0 to max_sigma of d score(x_s) / dx  d x_s / d s  ds

    x_s is x blurred by a Gaussian of standard deviation s. A map's sum is score(x) - score(x blurred by max_sigma). The
    points are s = max_sigma t^2 with t in (0, 1): they are denser at small blur, where scores change most. The
    authors' code differs: it pads images with black, truncates Gaussians at 4 sigma, and sums over even steps of sigma
    without the last one.

    Args:
        repetitions, quadrature, reduce: see `ke.methods.gradient`.
        max_sigma: the largest s, in pixels; by default a quarter of the longest side of the image.

    Raises:
        InputError: the size of the images is not known.

    Reference: Xu et al., Attribution in Scale and Space, arXiv:2004.03383.
    """
    reduced = part_reducer(reduce)
    nodes, weights = quadrature_of(quadrature, repetitions)
    size = view.size
    if not all(isinstance(s, int) for s in size):
        raise InputError("The size of the images is not known, and a blur needs it: give images of a known size.")
    widest = max(size) / 4 if max_sigma is None else max_sigma
    check_number("max_sigma", widest, lambda w: 0 < w < math.inf, "a positive number of pixels")
    (parts,) = total_of(repeated(AtBlur(), view), [widest * nodes**2, widest * 2 * nodes * weights], view.inputs)
    return scores_of(view), reduced(parts)
