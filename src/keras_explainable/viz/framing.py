"""Bring an image to a model's size: stretch it, crop it to its middle, or pad it; and describe what was done."""

from collections.abc import Mapping, Sequence

import numpy as np

from keras_explainable.errors import InputError, printable
from keras_explainable.viz.image_files import MAX_PIXELS, pillow

FITS = ("stretch", "crop", "pad")
GREY = 128  # the colour of padding: near the mean of photos, since a network would see the edges of black bars


def frame_of(shape: tuple[int, ...], size: tuple[int, int], fit: str) -> tuple[int, int]:
    """Return the height and width, in the image's own pixels, of the part or extension that becomes `size`."""
    if fit not in FITS:
        raise InputError(f"fit={fit!r} came, and one of {', '.join(FITS)} was expected.")
    height, width = shape[:2]
    if fit == "stretch":
        return height, width
    pixels = (min if fit == "crop" else max)(height / size[0], width / size[1])  # of the image, for one of the model
    return max(1, round(size[0] * pixels)), max(1, round(size[1] * pixels))


def framed(image: np.ndarray, size: tuple[int, int], fit: str) -> np.ndarray:
    """Return what the model sees of an image (H, W, C), in the image's own pixels.

    This is all of it ("stretch"), its middle in the proportions of `size` ("crop"), or all of it between grey bars
    ("pad").

    Raises: InputError: it is so long and narrow that it would be too large with the bars."""
    for axis, side in enumerate(not_too_large(frame_of(image.shape, size, fit), image.shape)):
        more = side - image.shape[axis]
        if more < 0:
            image = image.take(range(-more // 2, -more // 2 + side), axis)
        else:
            bars = [(0, 0)] * image.ndim
            bars[axis] = (more // 2, more - more // 2)
            image = np.pad(image, bars, constant_values=GREY)
    return image


def resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize an image (H, W, 3) without keeping its proportions (pillow, bilinear)."""
    Image = pillow().Image
    return np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR))


def covering(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize an image in its own proportions to the smallest size that covers `size`.

    Raises: InputError: it is so long and narrow that it would be too large."""
    height, width = image.shape[:2]
    scale = max(size[0] / height, size[1] / width)
    whole = (max(size[0], round(height * scale)), max(size[1], round(width * scale)))
    return resized(image, not_too_large(whole, image.shape))


def not_too_large(made: tuple[int, int], shape: tuple[int, ...]) -> tuple[int, int]:
    """Return the size (H, W) of a picture made from an image. Raises: InputError: it is larger than the limit."""
    if made[0] * made[1] > max(MAX_PIXELS, shape[0] * shape[1]):
        whole, large = (f"{width} x {height}" for height, width in (shape[:2], made))
        raise InputError(f"An image of {whole} is too long and narrow: it would be shown in {large} pixels. Crop it.")
    return made


def describe(shape: tuple[int, ...], size: tuple[int, int], fit: str) -> str:
    """Describe what is done to an image (H, W, ...), widths first. Return "" if it is only scaled."""
    frame = frame_of(shape, size, fit)
    if frame_of(shape, size, "crop") == tuple(shape[:2]):
        return ""
    whole, middle, target = (f"{width} x {height}" for height, width in (shape[:2], frame, size))
    if fit == "stretch":
        return f"{whole} stretched to {target}"
    if fit == "crop":
        return f"{whole} cropped to its middle {middle}, scaled to {target} (--fit stretch or pad keeps the rest)"
    return f"{whole} padded with grey to {middle}, scaled to {target}"


def lines(done: Mapping[str, Sequence[str]]) -> list[str]:
    """Return a line for each thing that was done, with the first image that it was done to."""
    more = {what: f" and {len(names) - 1} more" if len(names) > 1 else "" for what, names in done.items()}
    return [f"{printable(names[0])}{more[what]}: {what}" for what, names in done.items()]
