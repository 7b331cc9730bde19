"""Deletion and insertion curves, and what is computed from the area under them."""

import functools
import math
from typing import Any

import numpy as np
from keras import ops

from keras_explainable import backend
from keras_explainable.masking.segments import segment
from keras_explainable.metrics.case import Case
from keras_explainable.metrics.masked import masked, units_of
from keras_explainable.metrics.measuring import Measured
from keras_explainable.metrics.metric import metric
from keras_explainable.metrics.order import order, removed
from keras_explainable.runtime.compile_cache import frozen
from keras_explainable.runtime.progress import counted
from keras_explainable.runtime.validation import check_number

NOTHING = (0, 0)  # the empty part
CURVE = "arXiv:1806.07421"


def ranked(ranks: Any, low: Any, high: Any) -> Any:
    """Masks (P, B, *S) of the pixels with low <= rank < high, from ranks (B, *S) and two numbers (P,)."""
    bounds = (-1, *(1,) * len(ranks.shape))
    inside = (ranks[None] >= ops.reshape(low, bounds)) & (ranks[None] < ops.reshape(high, bounds))
    return ops.cast(inside, "float32")


def quantities(
    case: Case, ranks: np.ndarray, parts: list[tuple[int, int]], fill: Any, quantity: str, noise: float = 0.0
) -> np.ndarray:
    """The quantity (B, K, T) of each image without the pixels whose ranks lie in each of T parts [low, high).

    `ranks` are (B, *S, K). The image itself, and the image without any of its pixels, do not depend on maps, so they
    are evaluated once for all maps."""
    evaluate = masked(case, ranked, fill, quantity, noise)
    units = units_of(case, ranks.shape[-1])
    ends = [part for part in dict.fromkeys(parts) if part in (NOTHING, (0, int(ranks.max()) + 1))]
    others = [part for part in dict.fromkeys(parts) if part not in ends]

    def evaluated(some, k):
        if not some:
            return {}
        rows = np.array(some, "int32").T
        found = evaluate(ranks[..., k].astype("int32"), rows, units[:, k : k + 1])
        return dict(zip(some, found[..., 0].T, strict=True))

    columns = []
    for k in counted(range(ranks.shape[-1])):
        key = "ends", frozen(fill), noise, quantity, k, *ends
        found = evaluated(others, k) | case.once(key, functools.partial(evaluated, ends, k))
        columns.append(np.stack([found[part] for part in parts], axis=-1))
    return np.stack(columns, axis=1)


def first(counts: np.ndarray) -> list[tuple[int, int]]:
    """The parts that deletion removes: the first ranks."""
    return [(0, int(count)) for count in counts]


def last(counts: np.ndarray, of: int) -> list[tuple[int, int]]:
    """The parts that insertion removes: all but the first ranks."""
    return [(int(count), of) if count < of else NOTHING for count in counts]


