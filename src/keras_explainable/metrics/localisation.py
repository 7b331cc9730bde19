"""Metrics of where a map points: how well it agrees with the mask of the object.

They say how plausible a map is to a person, not how faithful it is to the model: a model may rightly use the context.
A mask that covers much of the image is hit by chance, so each metric takes `corrected=True`, which gives
(v - chance) / (1 - chance): 0 for a random map, 1 for a perfect one. This is NaN where the mask is the whole image.
"""

from typing import Any

import numpy as np

from keras_explainable.errors import InputError
from keras_explainable.metrics.case import Case
from keras_explainable.metrics.measuring import Measured
from keras_explainable.metrics.metric import metric
from keras_explainable.metrics.order import order
from keras_explainable.metrics.ranks import average_ranks, rank_range
from keras_explainable.runtime.validation import check_number

AREA = "the mask's share of the pixels"


def flat(values: np.ndarray) -> np.ndarray:
    """Values (B, *S, K) as (B, K, P)."""
    return np.moveaxis(values, -1, 1).reshape(len(values), values.shape[-1], -1)


def where_defined(value: np.ndarray, defined: np.ndarray, over: np.ndarray | None = None) -> np.ndarray:
    """`value`, or `value / over`, where it is defined; NaN elsewhere."""
    if over is not None:
        value = value / np.where(defined, over, 1)
    return np.where(defined, value, np.nan)


def _measured(case: Case, value: np.ndarray, chance: Any, corrected: bool) -> Measured:
    """Values (B, K) of a case, NaN where a mask is empty, corrected for chance if that is asked for."""
    value = where_defined(value, _share(case) > 0)
    if corrected:
        value = where_defined(value - chance, np.asarray(chance < 1), 1 - chance)
    return Measured(value)


def _masks(case: Case) -> np.ndarray:
    assert case.masks is not None
    return flat(case.masks)


def _share(case: Case) -> np.ndarray:
    """The share of pixels (B, K) in the mask."""
    return _masks(case).mean(axis=-1)


@metric("localisation", {"masks"}, "higher", "none", AREA, "arXiv:1608.00507")
def pointing_game(case: Case, maps: np.ndarray, tolerance: float = 0, corrected: bool = False) -> Measured:
    """The share of the map's maxima that lie in the mask.

    Usually there is one maximum, and the value is 1 or 0. If several pixels have the largest value, all of them count:
    a constant map has the mask's share of the image. NaN for an empty mask.

    Args:
        tolerance: pixels up to this distance from the mask count as well, measured between pixels' centres. The authors
            take 15, and so do others for photos of several hundred pixels.
        corrected: whether to correct for chance, which is the share of the mask and its surroundings.

    Reference: Zhang et al., Top-down Neural Attention by Excitation Backprop, arXiv:1608.00507.
    """
    check_number("tolerance", tolerance, lambda t: 0 <= t <= 10_000, "a number of pixels from 0 to 10,000")
    assert case.masks is not None
    near = flat(dilated(case.masks, float(tolerance)))
    values = flat(maps)
    top = values == values.max(axis=-1, keepdims=True)
    return _measured(case, (near & top).sum(axis=-1) / top.sum(axis=-1), near.mean(axis=-1), corrected)


def dilated(masks: np.ndarray, distance: float) -> np.ndarray:
    """Masks (B, *S, K) that also contain all pixels up to this distance from them."""
    squares = np.where(masks, 0.0, np.inf).astype("float32")
    for axis in range(1, masks.ndim - 1):
        number = masks.shape[axis]
        reach = min(int(distance), number - 1)
        padded = np.pad(squares, [(reach, reach) if a == axis else (0, 0) for a in range(masks.ndim)], "edge")
        # The copies of the edge are farther away than the edge itself, so they never give the least square.
        for offset in range(-reach, reach + 1):
            moved = np.take(padded, np.arange(number) + reach + offset, axis=axis) + np.float32(offset**2)
            squares = np.minimum(squares, moved)
    return squares <= distance**2


