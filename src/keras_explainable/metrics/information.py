"""The performance information curve: how much information the model must be shown to recognise the class."""

import math
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from keras_explainable import backend
from keras_explainable.errors import InputError
from keras_explainable.masking.fill import filling
from keras_explainable.metrics.case import Case
from keras_explainable.metrics.confidence import ends
from keras_explainable.metrics.curves import area, last, ranked
from keras_explainable.metrics.localisation import where_defined
from keras_explainable.metrics.masked import Read, units_of
from keras_explainable.metrics.measuring import Measured
from keras_explainable.metrics.metric import metric
from keras_explainable.metrics.order import order, removed
from keras_explainable.metrics.quantities import link_of
from keras_explainable.runtime.compile_cache import frozen, repeated
from keras_explainable.runtime.progress import counted
from keras_explainable.runtime.repetition import computed, copies_of
from keras_explainable.runtime.validation import at_once_of

SHOWN = (0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.07, 0.1, 0.13, 0.21, 0.34, 0.5, 0.75)


@metric("faithfulness", {"model"}, "higher", "13 forward", "as a random order", "arXiv:1906.02825")
def pic(
    case: Case,
    maps: np.ndarray,
    fill: Any = "blur",
    thresholds: Sequence[float] = SHOWN,
    quantity: str = "probability",
) -> Measured:
    """The area under the performance information curve: the score over the information that the model is shown.

    Pixels are shown in a filled image, those with the largest values first. Information is the compressed size of this
    image. Both axes are scaled: 0 for the image without any of its pixels, and 1 for the image itself. Points are
    sorted by their information, and those of equal information are averaged. The authors' code uses the running maximum
    of the scores, which noise increases. NaN unless the image itself has the larger score and size.

    Sizes are those of zlib, for differences of neighbouring pixels along the last axis, with 8 bits over each image's
    range. They may differ slightly between versions of zlib.

    Args:
        fill: see `ke.metrics`. The authors interpolate from one random pixel in a hundred.
        thresholds: the shares of pixels that are shown.
        quantity: "probability" for the softmax information curve (SIC), "accuracy" for the accuracy information curve
            (AIC), or as in `deletion`.

    Reference: Kapishnikov et al., XRAI: Better Attributions Through Regions, arXiv:1906.02825.
    """
    shares = np.asarray(thresholds, "float64")
    if shares.ndim != 1 or not len(shares) or not ((shares > 0) & (shares < 1)).all():
        raise InputError(f"thresholds={thresholds!r} came, and shares of the pixels between 0 and 1 were expected.")
    start, stop = np.moveaxis(ends(case, maps.shape, fill, quantity), -1, 0)[::-1, ..., None]
    scores, sizes = _evaluated(case, maps, np.sort(shares), fill, quantity)
    low, high = np.moveaxis(_end_sizes(case, fill), -1, 0)[..., None, None]
    defined = (stop > start) & (high > low)
    along = np.clip(where_defined(sizes - low, defined, high - low), 0, 1)
    up = np.clip(where_defined(scores - start, defined, stop - start), 0, 1)
    zero = np.where(defined, 0.0, np.nan)
    curves = {
        "information": np.concatenate([zero, along, zero + 1], axis=-1),
        "score": np.concatenate([zero, up, zero + 1], axis=-1),
    }
    values = [
        [under(*curve) for curve in zip(*image, strict=True)]
        for image in zip(curves["information"], curves["score"], strict=True)
    ]
    return Measured(np.array(values), curves)


def under(x: np.ndarray, y: np.ndarray) -> float:
    """The area under points (x, y), sorted by x. The y of equal x are averaged. NaN if they are not numbers."""
    if not np.isfinite(x).all():
        return float("nan")
    places, of = np.unique(x, return_inverse=True)
    return float(area(np.bincount(of, y) / np.bincount(of), places))


def _evaluated(case: Case, maps: np.ndarray, shares: np.ndarray, fill: Any, quantity: str) -> tuple:
    """The quantity and the size, each (B, K, T), of images that show some shares of their pixels."""
    view = case.view
    assert view is not None
    number = math.prod(maps.shape[1:-1])
    bounds = np.array(last(removed(number, shares), number), "int32")
    program, start = filling(view, fill, case.seed)
    read = repeated(Read(quantity, link_of(view)), view.of(view.inputs, None))
    units, ranks = units_of(case, maps.shape[-1]), order(maps, case.seed).astype("int32")
    images = backend.to_host(view.x)
    steps, together = copies_of(len(bounds), view.x, at_once_of(case.at_once, view.x))
    at = np.minimum(np.arange(steps * together), len(bounds) - 1)  # the last one fills the last step
    scores, sizes = (np.zeros((*units.shape, len(bounds))) for _ in range(2))
    for k in counted(range(units.shape[1])):
        of, places = ops.convert_to_tensor(units[:, k : k + 1]), ops.convert_to_tensor(ranks[..., k])
        for some in np.split(at, steps):
            low, high = map(ops.convert_to_tensor, bounds[some].T)
            copies = program(view.x, start, 1 - ranked(places, low, high))
            (found,) = computed([read(copies, of)])
            scores[:, k, some] = backend.to_host(found)[..., 0]
            sizes[:, k, some] = _sizes(backend.to_host(copies), images).T
    return scores, sizes


def _end_sizes(case: Case, fill: Any) -> np.ndarray:
    """The sizes (B, 2) of images without any of their pixels, and of the images themselves."""

    def evaluated() -> np.ndarray:
        assert case.view is not None
        x = case.view.x
        program, start = filling(case.view, fill, case.seed)
        nowhere = ops.zeros((1, *x.shape[:-1]), "float32")
        images = backend.to_host(x)
        return _sizes(np.stack([backend.to_host(program(x, start, nowhere))[0], images]), images).T

    return case.once(("sizes", frozen(fill)), evaluated)


def _sizes(copies: np.ndarray, images: np.ndarray) -> np.ndarray:
    """The sizes (P, B) of copies (P, B, *S, C) of images."""
    return np.array([[size(copy, image) for copy, image in zip(row, images, strict=True)] for row in copies], "float64")


def size(copy: np.ndarray, image: np.ndarray) -> int:
    """The compressed size in bytes of a changed copy (*S, C) of an image, with 8 bits for the image's range."""
    low, high = float(image.min()), float(image.max())
    values = np.clip(np.floor((copy - low) / max(high - low, 1e-30) * 255 + 0.5), 0, 255).astype("uint8")
    return len(zlib.compress(np.diff(values, axis=-2, prepend=np.zeros_like(values[..., :1, :])).tobytes(), 9))
