"""The mean of a method's maps over views of the images."""

import functools
import numbers
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from keras import ops

from keras_explainable import models, registry
from keras_explainable.errors import ExplainError, InputError
from keras_explainable.methods.meta.smooth import LARGEST, as_float, flat
from keras_explainable.numerics.resize import resize
from keras_explainable.registry import Method
from keras_explainable.runtime.compile_cache import frozen, repeated, repeats


def tta(method: Method, scales: Sequence[float] = (0.5, 1.5, 2.0), hflip: bool = True) -> Callable:
    """The mean of a method's scores and maps over the images at several sizes, each as it is and mirrored.

    maps = mean over passes of undo(method(do(x))): one pass at the images' own size and one for each scale, twice as
    many with `hflip`; the maps are mirrored back and resized to the images, then averaged over all passes.

    Args:
        method: any explaining method, compiled or not, or its name.
        scales: factors of the images' size, above 0. The model must accept such sizes.
        hflip: whether each pass is repeated on mirrored images.
    """
    if np.ndim(scales) != 1 or not all(isinstance(s, numbers.Real) and 0 < s < LARGEST for s in scales):
        raise InputError(f"scales={scales!r}: factors of the images' size, each above 0, were expected: (0.5, 1.5).")
    return _tta(registry.method_of(method), tuple(map(float, scales)), bool(hflip))


@functools.lru_cache(maxsize=256)
def _tta(method: Callable, scales: tuple[float, ...], hflip: bool) -> Callable:
    passes = [(scale, flip) for scale in (None, *scales) for flip in ((False, True) if hflip else (False,))]

    @repeats
    @registry.with_parameters_of(method)
    def augmented(model: Any, inputs: Any, indices: Any = None, **params: Any) -> tuple:
        x = as_float(inputs)
        units = models.units(model, x, indices, params.get("score"))
        view = models.view(model, x)
        start = 2 if view.adapter.channels_first else 1
        if scales and view.adapter.inputs.front is not None and view.adapter.inputs.front.windows:
            raise InputError("This model crops or pads its images, of each size otherwise: use tta(scales=(), ...).")
        if params.get("layer") is None and registry.takes(method, "layer"):
            params["layer"] = view.signal()  # one signal for all sizes

        def once(subject, x, units, scale, flip):
            size = tuple(ops.shape(x)[start : start + len(x.shape) - 2])
            seen = ops.flip(x, axis=-1 if start == 2 else -2) if flip else x
            if scale is not None:
                seen = resize(seen, [_scaled(s, scale) for s in size], axis=start)
                _check_taken(subject, seen, scale)
            scores, maps = method(subject, seen, units, **params)
            places = models.windows(subject, x, params) if registry.of_layer(method) else None
            maps = models.resized(subject, x, flat(method, maps, len(x.shape)), windows=places)
            return scores, ops.flip(maps, axis=-2) if flip else maps

        scores, maps = 0.0, 0.0
        for scale, flip in passes:
            key = frozen(["tta", method, scale, flip, params])
            run = repeated(functools.partial(once, scale=scale, flip=flip), key, model, method, x)
            new_scores, new_maps = run(x, units)
            scores, maps = scores + new_scores, maps + new_maps
        return scores / len(passes), maps / len(passes)

    augmented.__name__ = f"{registry.named(method)}_tta"
    augmented.at_images = True  # type: ignore[attr-defined]
    return augmented


def _check_taken(model: Any, images: Any, scale: float) -> None:
    """Refuse a scale that makes images of a size which the model does not take."""
    if models.adapter(model).black_box:
        return
    try:
        models.view(model, images)
    except ExplainError:
        raise
    except Exception as error:
        raise InputError(
            f"scales={scale:g} makes images of shape {tuple(images.shape)}, and the model cannot run on them: give "
            f"other scales, or scales=() for none. It said: {error}"
        ) from error


def _scaled(size: Any, scale: float) -> Any:
    if not isinstance(size, int):
        return ops.cast(ops.cast(size, "float32") * scale, "int32")
    if size * scale < 1:
        raise InputError(f"scales={scale} leaves no pixel of {size}.")
    return int(size * scale)
