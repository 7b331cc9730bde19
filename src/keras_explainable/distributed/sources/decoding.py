"""An image's bytes as pixels of the model's size."""

import re

import numpy as np

from keras_explainable.distributed.sources.set_aside import SetAside
from keras_explainable.errors import InputError, ModelFileError
from keras_explainable.viz import framing, image, image_files

FITS = {"squash": "stretch", "crop": "crop", "exact": "stretch"}  # the names here, and those of `framing`
NAME = "The file"
WHERE = re.compile(r" ?<_io\.\w+ object at 0x[0-9a-f]+>")  # in pillow's messages, and another in each run


def decode(data: bytes, size: tuple[int, int], channels: int = 3, fit: str = "squash") -> np.ndarray:
    """Return the pixels of an image, uint8 (H, W, C), before the model's scaling.

    They are those that `viz.image_files.read_image` gives, resized as `keras-explainable explain` does (bilinear):
    upright by EXIF, transparency on white, the first picture of several, 16 bits reduced to 8.

    Args:
        size: (H, W).
        channels: 3, or 1 for grey: 0.299 red + 0.587 green + 0.114 blue, rounded.
        fit: "squash" resizes without keeping proportions, "crop" takes the middle in the proportions of `size`, and
            "exact" sets aside what has another size.

    Raises:
        SetAside: it is empty, no image, cut short, too large, or of another size with "exact".
        InputError: there are no such channels, or no such fit.
        BackendError, ModelFileError: pillow is missing, or has known security holes.
    """
    if fit not in FITS or channels not in (1, 3):
        raise InputError(
            f"fit={fit!r} and channels={channels!r} came, and one of {', '.join(FITS)} and 1 or 3 were expected."
        )
    image_files.check_pillow()
    if not data:
        raise SetAside("The file is empty.")
    try:
        pixels = image_files.decode_image(data, NAME).pixels
    except ModelFileError as error:
        raise SetAside(WHERE.sub("", str(error))) from None
    if pixels.shape[:2] != tuple(size):
        if fit == "exact":
            found, wanted = (f"{width} x {height}" for height, width in (pixels.shape[:2], size))
            raise SetAside(f'The image is {found}, and {wanted} was expected (fit="exact").')
        pixels = framing.resized(framing.framed(pixels, size, FITS[fit]), size)
    return pixels if channels == 3 else np.rint(pixels @ image.LUMA).astype("uint8")[..., None]
