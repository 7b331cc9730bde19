"""The slow twins of `keras_explainable.methods.meta.smooth`. A method is a function (net, x, y) -> (scores, maps)."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from reference.gradient import gradients, reduce_channels
from reference.net import Maps, Net
from reference.resize import bilinear


def smooth(method: Callable, noises: Sequence[np.ndarray]) -> Callable:
    """The mean of a method's scores and maps over the images with each of `noises` added, each (B or 1, *S, C)."""

    def smoothed(net: Net, x: np.ndarray, y: Any = None) -> Maps:
        scores, maps = zip(*(method(net, x + noise, y) for noise in noises), strict=True)
        return np.mean(scores, axis=0), np.mean(maps, axis=0)

    return smoothed


def smoothgrad(
    net: Net, x: np.ndarray, y: Any = None, noises: Sequence[np.ndarray] = (), reduce: str | None = "mean"
) -> Maps:
    """Signed gradients averaged over draws; only then the absolute value, and the channels reduced."""
    scores, g = smooth(lambda *args: gradients(*args, reduce=None), noises)(net, x, y)
    return scores, reduce_channels(g, reduce)


def tta(method: Callable, scales: Sequence[float] = (0.5, 1.5, 2.0), hflip: bool = True) -> Callable:
    """The mean of a method's scores and maps over the images as they are and at each scale, each mirrored as well."""

    def augmented(net: Net, x: np.ndarray, y: Any = None) -> Maps:
        size, passes = x.shape[1:-1], []
        for scale in (None, *scales):
            for flip in (False, True) if hflip else (False,):
                seen = x[..., ::-1, :] if flip else x
                if scale is not None:
                    seen = bilinear(seen, [int(scale * n) for n in size])
                scores, maps = method(net, seen, y)
                maps = bilinear(maps, size)
                passes.append((scores, maps[..., ::-1, :] if flip else maps))
        return sum(s for s, _ in passes) / len(passes), sum(m for _, m in passes) / len(passes)

    return augmented


def ranges(x: np.ndarray) -> np.ndarray:
    """max - min of each image, to be multiplied with noise levels: (B, 1, ..., 1)."""
    return np.array([image.max() - image.min() for image in x]).reshape(-1, *(1,) * (x.ndim - 1))
