"""Pictures as arrays: any image or tensor to 8-bit RGB, colour maps, maps laid over images, image files."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_explainable import versions
from keras_explainable.errors import BackendError, InputError, ModelFileError

ColorMap = str | Callable[[np.ndarray], Any]
Limits = tuple[float, float]

# Piecewise linear: (positions, values) of red, green and blue. Any other name is looked up in matplotlib.
COLOR_MAPS: dict[str, tuple[tuple[list[float], list[float]], ...]] = {
    "gray": (([0.0, 1.0], [0.0, 1.0]),) * 3,
    "jet": (
        ([0, 0.35, 0.66, 0.89, 1], [0, 0, 1, 1, 0.5]),
        ([0, 0.125, 0.375, 0.64, 0.91, 1], [0, 0, 1, 1, 0, 0]),
        ([0, 0.11, 0.34, 0.65, 1], [0.5, 1, 1, 0, 0]),
    ),
    "bwr": (([0, 0.5, 1], [0, 1, 1]), ([0, 0.5, 1], [0, 1, 0]), ([0, 0.5, 1], [1, 1, 0])),
}
UNSIGNED, SIGNED = "jet", "bwr"  # what is used where no colour map is named
LUMA = np.array([0.299, 0.587, 0.114])  # grey of red, green, blue (ITU-R BT.601)
BRIGHTEST = 99.0  # percentile that gets the full colour, where a picture is for looking at only
FAINTEST = 0.1  # opacity of the weakest value, where opacity follows strength


def to_numpy(value: Any) -> np.ndarray:
    """The numbers in `value`: an array, a tensor of any framework (on any device, with a gradient or not), or lists."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        value = value.float() if "bfloat16" in str(value.dtype) else value
    try:
        array = np.asarray(value.numpy() if hasattr(value, "numpy") else value)
        return array if array.dtype.kind in "biuf" else array.astype("float32")  # bfloat16 is of no NumPy kind
    except (TypeError, ValueError):
        raise InputError(f"An image or a map must be an array of numbers. Got: {type(value).__name__}.") from None


def channels_last(image: Any) -> np.ndarray:
    """The image as (H, W) or (H, W, C), C in 1, 3, 4; channels that come first, as in torch, are moved to the end.

    Raises: InputError: another shape, no pixels, NaN, or infinity.
    """
    array = to_numpy(image)
    if array.ndim == 3 and array.shape[-1] not in (1, 3, 4) and array.shape[0] in (1, 3, 4):
        array = np.moveaxis(array, 0, -1)
    if array.size == 0 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[-1] in (1, 3, 4))):
        raise InputError(f"An image must be (H, W) or (H, W, C) with 1, 3 or 4 channels. Got shape {array.shape}.")
    if not np.isfinite(array).all():
        raise InputError("An image or a map contains NaN or infinity, which has no colour. Look at how it was made.")
    return array


def as_map(values: Any) -> np.ndarray:
    """A map as float (H, W), from (H, W), (H, W, 1) or (1, H, W). Raises: InputError: more than one channel."""
    array = channels_last(values)
    if array.ndim == 3 and array.shape[-1] != 1:
        raise InputError(f"A map is (H, W) or (H, W, 1), one value per pixel. Got shape {array.shape}.")
    return array.reshape(array.shape[:2]).astype(float)


def unit_range(image: np.ndarray) -> np.ndarray:
    """The image's values in [0, 1].

    Integers in 0..255 are divided by 255, booleans are 0 or 1. Floats in [0, 1] stay, floats in [0, 255] are divided
    by 255. Anything else, as a standardised input, is stretched: (x - min) / (max - min).
    """
    low, high = float(image.min()), float(image.max())
    if image.dtype == bool or (image.dtype.kind == "f" and low >= 0 and high <= 1):
        return image.astype(float)
    if low >= 0 and high <= 255:
        return image / 255.0
    return (image.astype(float) - low) / ((high - low) or 1.0)