def mass_share(maps: np.ndarray, within: np.ndarray, whole: np.ndarray | None = None) -> np.ndarray:
    """The share (B, K) of the sum of positive values that lies `within` a mask, of that in a `whole` one or in the
    image. NaN if there are none. Maps and masks are (B, *S, K)."""
    mass = flat(np.maximum(maps, 0)).astype("float64")
    total = (mass if whole is None else mass * flat(whole)).sum(axis=-1)
    return where_defined((mass * flat(within)).sum(axis=-1), total > 0, total)


@metric("localisation", {"masks"}, "higher", "none", AREA, "arXiv:2003.07258")
def mass_accuracy(case: Case, maps: np.ndarray, corrected: bool = False) -> Measured:
    """The share of the map's positive values that lies in the mask.

    sum over the mask of max(A, 0) / sum over the image of max(A, 0)

    A constant positive map has the mask's share of the image. NaN for an empty mask, and for a map without positive
    values.

    Args:
        corrected: whether to correct for chance, which is the mask's share of the image.

    Reference: Arras et al., CLEVR-XAI: A benchmark dataset for the ground truth evaluation of neural network
    explanations, arXiv:2003.07258.
    """
    assert case.masks is not None
    return _measured(case, mass_share(maps, case.masks), _share(case), corrected)


@metric("localisation", {"masks"}, "higher", "none", AREA, "arXiv:2003.07258")
def rank_accuracy(case: Case, maps: np.ndarray, corrected: bool = False) -> Measured:
    """The share of the n pixels with the largest values that lie in the mask, where n is the mask's number of pixels.

    Equal values are ordered by a hash of the seed and the pixel: a constant map has a random order, and on average the
    mask's share of the image. NaN for an empty mask.

    Args:
        corrected: whether to correct for chance, which is the mask's share of the image.

    Reference: Arras et al., CLEVR-XAI: A benchmark dataset for the ground truth evaluation of neural network
    explanations, arXiv:2003.07258.
    """
    masks = _masks(case)
    number = masks.sum(axis=-1)
    top = flat(order(maps, case.seed)) < number[..., None]
    return _measured(case, (top & masks).sum(axis=-1) / np.maximum(number, 1), _share(case), corrected)


@metric("localisation", {"masks"}, "higher", "none", "0.5", "doi:10.1148/radiology.143.1.7063747")
def roc_auc(case: Case, maps: np.ndarray, corrected: bool = False) -> Measured:
    """The probability that a pixel in the mask has a larger value than one outside of it: the area under the ROC curve.

    Equal values count one half, so a constant map has .5. NaN if the mask is empty or the whole image.

    Args:
        corrected: whether to correct for chance, which is .5.

    Reference: Hanley & McNeil, The Meaning and Use of the Area under a Receiver Operating Characteristic (ROC) Curve,
    Radiology 143, 1982, doi:10.1148/radiology.143.1.7063747.
    """
    masks = _masks(case)
    inside, outside = masks.sum(axis=-1), (~masks).sum(axis=-1)
    # The number of correctly ordered pairs is the sum of ranks, minus the ranks of the pixels among themselves.
    pairs = (average_ranks(flat(maps)) * masks).sum(axis=-1) - inside * (inside - 1) / 2
    value = where_defined(pairs, inside * outside > 0, inside * outside)
    return _measured(case, value, 0.5, corrected)


@metric("localisation", {"masks"}, "higher", "none", AREA, "doi:10.1145/1143844.1143874")
def average_precision(case: Case, maps: np.ndarray, corrected: bool = False) -> Measured:
    """The mean precision over the pixels in the mask: for each, the share of pixels with at least its value that lie in
    the mask.

    It is the area under the precision-recall curve without interpolation. A constant map has the mask's share of the
    image; maps of random values have a little more if there are few pixels. NaN for an empty mask.

    Args:
        corrected: whether to correct for chance, which is the mask's share of the image.

    Reference: Davis & Goadrich, The Relationship Between Precision-Recall and ROC Curves, ICML 2006,
    doi:10.1145/1143844.1143874.
    """
    masks = _masks(case)
    values = flat(maps)
    least = rank_range(values)[0]
    above = values.shape[-1] - least  # pixels with at least this value
    ordered = np.argsort(-least, axis=-1, kind="stable")
    found = np.cumsum(np.take_along_axis(masks, ordered, axis=-1), axis=-1)
    hits = np.take_along_axis(found, above - 1, axis=-1)  # those of them in the mask
    number = masks.sum(axis=-1)
    return _measured(case, (hits / above * masks).sum(axis=-1) / np.maximum(number, 1), _share(case), corrected)


