"""Occlusion, and what the methods that perturb images have in common.

They need only the scores of a model. Copies x o m + baseline o (1 - m) of each image are evaluated; a mask m is 1 where
the image is seen. Their common parameters:

- `baseline`: what covers the image: "mean", each image's own mean colour, which lies in any range of images; or, in
  that range, a number, a colour (C,), or images.
- `at_once`: perturbed images that are evaluated together; at least one copy of each image of the batch is. None: 32,
  but fewer large ones on PyTorch's CPU, which is faster so. Maps do not depend on it.
- `score`, `indices`: see `ke.methods`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from keras import ops

from keras_explainable import filters
from keras_explainable.errors import InputError
from keras_explainable.methods.explainer import explainer
from keras_explainable.methods.perturbation.probe import Probe, laid, sizes
from keras_explainable.methods.repetition import Rows, check_passes
from keras_explainable.models import View
from keras_explainable.runtime.compile_cache import repeats


@dataclass(frozen=True)
class Window:
    """Masks (P, *S) that cover a window of the size `patches`, by where it begins (P, axes)."""

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
    """The sums of the falls of scores times what is covered, and of what is covered (see `laid`)."""
    return laid(-change, (1 - seen) * ops.reshape(live, (-1, *(1,) * (len(seen.shape) - 1))))


@repeats
@explainer(
    "perturbation", "black box", "(1 + windows) forward", "arXiv:1311.2901", postprocessing=filters.positive_normalize
)
def occlusion(
    view: View,
    *,
    patch: int | Sequence[int] | None = None,
    stride: int | Sequence[int] | None = None,
    baseline: Any = "mean",
    at_once: int | None = None,
) -> tuple:
    """How much the score falls when a patch is covered: simple, and true to any model.

    maps[b, s, k] = mean over the windows w that cover s of f(x)[b, k] - f(x with w covered)[b, k]

    Windows begin at every multiple of the stride; the last ones end with the image. The authors cover with gray, and
    not with the image's mean colour.

    Args:
        patch: the window's size in pixels, for all axes or each; by default a seventh of the image.
        stride: the distance of windows, at most the patch; by default half the patch.
        baseline, at_once: see `ke.methods.perturbation`.

    Reference: Zeiler & Fergus, Visualizing and Understanding Convolutional Networks, arXiv:1311.2901.
    """
    probe = Probe(view, baseline, at_once)
    size = probe.size
    patches = sizes("patch", tuple(-(-s // 7) for s in sizes("size", size, size)) if patch is None else patch, size)
    strides = sizes("stride", tuple(-(-p // 2) for p in patches) if stride is None else stride, size)
    if any(s > p for s, p in zip(strides, patches, strict=True)):
        raise InputError(f"stride={strides} is above patch={patches}: some pixels would never be covered.")
    counts = tuple(-(-(n - p) // s) + 1 for n, p, s in zip(size, patches, strides, strict=True))
    number = math.prod(counts)
    check_passes(f"Windows of {patches} every {strides} pixels", number, "give a larger stride=")

    def starts(start, stop):
        return [np.stack(np.unravel_index(np.arange(start, stop), counts), axis=-1) * strides]

    total, count = probe.sum(Window(patches, size), Rows(number, starts), where_covered)
    return probe.scores, total / count