def area(values: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """The area under curves (..., T) over shares (..., T), by the trapezoidal rule, divided by the length."""
    widths = np.diff(shares)
    return ((values[..., 1:] + values[..., :-1]) / 2 * widths).sum(axis=-1) / widths.sum(axis=-1)


def _shares(points: Any) -> np.ndarray:
    check_number("points", points, lambda n: float(n).is_integer() and 2 <= n <= 1000, "a whole number from 2 to 1000")
    return np.linspace(0, 1, int(points))


def _measured(case: Case, maps: np.ndarray, shares: np.ndarray, names: tuple, *how: Any) -> dict[str, np.ndarray]:
    """The curves "deletion" and "insertion" (B, K, T), and the "share" of pixels that was truly removed or shown."""
    count = math.prod(maps.shape[1:-1])
    counts = removed(count, shares)
    parts = {"deletion": first(counts), "insertion": last(counts, count)}
    found = quantities(case, order(maps, case.seed), [part for name in names for part in parts[name]], *how)
    curves = dict(zip(names, np.split(found, len(names), axis=-1), strict=True))
    return curves | {"share": np.broadcast_to(counts / count, curves[names[0]].shape)}


def _area(curves: dict[str, np.ndarray], name: str) -> np.ndarray:
    return area(curves[name], curves["share"])


@metric("faithfulness", {"model"}, "lower", "T forward", "(s(x) + s(filled)) / 2 for a linear model", CURVE)
def deletion(
    case: Case, maps: np.ndarray, fill: Any = "mean", points: int = 20, quantity: str = "probability"
) -> Measured:
    """The area under the score while the pixels with the largest values are removed first.

    D = integral over q of s(x with the share q of pixels removed, largest first)

    Args:
        fill: what is put in place of removed pixels (see `ke.metrics`).
        points: T, the number of shares q from 0 to 1.
        quantity: "probability", "logit", "margin" or "accuracy".

    Reference: Petsiuk et al., RISE: Randomized Input Sampling for Explanation of Black-box Models, arXiv:1806.07421.
    """
    curves = _measured(case, maps, _shares(points), ("deletion",), fill, quantity)
    return Measured(_area(curves, "deletion"), curves)


@metric("faithfulness", {"model"}, "higher", "T forward", "(s(x) + s(filled)) / 2 for a linear model", CURVE)
def insertion(
    case: Case, maps: np.ndarray, fill: Any = "blur", points: int = 20, quantity: str = "probability"
) -> Measured:
    """The area under the score while the pixels with the largest values are shown first.

    I = integral over q of s(x with all but the share q of pixels removed, the largest shown)

    The authors blur with 11 pixels (sigma 5), which leaves much of a large image visible.

    Args:
        fill, points, quantity: as in `deletion`.

    Reference: Petsiuk et al., RISE: Randomized Input Sampling for Explanation of Black-box Models, arXiv:1806.07421.
    """
    curves = _measured(case, maps, _shares(points), ("insertion",), fill, quantity)
    return Measured(_area(curves, "insertion"), curves)


@metric("faithfulness", {"model"}, "higher", "(2T - 2) forward", "0", "arXiv:2401.06654")
def srg(case: Case, maps: np.ndarray, fill: Any = "mean", points: int = 20, quantity: str = "probability") -> Measured:
    """The symmetric relevance gain: the area between the insertion and the deletion curve, with the same fill.

    srg = I - D

    It is 0 on average for a random order, for any model: an order and its reverse are equally likely, and a map with
    the opposite sign has the opposite value.

    Args:
        fill, points, quantity: as in `deletion`.

    Reference: Blücher et al., Decoupling Pixel Flipping and Occlusion Strategy for Consistent XAI Benchmarks,
    arXiv:2401.06654.
    """
    curves = _measured(case, maps, _shares(points), ("deletion", "insertion"), fill, quantity)
    return Measured(_area(curves, "insertion") - _area(curves, "deletion"), curves)


@metric("faithfulness", {"model"}, "higher", "18 forward", "0", "arXiv:2202.00449")
def road(case: Case, maps: np.ndarray, noise: float = 0.01, quantity: str = "probability") -> Measured:
    """Remove and debias: `srg` over the shares .1 to .9, where removed pixels become the mean of their neighbours.

    Pixels filled in this way do not reveal the shape of the mask. The authors add noise with a standard deviation of
    .01 for any range of the images; here it is relative to the range.

    Args:
        noise: the standard deviation of the noise, relative to each image's range.
        quantity: as in `deletion`.

    Reference: Rong et al., A Consistent and Efficient Evaluation Strategy for Attribution Methods, arXiv:2202.00449.
    """
    check_number("noise", noise, lambda n: 0 <= n < 1, "a number from 0 to 1")
    shares = np.arange(1, 10) / 10
    curves = _measured(case, maps, shares, ("deletion", "insertion"), "linear", quantity, float(noise))
    return Measured(_area(curves, "insertion") - _area(curves, "deletion"), curves)


@metric("faithfulness", {"model"}, "higher", "(1 + segments) forward", "as a random order", "arXiv:2003.08747")
def irof(
    case: Case, maps: np.ndarray, segments: Any = 14, fill: Any = "mean", quantity: str = "probability"
) -> Measured:
    """Iterative removal of features: the area above the deletion curve of segments, relative to the image's own score.

    irof = 1 - integral over q of s(x without the share q of its segments) / s(x), those with the largest mean first

    Args:
        segments: the number of cells along all axes or each, "slic" for superpixels, labels, or a function of images.
        fill, quantity: as in `deletion`.

    Reference: Rieger & Hansen, IROF: a low resource evaluation metric for explanation methods, arXiv:2003.08747.
    """
    assert case.view is not None
    labels, counts = segment(case.view, segments)
    places = np.broadcast_to(backend.to_host(labels), maps.shape[:-1])
    numbers = np.broadcast_to(counts, len(maps))
    ranks = [_segment_ranks(*image, case.seed) for image in zip(maps, places, numbers, strict=True)]
    steps = np.arange(max(counts) + 1)
    curve = quantities(case, np.stack(ranks), first(steps), fill, quantity)
    shares = np.broadcast_to(np.minimum(steps / numbers[:, None], 1)[:, None], curve.shape)
    start = curve[..., :1]
    relative = np.divide(curve, start, out=np.full_like(curve, np.nan), where=start != 0)
    return Measured(1 - area(relative, shares), {"deletion": curve, "share": shares})


def _segment_ranks(maps: np.ndarray, labels: np.ndarray, number: int, seed: int) -> np.ndarray:
    """The rank of each pixel's segment (*S, K) by the mean of maps (*S, K) over the segment."""
    sums = np.stack([np.bincount(labels.ravel(), of, number) for of in maps.reshape(-1, maps.shape[-1]).T], axis=-1)
    means = sums / np.bincount(labels.ravel(), minlength=number)[:, None]
    return order(means[None].astype("float32"), seed)[0][labels]
