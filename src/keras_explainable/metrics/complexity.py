"""Metrics of the complexity of a map, and of its likeness to the edges of the image. They describe maps, and do not
rank them."""

import numpy as np

from keras_explainable.metrics.case import Case
from keras_explainable.metrics.localisation import flat, where_defined
from keras_explainable.metrics.measuring import Measured
from keras_explainable.metrics.metric import metric
from keras_explainable.metrics.ranks import spearman
from keras_explainable.runtime.validation import check_number


def _magnitudes(maps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The absolute values (B, K, P) of maps, and their sums (B, K)."""
    values = np.abs(flat(maps)).astype("float64")
    return values, values.sum(axis=-1)


@metric("complexity", (), "", "none", "by the distribution of values", "arXiv:2005.00631")
def entropy(case: Case, maps: np.ndarray) -> Measured:
    """The entropy of the map's absolute values, relative to that of a constant map.

    - sum over s of p ln p / ln P, with p = |A| / sum |A| and P pixels

    0 for a map with one nonzero pixel, 1 for a constant map. NaN for a map of zeros.

    Reference: Bhatt et al., Evaluating and Aggregating Feature-based Model Explanations, arXiv:2005.00631.
    """
    values, total = _magnitudes(maps)
    shares = where_defined(values, total[..., None] > 0, total[..., None])
    terms = shares * np.log(np.where(shares > 0, shares, 1))
    number = np.log(values.shape[-1])
    # A sum of zeros is 0, not -0.
    return Measured(where_defined(0 - terms.sum(axis=-1), (total > 0) & (number > 0), np.asarray(number)))


@metric("complexity", (), "", "none", "1/3 for uniform values, sqrt(2) - 1 for normal ones", "arXiv:1810.06583")
def gini(case: Case, maps: np.ndarray) -> Measured:
    """The Gini index of the map's absolute values.

    sum over i of (2 i - P - 1) a_i / (P sum a), with a_1 <= ... <= a_P the sorted |A|

    0 for a constant map, 1 - 1/P for a map with one nonzero pixel. NaN for a map of zeros.

    Reference: Chalasani et al., Concise Explanations of Neural Networks using Adversarial Training, arXiv:1810.06583.
    """
    values, total = _magnitudes(maps)
    number = values.shape[-1]
    weights = 2 * np.arange(1, number + 1) - number - 1
    return Measured(where_defined(np.sort(values, axis=-1) @ weights, total > 0, number * total))


@metric("complexity", (), "", "none", "by the distribution of values", "arXiv:2007.07584")
def effective_complexity(case: Case, maps: np.ndarray, share: float = 0.9) -> Measured:
    """The smallest number of pixels that hold a share of the sum of the map's absolute values.

    1 for a map with one nonzero pixel, `share` of the pixels for a constant map. NaN for a map of zeros.

    Args:
        share: of the sum.

    Reference: after Nguyen & Martinez, On quantitative aspects of model interpretability, arXiv:2007.07584.
    """
    check_number("share", share, lambda s: 0 < s <= 1, "a share of the sum, above 0 and at most 1")
    values, total = _magnitudes(maps)
    held = np.cumsum(-np.sort(-values, axis=-1), axis=-1)
    # Sums that equal the share up to rounding count as reaching it.
    few = (held < share * (1 - 1e-12) * held[..., -1:]).sum(axis=-1) + 1
    return Measured(where_defined(few, total > 0))


@metric("complexity", {"images"}, "", "none", "0", "arXiv:1810.03292")
def edge_likeness(case: Case, maps: np.ndarray) -> Measured:
    """Spearman's correlation of the map's absolute values with the edges of the image.

    corr over s of rank |A| and rank |Sobel(x)|

    A map that resembles the edges may depend only on the image, and not on the model. NaN for a constant map or image.

    Reference: after Adebayo et al., Sanity Checks for Saliency Maps, arXiv:1810.03292.
    """
    assert case.images is not None
    strength = flat(edges(case.images)[..., None])
    values = np.abs(flat(maps))
    return Measured(spearman(values, np.broadcast_to(strength, values.shape)))


def edges(images: np.ndarray) -> np.ndarray:
    """The strength of edges (N, *S) of images (N, *S, C): the norm over axes and channels of Sobel's derivatives.

    Along one axis it is the difference of the two neighbours, smoothed by (1, 2, 1) along all others. Pixels at the
    border are repeated."""
    images = np.asarray(images, "float64")
    axes = range(1, images.ndim - 1)
    total = np.zeros(images.shape[:-1])
    for derived in axes:
        found = images
        for axis in axes:
            pad = [(1, 1) if a == axis else (0, 0) for a in range(images.ndim)]
            before, here, after = (
                np.pad(found, pad, "edge").take(np.arange(images.shape[axis]) + offset, axis=axis)
                for offset in (0, 1, 2)
            )
            found = after - before if axis == derived else before + 2 * here + after
        total += (found**2).sum(axis=-1)
    return np.sqrt(total)
