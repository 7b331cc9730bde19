"""Test-time augmentation: the mean of a method's maps over resized and mirrored images."""

import functools
import numbers
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from keras import ops

from keras_explainable import registry
from keras_explainable.errors import ExplainError, InputError
from keras_explainable.methods.meta.smooth import LARGEST, flat, windows_of
from keras_explainable.models import Point, View, on_view, opens_view
from keras_explainable.numerics.resize import resize
from keras_explainable.registry import Method
from keras_explainable.runtime.compile_cache import Program, repeated


def tta(method: Method, scales: Sequence[float] = (0.5, 1.5, 2.0), hflip: bool = True) -> Callable:
    """Test-time augmentation: the mean of a method's scores and maps over resized and mirrored images.

    maps = mean over passes of undo(method(do(x)))

    There is one pass at the images' own size and one for each scale, and twice as many with `hflip`. The maps are
    mirrored back and resized to the images, then averaged over all passes.

    Args:
        method: any explaining method, compiled or not, or its name.
        scales: factors of the size of the images, above 0. The model must accept these sizes.
        hflip: whether each pass is repeated on mirrored images.

    Raises:
        InputError: scales are not factors above 0, or the model does not run on images of such a size.
    """
    if np.ndim(scales) != 1 or not all(isinstance(s, numbers.Real) and 0 < s < LARGEST for s in scales):
        raise InputError(
            f"scales={scales!r} came, and factors of the images' size, each above 0, were expected, as in (0.5, 1.5)."
        )
    return _tta(registry.method_of(method), tuple(map(float, scales)), bool(hflip))


@dataclass(frozen=True)
class Pass(Program):
    """The scores and maps of a method for the images at another size, mirrored if `flip`; maps are of the images."""

    method: Callable
    scale: float | None
    flip: bool
    params: dict

    def __call__(self, view: View) -> tuple:
        x, start = view.inputs, 2 if view.adapter.channels_first else 1
        size = tuple(ops.shape(x)[start : start + len(x.shape) - 2])
        seen = ops.flip(x, axis=-1 if start == 2 else -2) if self.flip else x
        if self.scale is not None:
            seen = resize(seen, [_scaled(s, self.scale) for s in size], axis=start)
        scores, maps = on_view(self.method, _taken(view, seen, self.scale), **self.params)
        maps = flat(self.method, maps, len(x.shape))
        maps = view.to_image_size(maps, windows=windows_of(self.method, view, self.params))
        return scores, ops.flip(maps, axis=-2) if self.flip else maps


@functools.lru_cache(maxsize=256)
def _tta(method: Callable, scales: tuple[float, ...], hflip: bool) -> Callable:
    passes = [(scale, flip) for scale in (None, *scales) for flip in ((False, True) if hflip else (False,))]

    @registry.with_traits(repeats=True, at_images=True)
    @registry.with_parameters_of(method)
    @opens_view
    def augmented(view: View, **params: Any) -> tuple:
        if scales and view.adapter.inputs.layout is not None and view.adapter.inputs.layout.windows:
            raise InputError(
                "This model crops or pads its images in a way that depends on their size: use tta(scales=(), ...)."
            )
        if params.get("layer") is None and registry.takes(method, "layer"):
            params["layer"] = Point(*view.signal())  # one signal for all sizes
        scores, maps = 0.0, 0.0
        for scale, flip in passes:
            new_scores, new_maps = repeated(Pass(method, scale, flip, params), view, method)()
            scores, maps = scores + new_scores, maps + new_maps
        return scores / len(passes), maps / len(passes)

    augmented.__name__ = f"{registry.named(method)}_tta"
    return augmented


def _taken(view: View, images: Any, scale: float | None) -> View:
    """The view of the images at another size.

    Raises:
        InputError: the model does not take images of this size.
    """
    if scale is None or view.adapter.black_box:
        return view.of(images, view.indices)
    try:
        return view.of(images, view.indices)
    except ExplainError:
        raise
    except Exception as error:
        raise InputError(
            f"scales={scale:g} makes images of shape {tuple(images.shape)}, and the model cannot run on them: give "
            f"other scales, or scales=() for none. The model's error: {error}"
        ) from error


def _scaled(size: Any, scale: float) -> Any:
    if not isinstance(size, int):
        return ops.cast(ops.cast(size, "float32") * scale, "int32")
    if size * scale < 1:
        raise InputError(f"scales={scale} leaves no pixel of {size}: give a larger scale.")
    return int(size * scale)
