"""Blur integrated gradients: a path from a blurred image to the image."""

import functools
import math
from typing import Any

from keras import ops

from keras_explainable import filters, models
from keras_explainable.errors import InputError
from keras_explainable.methods.gradient.gradients import gradients
from keras_explainable.methods.gradient.reduction import part_reducer
from keras_explainable.methods.quadrature import quadrature_of
from keras_explainable.methods.repetition import scores_of, total_of
from keras_explainable.methods.validation import check_number
from keras_explainable.numerics.blur import blur
from keras_explainable.registry import explainer
from keras_explainable.runtime.compile_cache import frozen, repeated, repeats


@repeats
@explainer(
    "gradient",
    "gradient",
    "1 forward + n (forward + K backward)",
    "arXiv:2004.03383",
    postprocessing=filters.absolute_normalize,
)
def blur_ig(
    model: Any,
    inputs: Any,
    indices: Any = None,
    score: Any = None,
    *,
    repetitions: int = 50,
    max_sigma: float | None = None,
    quadrature: str = "gauss_legendre",
    reduce: str | None = "sum",
) -> tuple:
    """What each pixel adds to the score while a blurred image becomes sharp: it needs no baseline colour.

    maps = - sum over c of integral from 0 to max_sigma of d score(x_s) / dx  d x_s / d s  ds, x_s = x blurred by s

    The parts add up to score(x) - score(x blurred by max_sigma). Places are taken as s = max_sigma t^2, t in (0, 1),
    more densely where little is blurred and scores change most. The authors' code differs: black lies beyond its
    border, its Gaussians end at 4 sigma, and it adds up even steps of sigma without the last.

    Args:
        repetitions, reduce: see `ke.methods.path`; quadrature: see `meta.integrate`.
        max_sigma: in pixels; by default a quarter of the image's longest side.

    Reference: Xu et al., Attribution in Scale and Space, arXiv:2004.03383.
    """
    reduced = part_reducer(reduce)
    nodes, weights = quadrature_of(quadrature, repetitions)
    view = models.view(model, inputs)
    x, first = view.inputs, 2 if view.adapter.channels_first else 1
    size = view.size
    if not all(isinstance(s, int) for s in size):
        raise InputError("Blurs are made for images of one size: give images whose size is known.")
    widest = max(size) / 4 if max_sigma is None else max_sigma
    check_number("max_sigma", widest, lambda w: 0 < w < math.inf, "a positive number of pixels")
    units = models.units(model, inputs, indices, score)
    axes = tuple(range(first, first + view.rank))

    def at(subject, x, units, sigma, weight):
        seen, change = blur(x, sigma, axes)
        _, g = gradients(subject, seen, units, score, reduce=None)
        change = ops.moveaxis(change, 1, -1) if first == 2 else change
        return (-weight * change[:, None] * g,)

    key = frozen(["blur_ig", score])
    run = functools.partial(repeated(at, key, model, gradients, x), x, units)
    (parts,) = total_of(run, [widest * nodes**2, widest * 2 * nodes * weights], x)
    return scores_of(model, x, units, score), reduced(parts)