def to_rgb(image: Any) -> np.ndarray:
    """An image of 1, 3 or 4 channels as uint8 (H, W, 3); what is transparent becomes white."""
    values = unit_range(channels_last(image))
    if values[0, 0].size == 1:
        values = np.repeat(values.reshape(*values.shape[:2], 1), 3, axis=-1)
    if values.shape[-1] == 4:
        values = 1 - values[..., 3:] * (1 - values[..., :3])
    return to_bytes(values)


def to_bytes(values: np.ndarray) -> np.ndarray:
    """[0, 1] to 0..255, rounded to nearest."""
    return np.rint(np.clip(values, 0, 1) * 255).astype("uint8")


def is_signed(maps: Sequence[np.ndarray]) -> bool:
    """Whether any of the maps goes below zero."""
    return any(float(m.min()) < 0 for m in maps)


def limits_of(maps: Sequence[np.ndarray], signed: bool, percentile: float = 100) -> Limits:
    """The values at the two ends of the colour scale: (-m, m), m = max |map|, if signed; else (min, max).

    With a percentile less than 100, that takes the maximum's place, unless it is no more than the minimum: a few pixels
    that stand far out, as in maps of gradients, would leave all others dark.
    """
    size = np.concatenate([np.abs(m).ravel() if signed else m.ravel() for m in maps])
    low, top = (0.0 if signed else float(size.min())), float(np.percentile(size, percentile))
    high = top if top > low else float(size.max())
    return (-high, high) if signed else (low, high)


def scale(values: np.ndarray, limits: Limits) -> np.ndarray:
    """Map values as positions in [0, 1] on a colour scale with these ends, clipped; all 0 if the ends are one."""
    low, high = limits
    return np.clip((values - low) / (high - low), 0, 1) if high > low else np.zeros_like(values, dtype=float)


def colorize(positions: np.ndarray, cmap: ColorMap = UNSIGNED) -> np.ndarray:
    """Positions in [0, 1], of any shape, as RGB in [0, 1], (..., 3), by a colour map's name or function.

    Raises: InputError: a name that neither this table nor matplotlib has.
    """
    if isinstance(cmap, str) and cmap in COLOR_MAPS:
        return np.stack([np.interp(positions, at, level) for at, level in COLOR_MAPS[cmap]], axis=-1)
    function = _matplotlib_map(cmap) if isinstance(cmap, str) else cmap
    return np.asarray(function(positions))[..., :3]


def _matplotlib_map(name: str) -> Callable[[np.ndarray], Any]:
    try:
        import matplotlib

        return matplotlib.colormaps[name]
    except (ImportError, KeyError) as error:
        problem = (
            "needs matplotlib, which is missing" if isinstance(error, ImportError) else "is not one of matplotlib's"
        )
        raise InputError(f"The colour map {name!r} {problem}. Built in: {', '.join(COLOR_MAPS)}.") from None


def peak(values: np.ndarray) -> tuple[int, int]:
    """Row and column of a map's maximum; of several that are equal, the one nearest to their middle."""
    highest = np.argwhere(values == values.max())
    row, column = highest[np.argmin(((highest - highest.mean(axis=0)) ** 2).sum(axis=1))]
    return int(row), int(column)


