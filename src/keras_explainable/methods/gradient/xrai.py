"""XRAI: the attributions of regions of the image."""

from collections.abc import Callable
from typing import Any

import numpy as np
from keras import ops

from keras_explainable import backend, filters, registry
from keras_explainable.errors import InputError
from keras_explainable.masking.segments import scaled, scikit_image
from keras_explainable.methods.explainer import explainer
from keras_explainable.methods.gradient.integrated_gradients import integrated_gradients
from keras_explainable.models import View, on_view
from keras_explainable.runtime import remarks

SCALES = (50, 100, 150, 250, 500, 1200)  # of the segmentations; larger ones have larger segments


@explainer(
    "gradient",
    "gradient",
    "2 forward + 2 n (forward + K backward)",
    "arXiv:1906.02825",
    postprocessing=filters.positive_normalize,
    repeats=True,
)
def xrai(
    view: View,
    *,
    repetitions: int = 50,
    baseline: Any = None,
    segments: Callable | None = None,
) -> tuple:
    """Integrated gradients averaged over segments of the image, selected in the order of their means.

    maps[b, s, k] = the mean of `integrated_gradients` over the pixels that the region of s added when it was selected

    Regions come from several segmentations. The next region is always the one whose new pixels have the largest mean.
    The authors' code differs: its integrals use even steps that include both ends, it takes the maximum over a pixel's
    channels instead of their sum, and it finds segments at 224 x 224 pixels.

    Args:
        repetitions: see `ke.methods.gradient`.
        baseline: see `ke.methods.gradient`. None is the mean over two baselines: each image's own minimum and maximum.
        segments: a function from an image (*S, C), a NumPy array, to masks (M, *S) or integer labels (L, *S). None
            segments 2-D images at several scales by scikit-image, and widens the segments a little.

    Raises:
        InputError: scikit-image is not installed, or the call is inside tf.function or jax.jit.

    Reference: Kapishnikov et al., XRAI: Better Attributions Through Regions, arXiv:1906.02825.
    """
    if not (segments is None or registry.accepts(segments, "image")):
        raise InputError(f"segments={segments!r} came, and a function from an image to masks was expected.")
    x = view.inputs
    if backend.is_traced(x):
        raise InputError("Segments are found on the host: call `xrai` outside of tf.function and jax.jit.")
    axes = tuple(range(1, len(x.shape)))
    ends = [f(view.x, axis=axes, keepdims=True) for f in (ops.min, ops.max)] if baseline is None else [baseline]
    with remarks.unwanted():
        found = [on_view(integrated_gradients, view, repetitions=repetitions, baseline=end) for end in ends]
    scores, parts = found[0][0], np.mean([backend.to_host(maps) for _, maps in found], axis=0)
    images = backend.to_host(view.x)
    maps = np.zeros(parts.shape, "float32")
    for b, image in enumerate(images):
        masks = as_masks((segments or felzenszwalb)(image), image.shape[:-1])
        for k in range(parts.shape[-1]):
            maps[b, ..., k] = ranked(parts[b, ..., k], masks, max(1, image[..., 0].size // 1000))
    return scores, ops.convert_to_tensor(maps)


def felzenszwalb(image: np.ndarray) -> np.ndarray:
    """Masks (M, H, W) of the segments of an image (H, W, C) at several scales, each dilated by some pixels."""
    skimage = scikit_image("`xrai`", "Or give segments=, a function from an image to masks.")
    if image.ndim != 3:
        raise InputError(
            f"`xrai` segments images of 2 dimensions, and {image.ndim - 1} came: give segments=, a function from an "
            "image to masks."
        )
    # Chosen for photos of 224 x 224 pixels with values in [-1, 1]: segments of at least 150 pixels, dilated by 5.
    least, wider = max(4, round(150 / 224**2 * image[..., 0].size)), max(1, round(5 / 224 * min(image.shape[:2])))
    image, masks, disk = 2 * scaled(image) - 1, [], skimage.morphology.disk(wider)
    for scale in SCALES:
        labels = skimage.segmentation.felzenszwalb(image, scale=scale, sigma=0.8, min_size=least, channel_axis=-1)
        masks += [skimage.morphology.dilation(labels == n, disk) for n in range(labels.max() + 1)]
    return np.stack(masks)


def as_masks(segments: Any, size: tuple) -> np.ndarray:
    """Masks (M, *S) from masks, or from label images (*S) or (L, *S)."""
    given = np.asarray(segments)
    given = given[None] if given.shape == size else given
    if given.shape[1:] != size or given.dtype.kind not in "biu":
        raise InputError(
            f"Segments of shape {given.shape} and type {given.dtype} came for an image of size {size}: masks of "
            "booleans or labels of integers, one or several of the image's size, were expected."
        )
    if given.dtype.kind == "b":
        return given
    return np.concatenate([[labels == n for n in np.unique(labels)] for labels in given])


def ranked(attribution: np.ndarray, masks: np.ndarray, least: int) -> np.ndarray:
    """The mean attribution of the pixels that each region adds. Regions are selected greedily, and each must add at
    least `least` pixels. The remaining pixels get their own mean."""
    # Pixels that lie in the same masks are treated alike, so sums over such groups are enough.
    packed = np.packbits(masks.reshape(len(masks), -1), axis=0).T
    _, first, group = np.unique(packed, axis=0, return_index=True, return_inverse=True)
    group = group.reshape(-1)
    held = masks.reshape(len(masks), -1)[:, first].astype("float64")  # (M, groups)
    area = np.bincount(group).astype("float64")
    mass = np.bincount(group, attribution.reshape(-1).astype("float64"))
    value, left, open_to = np.zeros(len(area)), np.ones(len(area)), np.ones(len(masks), bool)
    while True:
        areas, masses = held @ (area * left), held @ (mass * left)
        open_to &= areas >= least
        if not open_to.any():
            break
        gains = np.where(open_to, masses / np.maximum(areas, 1), -np.inf)
        best = int(gains.argmax())
        new = (held[best] * left) > 0
        value[new], left[new], open_to[best] = gains[best], 0.0, False
    rest = left > 0
    if rest.any():
        value[rest] = mass[rest].sum() / area[rest].sum()
    return value[group].reshape(attribution.shape)