@metric("localisation", {"masks"}, "higher", "none", "depends on the threshold", "arXiv:1512.04150")
def iou(case: Case, maps: np.ndarray, threshold: float = 0.2, corrected: bool = False) -> Measured:
    """The overlap of the mask with the pixels whose value is at least a share of the map's maximum.

    |S and Y| / |S or Y|, with S = the pixels where A >= threshold * max A

    The best threshold differs between methods, and one that is chosen on the measured image itself makes the value too
    good. Choose it on other images by `ke.metrics.best_threshold`, or use `ke.metrics.left_out_iou`, which chooses it
    for each image on all others. A constant positive map has the mask's share of the image. NaN for an empty mask, and
    for a map without positive values.

    Args:
        threshold: a share of the map's maximum. The authors of CAM take .2.
        corrected: whether to correct for the value of a constant map, the mask's share of the image.

    Reference: Zhou et al., Learning Deep Features for Discriminative Localization, arXiv:1512.04150.
    """
    check_number("threshold", threshold, lambda t: 0 < t <= 1, "a share of the map's maximum, above 0 and at most 1")
    assert case.masks is not None
    return _measured(case, overlaps(maps, case.masks, [float(threshold)])[..., 0], _share(case), corrected)


def overlaps(maps: np.ndarray, masks: np.ndarray, thresholds: list[float]) -> np.ndarray:
    """The overlap (B, K, T) of masks with the pixels of maps above each threshold, a share of the map's maximum."""
    values, where = flat(maps), flat(masks)
    most = values.max(axis=-1, keepdims=True)
    found = []
    for threshold in thresholds:
        chosen = values >= np.float32(threshold) * most
        found.append((chosen & where).sum(axis=-1) / np.maximum((chosen | where).sum(axis=-1), 1))
    return where_defined(np.stack(found, axis=-1), most > 0)


@metric("localisation", {"masks"}, "higher", "none", "0.5", "arXiv:2109.15035")
def focus(case: Case, maps: np.ndarray, corrected: bool = False) -> Measured:
    """The share of the map's positive values in the quadrants of a mosaic that show the class.

    Each mosaic shows two images of the class and two of others, so chance is .5 (`ke.metrics.mosaics` makes some, with
    their masks). NaN for an empty mask, and for a map without positive values.

    Args:
        corrected: whether to correct for chance, which is the share of these quadrants.

    Reference: Arias-Duart et al., Focus! Rating XAI Methods and Finding Biases, arXiv:2109.15035.
    """
    assert case.masks is not None
    return _measured(case, mass_share(maps, case.masks), _share(case), corrected)


@metric("localisation", {"masks"}, "higher", "none", "the own share of all objects' area", "arXiv:1907.09701")
def class_selectivity(case: Case, maps: np.ndarray, corrected: bool = False) -> Measured:
    """The share of the own object in the map's positive values on all objects.

    sum over the own object of max(A, 0) / sum over all objects of max(A, 0)

    `masks` are those of the own objects, and `others` (N, *S) or (N, *S, K) those of all other objects. Without
    `others`, the masks of the other units are the other objects. NaN where the own mask is empty, no other object is
    in the image, or the map has no positive value on any object.

    Args:
        corrected: whether to correct for chance, which is the own object's share of the objects' area.

    Reference: after Yang & Kim, Benchmarking Attribution Methods with Relative Feature Importance, arXiv:1907.09701.
    """
    masks = case.masks
    assert masks is not None
    if case.others is None and masks.shape[-1] == 1:
        raise InputError(
            "class_selectivity: the mask of one object came: give others=, the masks of all other objects, or maps and "
            "masks of several units."
        )
    objects = masks.any(axis=-1, keepdims=True) if case.others is None else masks | case.others
    objects = np.broadcast_to(objects, masks.shape)
    own, all_of = flat(masks).sum(axis=-1), flat(objects).sum(axis=-1)
    value = where_defined(mass_share(maps, masks, objects), all_of > own)
    return _measured(case, value, own / np.maximum(all_of, 1), corrected)