def stretch(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A map (h, w) at another size (H, W): linear in each axis, between half-pixel centres, edges repeated."""
    for axis, size in enumerate(shape):
        source = (np.arange(size) + 0.5) * values.shape[axis] / size - 0.5
        source = np.clip(source, 0, values.shape[axis] - 1)
        low = np.floor(source).astype(int)
        high = np.minimum(low + 1, values.shape[axis] - 1)
        part = np.expand_dims(source - low, 1 - axis)
        values = values.take(low, axis) * (1 - part) + values.take(high, axis) * part
    return values


def overlay(
    image: Any, values: Any, alpha: float | np.ndarray = 0.5, cmap: ColorMap | None = None, limits: Limits | None = None
) -> np.ndarray:
    """A map in colour over an image, uint8 RGB (H, W, 3): (1 - alpha) image + alpha colour((map - low) / (high - low)).

    The map may be smaller than the image. `alpha` is a number or (H, W). Without `limits` a map that goes below zero
    is drawn symmetric about zero, in a diverging colour map, and any other from its minimum to its maximum.
    """
    picture, heat = to_rgb(image) / 255.0, as_map(values)
    signed = cmap is None and is_signed([heat])
    limits = limits or limits_of([heat], signed)
    colors = colorize(scale(stretch(heat, picture.shape[:2]), limits), cmap or (SIGNED if signed else UNSIGNED))
    weight = np.asarray(alpha, dtype=float)[..., None]
    return to_bytes((1 - weight) * picture + weight * colors)


def opacity(positions: np.ndarray, signed: bool) -> np.ndarray:
    """How opaque the colour at each position of the scale is, where the image shall show through what is weak."""
    return FAINTEST + (1 - FAINTEST) * (np.abs(2 * positions - 1) if signed else positions)


def highlight(image: Any, values: Any, alpha: float = 0.8) -> np.ndarray:
    """A map over the grey image, uint8 RGB, the fainter the weaker it is; its highest percent gets the full colour."""
    picture, heat = to_rgb(image), as_map(values)
    signed = is_signed([heat])
    limits = limits_of([heat], signed, BRIGHTEST)
    grey = np.rint(picture @ LUMA).astype("uint8")
    return overlay(grey, heat, alpha * opacity(scale(stretch(heat, grey.shape), limits), signed), limits=limits)


def cross(image: np.ndarray, at: tuple[int, int], reach: int = 6) -> np.ndarray:
    """A picture with a white cross, edged in black, at a place (row, column)."""
    drawn, (row, column) = image.copy(), at
    for width, ink in ((1, 0), (0, 255)):
        far = reach + width
        drawn[max(0, row - far) : row + far + 1, max(0, column - width) : column + width + 1] = ink
        drawn[max(0, row - width) : row + width + 1, max(0, column - far) : column + far + 1] = ink
    return drawn


def pillow() -> Any:
    """The pillow package with its parts loaded. Raises: BackendError: it is not installed."""
    try:
        import PIL.Image
        import PIL.ImageDraw
        import PIL.ImageFont
        import PIL.ImageOps
    except ImportError:
        raise BackendError('Image files need pillow, which is missing: pip install "keras-explainable[viz]"') from None
    return PIL


def fit(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The largest central crop of an image that has the aspect of `size` (H, W), resized to it (pillow, bicubic)."""
    Image, ImageOps = pillow().Image, pillow().ImageOps
    if len(size) != 2 or min(size) < 1:
        raise InputError(f"A size is (height, width), both at least 1. Got {size}.")
    return np.asarray(ImageOps.fit(Image.fromarray(image), size[::-1], Image.Resampling.BICUBIC))


def read_image(path: str | Path, size: int | tuple[int, int] | None = None) -> np.ndarray:
    """An image file as uint8 RGB (H, W, 3), upright by its EXIF orientation, transparency on white.

    With `size`, (H, W) or one side of a square, `fit` to it. Raises: ModelFileError: no file, no image, or cut short.
    """
    Image = pillow().Image
    versions.check("pillow")
    try:
        with Image.open(path) as file:
            array = _pixels(pillow().ImageOps.exif_transpose(file))
    except IsADirectoryError:
        raise ModelFileError(f"{path} is a folder: give its images, or use `keras-explainable dump`.") from None
    except FileNotFoundError:
        raise ModelFileError(f"There is no image at {path}. Check the path.") from None
    except pillow().UnidentifiedImageError:
        raise ModelFileError(f"{path} is not an image. Expected a PNG, JPEG, WebP, or like file.") from None
    except Image.DecompressionBombError as error:
        raise ModelFileError(f"{path} is too large an image: make it smaller. {error}") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise ModelFileError(f"{path} cannot be read as an image, it may be cut short or damaged: {error}.") from None
    return array if size is None else fit(array, (size, size) if isinstance(size, int) else size)


def _pixels(file: Any) -> np.ndarray:
    """The pixels of an open pillow image as uint8 RGB; 16-bit grey keeps its range, palettes and alpha are resolved."""
    if file.mode.startswith(("I", "F")):
        values = np.asarray(file)
        return to_rgb(values / 65535 if "16" in file.mode or (file.mode == "I" and values.max() > 255) else values)
    if file.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in file.info:
        return to_rgb(np.asarray(file.convert("RGBA")))
    return np.array(file.convert("RGB"))
