"""Full gradients: a score is the sum of the contributions of the input and of each bias."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from keras import ops

from keras_explainable import backend, filters, registry
from keras_explainable.errors import InputError
from keras_explainable.methods.explainer import explainer
from keras_explainable.models import INPUT, Point, View, spatial
from keras_explainable.models.signal_layout import parts
from keras_explainable.runtime.validation import check_choice

EPSILON = 1e-6


def psi_sum(v: Any) -> Any:
    """Sum over channels of psi(v) = (|v| - min) / (max - min + epsilon), min and max over (*S, C) of each image.

    The sum is taken before scaling, so that |v| is the only intermediate array of v's size."""
    v = ops.abs(v)
    axes = tuple(range(1, len(v.shape)))
    low, high = ops.min(v, axis=axes, keepdims=True)[..., 0], ops.max(v, axis=axes, keepdims=True)[..., 0]
    return (ops.sum(v, axis=-1) - v.shape[-1] * low) / (high - low + EPSILON)


def psi_mean(v: Any) -> Any:
    """Mean over channels of |v|, each channel normalised over space: the older definition of keras-explainable."""
    return ops.mean(filters.absolute_normalize(v, axis=tuple(range(1, len(v.shape) - 1))), axis=-1)


PSI = {"sum": psi_sum, "mean": psi_mean}


def _maps(view: View, psi: Any, factor: Callable) -> tuple:
    """psi(grad x) + sum over layers of psi(grad * factor); terms of equal resolution are added before resizing."""
    points = spatially_biased(view)
    if not registry.accepts(psi, None):
        check_choice("aggregation", psi, PSI, ", or a function of (B, *S, C)")
        psi = PSI[psi]
    images, factors = view.x, factor(view, points)

    def reduce(point, g):
        if point == INPUT:
            return psi(g * images)
        return backend.by_image(lambda part: psi(part * factors[point] if point in factors else part), g)

    scores, _, terms = view.jacobian([INPUT, *points], reduce, keep=False)
    return scores, sum_at_image_size(view, terms[INPUT], [terms[p] for p in points])


def sum_at_image_size(view: View, total: Any, terms: Iterable) -> Any:
    """The sum (B, *S, K) of maps (B, K, *S) and terms (B, K, *S') resized to them; each size is resized once."""
    by_size: dict[tuple, Any] = {}
    for term in terms:
        size = tuple(term.shape[2:])
        by_size[size] = by_size[size] + term if size in by_size else term
    for term in by_size.values():
        total = total + view.resized(term, axis=2, align_corners=True)
    return ops.moveaxis(total, 1, -1)


def spatially_biased(view: View) -> list:
    """The points directly after a bias is added to a spatial signal. For frames, the first call stands for all."""
    return [p for p in view.biased() if _is_spatial(view, p) and not (p.call and parts(view.trace, p, ()))]


def _is_spatial(view: View, point: Point) -> bool:
    return spatial.is_spatial(view.call(point), view.rank)


def shown_biases(view: View, _: Any = None) -> dict[str, Any]:
    """For `.about`: the number of the model's biases that the map shows."""
    shown = spatially_biased(view)
    number = sum(len(parts(view.trace, p, shown)) or 1 for p in shown)
    return {"biases_in_map": f"{number} of the {len(view.biased())} that layers add, by call"}


def biases_at(view: View, points: list) -> dict:
    """The current biases at the points."""
    return view.biases(points)


def _biases(given: Any, view: View, points: list) -> dict:
    """The bias at each point: the current one of the layer, or one of `given`, in the order of the calls."""
    if given is None:
        return biases_at(view, points)
    every = view.biased()
    listed = isinstance(given, (list, tuple))
    if not listed or len(given) != len(every):
        came = f"{len(given)} biases" if listed else f"biases={given!r}"
        raise InputError(
            f"{came} came for the {len(every)} calls of layers with a bias: give one for each, or leave `biases` out "
            "to read them from the layers."
        )
    return {p: ops.cast(b, "float32") for p, b in zip(every, given, strict=True) if p in points}


@explainer(
    "full gradient",
    "gradient, biases",
    "1 forward + K backward",
    "arXiv:1905.00780",
    postprocessing=filters.normalize,
    about=shown_biases,
)
def full_gradients(view: View, biases: Any = None, aggregation: Any = "sum") -> tuple:
    """The sum of the normalised contributions of the input and of every bias of the network.

    maps = sum_c psi(x dscore/dx) + sum over layers of resize(sum_c psi(b dscore/db)),
    psi(v) = (|v| - min)/(max - min + 1e-6), min and max over (*S, C) of each image

    The gradient is taken directly after the bias is added, before a fused activation. b is the effective bias (for
    batch normalisation, beta - mean gamma/sqrt(var + epsilon)). Only layers with a spatial output are included; in a
    transformer this is often only the patch embedding, as tokens are not spatial. `.about["biases_in_map"]` is the
    number of biases in the map. The map does not add up to the score; the decomposition does: see
    `full_gradient_decomposition`.

    Args:
        biases: the biases b, in the order of the calls; None reads them from the layers.
        aggregation: sum_c psi: "sum" (the paper's authors), "mean" (keras-explainable 0.0.2: each channel is normalised
            by itself, then the mean over channels is taken), or a function from (B, *S, C) to (B, *S).

    Raises:
        InputError: there is not one bias for each call of a layer with a bias, or the aggregation is unknown.

    Reference: Srinivas & Fleuret, Full-Gradient Representation for Neural Network Visualization, arXiv:1905.00780.
    """
    return _maps(view, aggregation, partial(_biases, biases))


@explainer(
    "full gradient",
    "gradient, biases",
    "1 forward + K backward",
    "arXiv:1905.00780",
    postprocessing=filters.normalize,
    about=shown_biases,
)
def simple_full_gradients(view: View, aggregation: Any = "sum") -> tuple:
    """Full gradients without the biases' values: the sum of normalised gradients where biases are added.

    maps = sum_c psi(x dscore/dx) + sum over layers with a bias of resize(sum_c psi(dscore/db))

    Args:
        aggregation: sum_c psi, see `full_gradients`.

    Reference: Srinivas & Fleuret, arXiv:1905.00780, and the authors' implementation.
    """
    return _maps(view, aggregation, lambda view, points: {})
