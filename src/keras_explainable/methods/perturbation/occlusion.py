"""Occlusion: the drop of the score when a window of the image is covered."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from keras import ops

from keras_explainable import filters
from keras_explainable.errors import InputError
from keras_explainable.masking.segments import sizes
from keras_explainable.methods.explainer import explainer
from keras_explainable.methods.perturbation.probe import Probe, spread
from keras_explainable.models import View
from keras_explainable.runtime.repetition import Rows, check_passes


@dataclass(frozen=True)
class Window:
    """Masks (P, *S) that cover windows of the size `patches`, from the positions (P, axes) where the windows begin."""

    patches: tuple[int, ...]
    size: tuple[int, ...]

    def __call__(self, start: Any, places: Any) -> Any:
        covered = 1.0
        for axis, (n, p) in enumerate(zip(self.size, self.patches, strict=True)):
            at = ops.arange(n, dtype="float32") - start[:, axis : axis + 1]
            inside = ops.cast((at >= 0) & (at < p), "float32")
            covered = covered * ops.reshape(inside, (-1, *(n if a == axis else 1 for a in range(len(self.size)))))
        return 1.0 - covered


def where_covered(change: Any, seen: Any, live: Any, start: Any) -> tuple:
    """The sum of the drops of the score times the covered windows, and the sum of the covered windows."""
    return spread(-change, (1 - seen) * ops.reshape(live, (-1, *(1,) * (len(seen.shape) - 1))))


@explainer(
    "perturbation",
    "black box",
    "(1 + windows) forward",
    "arXiv:1311.2901",
    postprocessing=filters.positive_normalize,
    repeats=True,
)
def occlusion(
    view: View,
    *,
    patch: int | Sequence[int] | None = None,
    stride: int | Sequence[int] | None = None,
    baseline: Any = "mean",
    at_once: int | None = None,
) -> tuple:
    """The mean drop of the score when a window that contains the pixel is covered.

    maps[b, s, k] = mean over the windows w that contain s of f(x)[b, k] - f(x with w covered)[b, k]

    Windows begin at every multiple of the stride, and the last ones end at the border of the image. The authors cover
    with grey, not with the image's mean colour.

    Args:
        patch: the size of the window in pixels, for all axes or for each; None is a seventh of the image.
        stride: the distance between windows in pixels, at most `patch`; None is half of it.
        baseline, at_once: see `ke.methods.perturbation`.

    Raises:
        InputError: the stride is above the patch, so that some pixels would never be covered, or there are too many
            windows.

    Reference: Zeiler & Fergus, Visualizing and Understanding Convolutional Networks, arXiv:1311.2901.
    """
    probe = Probe(view, baseline, at_once)
    size = probe.size
    patches = sizes("patch", tuple(-(-s // 7) for s in sizes("size", size, size)) if patch is None else patch, size)
    strides = sizes("stride", tuple(-(-p // 2) for p in patches) if stride is None else stride, size)
    if any(s > p for s, p in zip(strides, patches, strict=True)):
        raise InputError(
            f"stride={strides} is above patch={patches}, so some pixels would never be covered: give a smaller stride="
            " or a larger patch=."
        )
    counts = tuple(-(-(n - p) // s) + 1 for n, p, s in zip(size, patches, strides, strict=True))
    number = math.prod(counts)
    check_passes(f"Windows of {patches} every {strides} pixels", number, "give a larger stride=")

    def starts(start, stop):
        return [np.stack(np.unravel_index(np.arange(start, stop), counts), axis=-1) * strides]

    total, count = probe.sum(Window(patches, size), Rows(number, starts), where_covered)
    return probe.scores, total / count
