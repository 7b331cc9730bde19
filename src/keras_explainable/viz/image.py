"""Pictures as arrays: any image or tensor to 8-bit RGB, colour maps, maps laid over images, image files."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np

from keras_explainable import versions
from keras_explainable.errors import BackendError, InputError, ModelFileError
from keras_explainable.viz import files
from keras_explainable.viz.text import shown

ColorMap = str | Callable[[np.ndarray], Any]
Limits = tuple[float, float]
Alpha = float | np.ndarray | Callable[[np.ndarray], np.ndarray]

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
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")  # pillow's others run programs, or are seldom looked after
MAX_PIXELS = 50_000_000  # of an image file, unless more are allowed
MAX_BYTES = 8  # for each pixel that is allowed: four channels of 16 bits
MAX_PARTS = 100_000  # strips or tiles of a TIFF, each of which takes pillow some 300 bytes, and time
TIFF_BYTES = {1, 2, 6, 7}  # kinds of entries that are kept as bytes, such as profiles
STANDALONE = {b"", b"\0", b"\1", b"\xff", *(bytes([n]) for n in range(0xD0, 0xD9))}  # after 0xff: JPEG's, of no length
MAX_SCANS = 100  # of a JPEG, each of which goes over all pixels; programs write 20 at most
BAND = 1_000_000  # pixels that are calculated with at once
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


def unit_range(image: np.ndarray, span: Limits | None = None) -> np.ndarray:
    """The image's values in [0, 1]; `span` are its lowest and highest, where this is a part of it.

    Integers in 0..255 are divided by 255, booleans are 0 or 1. Floats in [0, 1] stay, floats in [0, 255] are divided
    by 255. Anything else, as a standardised input, is stretched: (x - min) / (max - min).
    """
    low, high = span or (float(image.min()), float(image.max()))
    if image.dtype == bool or (image.dtype.kind == "f" and low >= 0 and high <= 1):
        return image.astype(float)
    if low >= 0 and high <= 255:
        return image / 255.0
    return (image.astype(float) - low) / ((high - low) or 1.0)


def to_rgb(image: Any) -> np.ndarray:
    """An image of 1, 3 or 4 channels as uint8 (H, W, 3); what is transparent becomes white."""
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
    """The rows of an image (H, W, ...), in parts whose calculation takes little memory."""
    rows = max(1, BAND // shape[1])
    return [slice(start, start + rows) for start in range(0, shape[0], rows)]


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


def stretch(values: np.ndarray, shape: tuple[int, ...], rows: slice = slice(None)) -> np.ndarray:
    """A map (h, w) at another size (H, W), or some rows of it: linear in each axis, between half-pixel centres, edges
    repeated."""
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
    """A map in colour over an image, uint8 RGB (H, W, 3): (1 - alpha) image + alpha colour((map - low) / (high - low)).

    The map may be smaller than the image. `alpha` is a number, (H, W), or a function of the positions on the scale.
    Without `limits` a map that goes below zero is drawn symmetric about zero, in a diverging colour map, and any other
    from its minimum to its maximum.
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
    """How opaque the colour at each position of the scale is, where the image shall show through what is weak."""
    return FAINTEST + (1 - FAINTEST) * (np.abs(2 * positions - 1) if signed else positions)


def highlight(image: Any, values: Any, alpha: float = 0.8) -> np.ndarray:
    """A map over the grey image, uint8 RGB, the fainter the weaker it is; its highest percent gets the full colour."""
    grey = np.rint(to_rgb(image) @ LUMA).astype("uint8")
    return fading(grey, values, alpha)


def fading(image: Any, values: Any, alpha: float) -> np.ndarray:
    """A map over an image, uint8 RGB, the fainter the weaker it is, at most `alpha`; its highest percent gets the full
    colour, so that a few pixels that stand out do not leave the rest dark."""
    heat = as_map(values)
    signed = is_signed([heat])
    limits = limits_of([heat], signed, BRIGHTEST)
    return overlay(image, heat, lambda positions: alpha * opacity(positions, signed), limits=limits)


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


