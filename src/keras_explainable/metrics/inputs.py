"""Checks of the arguments of a metric."""

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from keras import ops

from keras_explainable import backend, models
from keras_explainable.errors import InputError, shortly
from keras_explainable.metrics.record import MetricRecord

WHAT = {
    "masks": "says where the object is, 1 there and 0 elsewhere, (N, *S)",
    "objects": "is the pair (masks of each object, images redrawn without each), see ke.metrics",
    "explain": 'is the method that made the maps, as in explain="gradcam"',
}


def check_own(metric: MetricRecord, own: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Raise if the metric does not take one of the parameters, or needs what was not given."""
    check_parameters(metric, own)
    names = {"images": "x", "model": "model", "masks": "masks", "objects": "objects", "method": "explain"}
    missing = [names[need] for need in metric.needs if given.get(need, ()) is None]
    missing += ["x"] if "model" in metric.needs and given["images"] is None and "x" not in missing else []
    if missing:
        raise InputError(needed(metric, sorted(missing)))


def needed(metric: MetricRecord, names: Iterable[str]) -> str:
    """The message for a metric that needs arguments that were not given."""
    described = [f"{name}= {WHAT[name]}" for name in names if name in WHAT]
    return f"{metric.name} needs {' and '.join(f'{name}=' for name in names)}, not given here" + (
        f": {'; '.join(described)}." if described else "."
    )


def check_parameters(metric: MetricRecord, own: Mapping[str, Any]) -> None:
    """Raise if the metric does not take one of the parameters."""
    known = parameters_of(metric)
    unknown = [name for name in own if name not in known]
    if unknown:
        raise InputError(
            f"{metric.name} takes no {unknown[0]}=. Its parameters: {', '.join(known) or 'none'}; and those of "
            "ke.metrics."
        )


def parameters_of(metric: MetricRecord) -> list[str]:
    """The names of a metric's own parameters."""
    return list(inspect.signature(metric.of_case).parameters)[2:]


def check_weights(metric: MetricRecord, model: Any) -> None:
    """Raise if the metric changes weights, and the model is a function, which has none."""
    if "weights" in metric.needs and models.adapter(model).black_box:
        raise InputError(
            f"{metric.name} needs weights to randomise, and a function came, which has none: give the Keras model or "
            "the PyTorch module itself."
        )


def maps_of(maps: Any) -> np.ndarray:
    """Maps as float32 (N, *S, K).

    Raises:
        InputError: they are not maps, or have values that are not finite.
    """
    if hasattr(maps, "scores") and hasattr(maps, "maps"):
        raise InputError("An explanation came, and maps were expected: scores, maps = explanation.")
    found = np.asarray(backend.to_host(maps) if ops.is_tensor(maps) else maps)
    if found.dtype.kind not in "fiub" or found.ndim < 3 or 0 in found.shape:
        named = maps is None or isinstance(maps, str)
        came = shortly(maps) if named else f"An array of shape {found.shape} and type {found.dtype}"
        raise InputError(f"{came} came, and maps (images, *size, units) were expected.")
    found = found.astype("float32", copy=False)
    bad = ~np.isfinite(found).all(axis=tuple(range(1, found.ndim)))
    if bad.any():
        raise InputError(
            f"The maps of {int(bad.sum())} of {len(found)} images have values that are not finite, the first is image "
            f"{int(np.argmax(bad))}: leave these images out, or find out why by ke.explain's warnings."
        )
    return found


def masks_of(masks: Any, maps: np.ndarray) -> np.ndarray:
    """Masks as booleans (N, *S, K), given as (N, *S) or (N, *S, K) of booleans or 0 and 1."""
    found = np.asarray(backend.to_host(masks) if ops.is_tensor(masks) else masks)
    shape = maps.shape
    if found.shape == shape[:-1]:
        found = np.broadcast_to(found[..., None], shape)
    if found.shape != shape:
        raise InputError(
            f"Masks of shape {found.shape} came for maps of shape {shape}: {shape[:-1]} was expected, a mask for each "
            f"image, or {shape}, one for each image and unit."
        )
    return checked_masks(found)


def checked_masks(masks: np.ndarray) -> np.ndarray:
    """Masks as booleans. Raises InputError if they have values other than 0 and 1."""
    if masks.dtype != bool and not np.isin(masks, (0, 1)).all():
        raise InputError("Masks with values other than 0 and 1 came: give booleans, as in masks > 0.5.")
    return masks.astype(bool)


def spatial_last(x: Any, maps: np.ndarray) -> np.ndarray:
    """Images (N, *S, C), channels last, of the size of the maps, given with channels first or last."""
    found = np.asarray(backend.to_host(x) if ops.is_tensor(x) else x)
    size, number = maps.shape[1:-1], len(maps)
    if found.shape[:1] == (number,) and found.ndim == len(size) + 2:
        if found.shape[1:-1] == size:
            return found
        if found.shape[2:] == size:
            return np.moveaxis(found, 1, -1)
    raise InputError(
        f"Images of shape {found.shape} came for maps of shape {maps.shape}: {number} images of size {size} were "
        "expected."
    )


def objects_of(objects: Any, maps: np.ndarray, channels_first: bool) -> tuple[np.ndarray, np.ndarray]:
    """Objects as booleans (N, O, *S), and the images without each as (N, O, *S, C), channels last.

    Raises:
        InputError: they are not a pair of such arrays for these maps (N, *S, K).
    """
    if not isinstance(objects, (tuple, list)) or len(objects) != 2:
        raise InputError("objects= takes two arrays: masks (N, O, *S) of objects, and images (N, O, ...) without each.")
    masks, images = (np.asarray(backend.to_host(a) if ops.is_tensor(a) else a) for a in objects)
    if channels_first and images.ndim > 3:
        images = np.moveaxis(images, 2, -1)
    number, size = len(maps), maps.shape[1:-1]
    fits = masks.ndim == maps.ndim and masks.shape[0] == number and masks.shape[2:] == size
    if not fits or images.shape[:-1] != masks.shape:
        raise InputError(
            f"objects= with masks of shape {masks.shape} and images of shape {images.shape}, channels last, came. For "
            f"these maps, masks {(number, 'O', *size)} and images {(number, 'O', *size, 'C')} were expected."
        )
    return checked_masks(masks), images


def part_of(rows: Any, part: slice) -> Any:
    """The part of an array, or of each array of a tuple; None of None."""
    if isinstance(rows, tuple):
        return tuple(array[part] for array in rows)
    return None if rows is None else rows[part]
