"""Metrics of localisation that have one value for a whole dataset: pixels or images are pooled.

For a bootstrap interval, images must be resampled, since single images have no value: give `weights`, the number of
times that each resample contains each image.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_explainable.errors import InputError
from keras_explainable.masking.segments import scikit_image
from keras_explainable.metrics.inputs import maps_of, masks_of
from keras_explainable.metrics.localisation import flat, overlaps
from keras_explainable.runtime.validation import check_number

BINS = 1000  # of a map's range
GRID = tuple(n / 20 for n in range(1, 20))
ROWS = 64  # images that are measured together


def pixel_ap(maps: Any, masks: Any, weights: Any = None) -> Any:
    """The average precision of all pixels of a dataset (PxAP): how well one threshold finds the pixels of all objects.

    Each map is scaled to values from 0 to 1, and these are rounded down to a thousandth. Images with an empty mask are
    left out. Random maps have the masks' share of the pixels.

    Args:
        maps: (N, *S, K).
        masks: (N, *S) or (N, *S, K).
        weights: None, or how often each image counts, (N,), or (R, N) for R values.

    Returns:
        A number, NaN if all masks are empty; or (R,) numbers.

    Reference: Choe et al., Evaluation for Weakly Supervised Object Localization: Protocol, Metrics, and Datasets,
    arXiv:2007.04178.
    """
    maps = maps_of(maps)
    masks = masks_of(masks, maps)
    counts = []  # of pixels in each bin, outside and inside of the masks
    for values, where in zip(*_rows(maps, masks), strict=True):
        bins = np.floor(flat(_scaled(values)) * BINS).astype("int64") + (BINS + 1) * flat(where)
        for image, mask in zip(bins, flat(where), strict=True):
            some = image[mask.any(axis=-1)]
            counts.append(np.bincount(some.ravel(), minlength=2 * (BINS + 1)))
    weighted, many = _weights(weights, len(maps))
    both = (weighted @ np.array(counts, "float64")).reshape(-1, 2, BINS + 1)[..., ::-1]
    found, wrong = np.cumsum(both[:, 1], axis=-1), np.cumsum(both[:, 0], axis=-1)
    precision = found / np.maximum(found + wrong, 1e-30)
    every = found[:, -1]
    values = (precision * both[:, 1]).sum(axis=-1) / np.where(every > 0, every, np.nan)
    return values if many else float(values[0])


def max_box_accuracy(
    maps: Any,
    masks: Any = None,
    boxes: Sequence[Any] | None = None,
    weights: Any = None,
    least: Sequence[float] = (0.3, 0.5, 0.7),
    thresholds: int = 100,
) -> Any:
    """The share of images whose object is found by a box (MaxBoxAccV2).

    mean over d of the maximum over t of the share of images where a box of the pixels >= t overlaps the object's box by
    d or more

    Each map is scaled to values from 0 to 1. Each connected group of pixels above the threshold has a box, and any of
    them may overlap any of the image's objects. The threshold is the same for all images, because choosing the best one
    for each image would make the value too good. The box of a constant map is the whole image.

    Args:
        maps: (N, *S, K).
        masks: (N, *S) or (N, *S, K): the boxes around each connected group of a mask are the objects'. Images with an
            empty mask are left out.
        boxes: in place of masks, (n, 4) boxes for each of N images: left, top, right and bottom, in pixels. Those of an
            image are for all its units. Images without a box are left out.
        weights: as in `pixel_ap`.
        least: d, the overlaps from which a box counts, as intersection over union.
        thresholds: the number of thresholds, from 0.

    Returns:
        A number, NaN if there are no boxes; or (R,) numbers.

    Raises:
        InputError: scikit-image is not installed, or `masks` and `boxes` came both, or neither.

    Reference: Choe et al., Evaluation for Weakly Supervised Object Localization: Protocol, Metrics, and Datasets,
    arXiv:2007.04178.
    """
    check_number("thresholds", thresholds, lambda n: float(n).is_integer() and n >= 1, "a whole number, at least one,")
    scikit_image("`max_box_accuracy`", "Or use `pixel_ap`.")
    maps = maps_of(maps)
    known = _object_boxes(maps, masks, boxes)
    levels = np.arange(int(thresholds)) / int(thresholds)
    hits = np.zeros((len(maps), len(levels), len(least)))
    counted = np.zeros(len(maps))
    for b, units in enumerate(known):
        for k, objects in enumerate(units):
            if not len(objects):
                continue
            counted[b] += 1
            scaled = _scaled(maps[b : b + 1, ..., k : k + 1])[0, ..., 0]
            for t, level in enumerate(levels):
                hits[b, t] += box_overlaps(boxes_of(scaled >= level), objects).max(initial=0) >= np.asarray(least)
    weighted, many = _weights(weights, len(maps))
    number = weighted @ counted
    share = np.einsum("rn,ntd->rtd", weighted, hits) / np.where(number > 0, number, np.nan)[:, None, None]
    values = share.max(axis=1).mean(axis=-1)
    return values if many else float(values[0])


def best_threshold(maps: Any, masks: Any, thresholds: Sequence[float] = GRID) -> float:
    """The threshold with the largest mean `iou` over images and units, for use on other images.

    Args:
        maps, masks: as in `pixel_ap`.
        thresholds: those to choose from, as shares of each map's maximum.
    """
    means, _ = _mean_overlaps(maps, masks, thresholds)
    if not np.isfinite(means).any():
        raise InputError("No threshold can be chosen: all masks are empty, or all maps have no positive value.")
    return float(list(thresholds)[int(np.argmax(np.nanmean(means, axis=(0, 1))))])


def left_out_iou(maps: Any, masks: Any, groups: Any = None, thresholds: Sequence[float] = GRID) -> np.ndarray:
    """`iou` of each image with the threshold that is best on average on all other images.

    Args:
        maps, masks: as in `pixel_ap`.
        groups: (N,) labels. Images of the same group are left out together, such as those of one scene.
        thresholds: those to choose from, as shares of each map's maximum.

    Returns:
        (N, K), NaN where `iou` is, or where there is no other image.
    """
    found, number = _mean_overlaps(maps, masks, thresholds)
    labels = np.arange(len(found)) if groups is None else np.asarray(groups)
    if labels.shape != (len(found),):
        raise InputError(f"groups of shape {labels.shape} came, and {(len(found),)} was expected: one for each image.")
    values = np.full(found.shape[:2], np.nan)
    known = np.nan_to_num(found)
    total = known.sum(axis=(0, 1))
    for label in np.unique(labels):
        own = labels == label
        if number.sum() > number[own].sum():
            values[own] = found[own][..., int(np.argmax(total - known[own].sum(axis=(0, 1))))]
    return values


def boxes_of(chosen: np.ndarray) -> np.ndarray:
    """The boxes (n, 2, rank) around each connected group of chosen pixels (*S): the first pixel, and the one after the
    last, along each axis. Pixels that touch at a corner are connected."""
    import skimage.measure

    labels = skimage.measure.label(chosen, connectivity=chosen.ndim)
    found = [[(s.start, s.stop) for s in region.slice] for region in skimage.measure.regionprops(labels)]
    return np.array(found, "float64").reshape(-1, chosen.ndim, 2).swapaxes(1, 2)


def box_overlaps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union (m, n) of boxes (m, 2, rank) and (n, 2, rank)."""
    sides = np.minimum(a[:, None, 1], b[None, :, 1]) - np.maximum(a[:, None, 0], b[None, :, 0])
    both = np.prod(np.maximum(sides, 0), axis=-1)
    one, other = (np.prod(np.maximum(v[:, 1] - v[:, 0], 0), axis=-1) for v in (a, b))
    return both / np.maximum(one[:, None] + other[None] - both, 1e-30)


