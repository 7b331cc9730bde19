"""Pictures as arrays: any image or tensor as 8-bit RGB, and maps drawn over images."""

from collections.abc import Callable
from typing import Any

import numpy as np

from keras_explainable.errors import InputError
from keras_explainable.viz.colormaps import (
    BRIGHTEST,
    FAINTEST,
    SIGNED,
    UNSIGNED,
    ColorMap,
    Limits,
    colorize,
    is_signed,
    limits_of,
    scale,
)

Alpha = float | np.ndarray | Callable[[np.ndarray], np.ndarray]

LUMA = np.array([0.299, 0.587, 0.114])  # grey of red, green, blue (ITU-R BT.601)
BAND = 1_000_000  # pixels that are processed at once


def to_numpy(value: Any) -> np.ndarray:
    """Return an array, lists, or a tensor of any framework and device, with or without gradient, as an array."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        value = value.float() if "bfloat16" in str(value.dtype) else value
    try:
        array = np.asarray(value.numpy() if hasattr(value, "numpy") else value)
        return array if array.dtype.kind in "biuf" else array.astype("float32")  # NumPy has no kind for bfloat16
    except (TypeError, ValueError):
        raise InputError(
            f"A {type(value).__name__} came, and an image or a map was expected: an array of numbers."
        ) from None


def channels_last(image: Any) -> np.ndarray:
    """Return the image as (H, W) or (H, W, C), C in 1, 3, 4. Leading channels, as in torch, are moved to the end.

    Raises: InputError: it has another shape, no pixels, NaN, or infinity.
    """
    array = to_numpy(image)
    if array.ndim == 3 and array.shape[-1] not in (1, 3, 4) and array.shape[0] in (1, 3, 4):
        array = np.moveaxis(array, 0, -1)
    if array.size == 0 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[-1] in (1, 3, 4))):
        raise InputError(
            f"An image of shape {array.shape} came, and (H, W), or (H, W, C) with 1, 3 or 4 channels, was expected."
        )
    if not np.isfinite(array).all():
        raise InputError("An image or a map contains NaN or infinity, which has no colour. Check how it was computed.")
    return array


def as_map(values: Any) -> np.ndarray:
    """Return a map (H, W), (H, W, 1) or (1, H, W) as float (H, W). Raises: InputError: it has several channels."""
    array = channels_last(values)
    if array.ndim == 3 and array.shape[-1] != 1:
        raise InputError(
            f"A map of shape {array.shape} came, and (H, W) or (H, W, 1) was expected, one value per pixel."
        )
    return array.reshape(array.shape[:2]).astype(float)


def unit_range(image: np.ndarray, span: Limits | None = None) -> np.ndarray:
    """Scale an image's values to [0, 1]. For a part of an image, `span` is the minimum and maximum of the whole.

    Integers in 0..255 are divided by 255. Booleans become 0 or 1. Floats in [0, 1] stay, and floats in [0, 255] are
    divided by 255. Anything else, such as a standardised input, is stretched: (x - min) / (max - min).
    """
    low, high = span or (float(image.min()), float(image.max()))
    if image.dtype == bool or (image.dtype.kind == "f" and low >= 0 and high <= 1):
        return image.astype(float)
    if low >= 0 and high <= 255:
        return image / 255.0
    return (image.astype(float) - low) / ((high - low) or 1.0)


def to_rgb(image: Any) -> np.ndarray:
    """Return an image of 1, 3 or 4 channels as uint8 (H, W, 3). Transparent pixels become white."""
    whole = channels_last(image)
    span = (float(whole.min()), float(whole.max()))
    pixels = whole.reshape(whole.shape[0] * whole.shape[1], 1, -1)
    made = np.concatenate([_to_rgb(unit_range(pixels[part], span)) for part in bands(pixels.shape)])
    return made.reshape(*whole.shape[:2], 3)


def _to_rgb(values: np.ndarray) -> np.ndarray:
    if values.shape[-1] == 1:
        values = np.repeat(values, 3, axis=-1)
    if values.shape[-1] == 4:
        values = 1 - values[..., 3:] * (1 - values[..., :3])
    return to_bytes(values)


def bands(shape: tuple[int, ...]) -> list[slice]:
    """Split the rows of an image (H, W, ...) into parts that are small enough to process in little memory."""
    rows = max(1, BAND // shape[1])
    return [slice(start, start + rows) for start in range(0, shape[0], rows)]


def to_bytes(values: np.ndarray) -> np.ndarray:
    """Convert [0, 1] to 0..255, rounded to nearest."""
    return np.rint(np.clip(values, 0, 1) * 255).astype("uint8")


def peak(values: np.ndarray) -> tuple[int, int]:
    """Return the row and column of a map's maximum; of several equal ones, the one nearest to their mean position."""
    highest = np.argwhere(values == values.max())
    row, column = highest[np.argmin(((highest - highest.mean(axis=0)) ** 2).sum(axis=1))]
    return int(row), int(column)