def read_image(path: str | Path, size: int | tuple[int, int] | None = None, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """An image file as uint8 RGB (H, W, 3), upright by its EXIF orientation, transparency on white.

    Files are BMP, GIF, JPEG, PNG, TIFF or WebP, whatever their names; of several pictures in one the first is taken.
    With `size`, (H, W) or one side of a square, `fit` to it. Raises: ModelFileError: no file, no image, cut short, or
    of more than `max_pixels`.
    """
    Image, name = pillow().Image, shown(path)
    versions.check("pillow")
    try:
        with files.opened(path) as stream, _open(name, stream) as file:
            _check_size(name, file, os.fstat(stream.fileno()).st_size, max_pixels)
            if file.format in ("JPEG", "MPO"):
                _check_scans(name, stream)
            pillow().ImageOps.exif_transpose(file, in_place=True)
            array = _pixels(file)
    except IsADirectoryError:
        raise ModelFileError(f"{name} is a folder: give its images, or use `keras-explainable dump`.") from None
    except FileNotFoundError:
        raise ModelFileError(f"There is no image at {name}. Check the path.") from None
    except pillow().UnidentifiedImageError:
        raise ModelFileError(f"{name} is not an image. Expected a BMP, GIF, JPEG, PNG, TIFF or WebP file.") from None
    except Image.DecompressionBombError as error:
        raise ModelFileError(f"{name} is too large an image: make it smaller. {error}") from None
    except MemoryError:
        raise ModelFileError(f"{name} needs more memory than there is: make it smaller.") from None
    except ModelFileError:
        raise
    except Exception as error:  # readers of damaged files raise what comes, such as struct.error and KeyError
        if isinstance(error, OSError) and error.strerror:
            raise ModelFileError(f"{name} cannot be read: {error.strerror}.") from None
        raise ModelFileError(f"{name} cannot be read as an image, it may be cut short or damaged: {error}.") from None
    return array if size is None else fit(array, (size, size) if isinstance(size, int) else size)


def _open(name: str, stream: BinaryIO) -> Any:
    """The file as a pillow image, not decoded yet. Raises: ModelFileError: a TIFF in too many parts."""
    head = stream.read(8)
    order: Literal["big", "little"] = "big" if head[:2] == b"MM" else "little"
    big = head[2:3] == b"+"  # BigTIFF
    if head[:2] in (b"MM", b"II"):
        stream.seek(int.from_bytes(stream.read(8) if big else head[4:], order))
        for _ in range(min(int.from_bytes(stream.read(8 if big else 2), order), 65_536)):
            entry = stream.read(20 if big else 12)
            kind, count = int.from_bytes(entry[2:4], order), int.from_bytes(entry[4 : 12 if big else 8], order)
            if kind not in TIFF_BYTES and count > MAX_PARTS:
                raise ModelFileError(f"{name} is a TIFF of more than {MAX_PARTS} parts. Save the image anew.")
    stream.seek(0)
    return pillow().Image.open(stream, formats=FORMATS)


def _check_size(name: str, file: Any, size: int, most: int) -> None:
    """Refuse, by its header, an image that would take too much memory when it is decoded. Raises: ModelFileError."""
    width, height = file.size
    tile = [getattr(file, "tag_v2", {}).get(tag, 1) for tag in (322, 323)]  # TIFF's TileWidth and TileLength
    pixels = max(width * height, tile[0] * tile[1])
    found = f"{pixels} pixels" if pixels > most else f"{size} bytes" if size > most * MAX_BYTES else ""
    if found:
        raise ModelFileError(
            f"{name} is too large an image, {found}: make it smaller, or allow more than {most} pixels by --max-pixels "
            "(max_pixels=)."
        )


def _check_scans(name: str, stream: BinaryIO) -> None:
    """Refuse a JPEG that would be decoded for minutes, over and over again. Raises: ModelFileError."""
    place = stream.tell()
    stream.seek(0)
    data, at, scans = stream.read(), 0, 0
    stream.seek(place)
    while (at := data.find(b"\xff", at)) >= 0 and data[at + 1 : at + 2] != b"\xd9":  # the end of the image
        kind = data[at + 1 : at + 2]
        scans += kind == b"\xda"
        if scans > MAX_SCANS:
            raise ModelFileError(f"{name} is a JPEG of more than {MAX_SCANS} scans. Save the image anew.")
        alone = kind in STANDALONE
        at += 1 if alone else 2 + int.from_bytes(data[at + 2 : at + 4])


def _pixels(file: Any) -> np.ndarray:
    """The pixels of an open pillow image as uint8 RGB; 16-bit grey keeps its range, palettes and alpha are resolved."""
    if file.mode.startswith(("I", "F")):
        values = np.asarray(file)
        return to_rgb(values / 65535 if "16" in file.mode or (file.mode == "I" and values.max() > 255) else values)
    if file.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in file.info:
        return to_rgb(np.asarray(file.convert("RGBA")))
    return np.array(file.convert("RGB"))
