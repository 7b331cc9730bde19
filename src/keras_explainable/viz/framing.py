"""How an image gets a model's size: stretched, cropped to its middle, or padded; and what is told of it."""

from collections.abc import Mapping, Sequence

import numpy as np

from keras_explainable.errors import InputError
from keras_explainable.viz.image_files import MAX_PIXELS, pillow
from keras_explainable.viz.tables import shown

FITS = ("stretch", "crop", "pad")
GREY = 128  # what is added by "pad": near the mean of photos, where black bars are edges that a network sees


def frame_of(shape: tuple[int, ...], size: tuple[int, int], fit: str) -> tuple[int, int]:
    """Height and width of what of an image (H, W, ...) is brought to `size`, in the image's own pixels."""
    if fit not in FITS:
        raise InputError(f"fit={fit!r} came. Expected one of: {', '.join(FITS)}.")
    height, width = shape[:2]
    if fit == "stretch":
        return height, width
    pixels = (min if fit == "crop" else max)(height / size[0], width / size[1])  # of the image for one of the model
    return max(1, round(size[0] * pixels)), max(1, round(size[1] * pixels))


def framed(image: np.ndarray, size: tuple[int, int], fit: str) -> np.ndarray:
    """What of an image (H, W, C) the model shall see, in the image's own pixels: all of it, whatever its aspect
    ("stretch"), its middle, of the aspect of `size` ("crop"), or all of it between bars of grey ("pad").

    Raises: InputError: it is so long and narrow that with the bars it would be too large."""
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
    """An image (H, W, 3) at another size, whatever its aspect (pillow, bilinear)."""
    Image = pillow().Image
    return np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR))


def covering(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """An image in its own proportions, as small as it can be while no side is less than that of `size`.

    Raises: InputError: it is so long and narrow that it would be too large."""
    height, width = image.shape[:2]
    scale = max(size[0] / height, size[1] / width)
    whole = (max(size[0], round(height * scale)), max(size[1], round(width * scale)))
    return resized(image, not_too_large(whole, image.shape))


def not_too_large(made: tuple[int, int], shape: tuple[int, ...]) -> tuple[int, int]:
    """The size (H, W) of a picture that is made of an image. Raises: InputError: it is larger than any image may be."""
    if made[0] * made[1] > max(MAX_PIXELS, shape[0] * shape[1]):
        whole, large = (f"{width} x {height}" for height, width in (shape[:2], made))
        raise InputError(f"An image of {whole} is too long and narrow: it would be shown in {large} pixels. Crop it.")
    return made


def told(shape: tuple[int, ...], size: tuple[int, int], fit: str) -> str:
    """What is done to an image (H, W, ...), width first; nothing where it is only scaled."""
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
    """A line for each thing that was done, with the first of the images that it was done to."""
    more = {what: f" and {len(names) - 1} more" if len(names) > 1 else "" for what, names in done.items()}
    return [f"{shown(names[0])}{more[what]}: {what}" for what, names in done.items()]