def stretch(values: np.ndarray, shape: tuple[int, ...], rows: slice = slice(None)) -> np.ndarray:
    """Resize a map (h, w) to (H, W), or compute some of its rows.

    Interpolation is linear in each axis, between half-pixel centres, with repeated edges."""
    for axis, size in enumerate(shape):
        source = (np.arange(size) + 0.5) * values.shape[axis] / size - 0.5
        source = np.clip(source, 0, values.shape[axis] - 1)[rows if axis == 0 else slice(None)]
        low = np.floor(source).astype(int)
        high = np.minimum(low + 1, values.shape[axis] - 1)
        part = np.expand_dims(source - low, 1 - axis)
        values = values.take(low, axis) * (1 - part) + values.take(high, axis) * part
    return values


def overlay(
    image: Any, values: Any, alpha: Alpha = 0.5, cmap: ColorMap | None = None, limits: Limits | None = None
) -> np.ndarray:
    """Draw a map over an image, uint8 RGB (H, W, 3): (1 - alpha) image + alpha colour((map - low) / (high - low)).

    The map may be smaller than the image. `alpha` is a number, (H, W), or a function of the positions on the scale.
    Without `limits`, a map that goes below zero is drawn symmetric about zero, in a diverging colour map, and any other
    map from its minimum to its maximum.
    """
    drawn, heat = to_rgb(image), as_map(values)
    signed = cmap is None and is_signed([heat])
    limits = limits or limits_of([heat], signed)
    opaque = alpha if callable(alpha) else np.broadcast_to(np.asarray(alpha, dtype=float), drawn.shape[:2])
    for rows in bands(drawn.shape):
        positions = scale(stretch(heat, drawn.shape[:2], rows), limits)
        weight = np.asarray(opaque(positions) if callable(opaque) else opaque[rows])[..., None]
        colors = colorize(positions, cmap or (SIGNED if signed else UNSIGNED))
        drawn[rows] = to_bytes((1 - weight) * (drawn[rows] / 255.0) + weight * colors)
    return drawn


def opacity(positions: np.ndarray, signed: bool) -> np.ndarray:
    """Return the opacity at each position of the scale, so that the image shows through small values."""
    return FAINTEST + (1 - FAINTEST) * (np.abs(2 * positions - 1) if signed else positions)


def highlight(
    image: Any, values: Any, alpha: float = 0.8, cmap: ColorMap | None = None, limits: Limits | None = None
) -> np.ndarray:
    """Draw a map over the grey image, uint8 RGB, as `fading` does."""
    grey = np.rint(to_rgb(image) @ LUMA).astype("uint8")
    return fading(grey, values, alpha, cmap, limits)


def fading(
    image: Any, values: Any, alpha: float, cmap: ColorMap | None = None, limits: Limits | None = None
) -> np.ndarray:
    """Draw a map over an image, uint8 RGB. Opacity follows the value, up to `alpha`.

    The highest 1 % of the values get the full colour, so that a few outliers do not leave the rest dark. `cmap` is for
    maps that do not go below zero. `limits` are the ends of a scale that several maps share."""
    heat = as_map(values)
    signed = is_signed([heat]) if limits is None else limits[0] < 0
    limits = limits or limits_of([heat], signed, BRIGHTEST)
    cmap = SIGNED if signed else cmap or UNSIGNED
    return overlay(image, heat, lambda positions: alpha * opacity(positions, signed), cmap, limits)


def color_bar(maps: np.ndarray, limits: Limits | None = None, height: int = 288) -> tuple[np.ndarray, str]:
    """Return the colours of maps (H, W, K) from the highest value to the lowest, uint8 RGB, and these values in words.

    Without `limits`, each map has a scale of its own, and one alone is named."""
    each = [maps[..., k] for k in range(maps.shape[-1])]
    signed = is_signed(each) if limits is None else limits[0] < 0
    drawn = np.full((height, height // 3, 3), 255, "uint8")
    steps = np.linspace(1, 0, height)[:, None]
    drawn[:, height // 24 : height // 8] = to_bytes(colorize(steps, SIGNED if signed else UNSIGNED))
    if limits is None and len(each) > 1:
        return drawn, "own scales"
    low, high = limits or limits_of(each, signed, BRIGHTEST)
    return drawn, f"{low:.2g} to {high:.2g}"


def cross(image: np.ndarray, at: tuple[int, int], reach: int = 6) -> np.ndarray:
    """Return a picture with a white cross, edged in black, at (row, column)."""
    drawn, (row, column) = image.copy(), at
    for width, ink in ((1, 0), (0, 255)):
        far = reach + width
        drawn[max(0, row - far) : row + far + 1, max(0, column - width) : column + width + 1] = ink
        drawn[max(0, row - width) : row + width + 1, max(0, column - far) : column + far + 1] = ink
    return drawn