def _scaled(maps: np.ndarray) -> np.ndarray:
    """Each map (B, *S, K) scaled to values from 0 to 1; zeros if it is constant."""
    axes = tuple(range(1, maps.ndim - 1))
    low, high = (f(maps, axis=axes, keepdims=True).astype("float64") for f in (np.min, np.max))
    return (maps - low) / np.where(high > low, high - low, 1)


def _rows(*arrays: np.ndarray) -> tuple[list[np.ndarray], ...]:
    """Some rows of each array at a time."""
    starts = range(0, len(arrays[0]), ROWS)
    return tuple([array[start : start + ROWS] for start in starts] for array in arrays)


def _mean_overlaps(maps: Any, masks: Any, thresholds: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """The overlaps (N, K, T) at each threshold, NaN for empty masks and maps without positive values; and how many of
    each image's are known."""
    for threshold in thresholds:
        check_number("thresholds", threshold, lambda t: 0 < t <= 1, "shares of the map's maximum, above 0, at most 1")
    maps = maps_of(maps)
    masks = masks_of(masks, maps)
    parts = [overlaps(m, y, list(thresholds)) for m, y in zip(*_rows(maps, masks), strict=True)]
    found = np.where(flat(masks).mean(axis=-1)[..., None] > 0, np.concatenate(parts), np.nan)
    return found, np.isfinite(found[..., 0]).sum(axis=-1)


def _weights(weights: Any, number: int) -> tuple[np.ndarray, bool]:
    """Weights (R, N), and whether they ask for several values."""
    given = np.ones(number) if weights is None else np.asarray(weights, "float64")
    if given.ndim not in (1, 2) or given.shape[-1] != number or not (given >= 0).all():
        raise InputError(
            f"weights of shape {given.shape} came, and ({number},) or (R, {number}) was expected: how often each image "
            "counts, 0 or more."
        )
    return given.reshape(-1, number), given.ndim == 2


def _object_boxes(maps: np.ndarray, masks: Any, boxes: Any) -> list[list[np.ndarray]]:
    """For each image and unit, the objects' boxes (n, 2, rank)."""
    number, *size, units = maps.shape
    if (masks is None) == (boxes is None):
        raise InputError(
            f"{'masks= and boxes=' if boxes is not None else 'Neither masks= nor boxes='} came: give one of them."
        )
    if masks is not None:
        where = masks_of(masks, maps)
        return [[boxes_of(where[b, ..., k]) for k in range(units)] for b in range(number)]
    if len(size) != 2:
        raise InputError(f"boxes= are for images of 2 dimensions, and maps of {len(size)} came: give masks=.")
    if len(boxes) != number:
        raise InputError(f"{len(boxes)} images' boxes came for {number} images: give (n, 4) boxes for each image.")
    found = []
    for b, some in enumerate(boxes):
        given = np.asarray(some, "float64")
        if given.size and (given.ndim != 2 or given.shape[1] != 4):
            raise InputError(f"Boxes of shape {given.shape} came for image {b}, and (n, 4) was expected.")
        # left, top, right, bottom are columns and rows; maps have rows first
        found.append([given.reshape(-1, 2, 2)[..., ::-1]] * units)
    return found
