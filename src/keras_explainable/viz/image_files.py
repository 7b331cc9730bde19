"""Image files, read within limits."""

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple

import numpy as np

from keras_explainable import versions
from keras_explainable.errors import BackendError, InputError, ModelFileError, printable
from keras_explainable.limits import MAX_PIXELS as MAX_PIXELS
from keras_explainable.viz import output
from keras_explainable.viz.image import to_rgb

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")  # pillow's other formats run programs, or are rarely maintained
SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}  # of the files that are looked for


MAX_BYTES = 8  # for each allowed pixel: four channels of 16 bits


MAX_PARTS = 100_000  # strips or tiles of a TIFF: each takes pillow some 300 bytes, and time


TIFF_BYTES = {1, 2, 6, 7}  # kinds of entries that are kept as bytes, such as profiles


# JPEG markers, after 0xff, that have no length.
STANDALONE = {b"", b"\0", b"\1", b"\xff", *(bytes([n]) for n in range(0xD0, 0xD9))}


MAX_SCANS = 100  # of a JPEG: each goes over all pixels, and programs write at most 20


class Decoded(NamedTuple):
    """The pixels of an image, uint8 RGB (h, w, 3), and its height and width in its file."""

    pixels: np.ndarray
    shape: tuple[int, int]


def pillow() -> Any:
    """Return the pillow package with its modules imported. Raises: BackendError: it is not installed."""
    try:
        import PIL.Image
        import PIL.ImageDraw
        import PIL.ImageFont
        import PIL.ImageOps
    except ImportError:
        raise BackendError('Image files need pillow, which is missing: pip install "keras-explainable[viz]"') from None
    return PIL


def check_pillow() -> None:
    """Raises: BackendError: pillow is not installed. ModelFileError: it has known security holes."""
    pillow()
    versions.check("pillow")


def fit(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Take the largest central crop in the proportions of `size` (H, W), and resize it to `size` (pillow, bicubic)."""
    Image, ImageOps = pillow().Image, pillow().ImageOps
    if len(size) != 2 or min(size) < 1:
        raise InputError(f"size={size} came, and (height, width), both at least 1, was expected.")
    return np.asarray(ImageOps.fit(Image.fromarray(image), size[::-1], Image.Resampling.BICUBIC))


def read_image(path: str | Path, size: int | tuple[int, int] | None = None, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Read an image file as uint8 RGB (H, W, 3), upright by its EXIF orientation, with transparency on white.

    Files are BMP, GIF, JPEG, PNG, TIFF or WebP, whatever their names. Of a file with several pictures, the first is
    read. With `size`, (H, W) or the side of a square, the image is `fit` to it.

    Raises: ModelFileError: the file is missing, is not an image, is cut short, or has more than `max_pixels`.
    """
    name = printable(path)
    try:
        with output.open_file(path) as stream:
            advice = f", or allow more than {max_pixels} pixels by --max-pixels (max_pixels=)"
            array = _read(name, stream, os.fstat(stream.fileno()).st_size, FORMATS, max_pixels, advice)
    except IsADirectoryError:
        raise ModelFileError(f"{name} is a folder. Name its images, or use `keras-explainable dump`.") from None
    except FileNotFoundError:
        raise ModelFileError(f"There is no image at {name}. Check the path.") from None
    except OSError as error:
        raise ModelFileError(f"{name} cannot be read: {error.strerror or error}.") from None
    return array if size is None else fit(array, (size, size) if isinstance(size, int) else size)


def decode_image(
    data: bytes,
    name: str,
    formats: Sequence[str] = FORMATS,
    max_pixels: int = MAX_PIXELS,
    size: tuple[int, int] | None = None,
) -> Decoded:
    """Decode the bytes of an image as `read_image` does, if it has one of these formats, and say how large it is.

    With `size` (H, W), a large JPEG with one scan is decoded at a fraction of its size that still covers twice `size`,
    and may have more than `max_pixels`: as many as pillow opens without an error, 178 million."""
    found: list[tuple[int, int]] = []

    def drafted(file: Any) -> None:
        found.append((file.height, file.width))
        if size and file.format in ("JPEG", "MPO") and not file.info.get("progressive"):
            file.draft(None, [2 * side for side in size[::-1]])

    return Decoded(_read(name, io.BytesIO(data), len(data), formats, max_pixels, "", drafted), found[0])


def _read(
    name: str, stream: BinaryIO, size: int, formats: Sequence[str], most: int, advice: str, prepare: Any = None
) -> np.ndarray:
    """The pixels of an image of `size` bytes. `prepare(file)` is called before its header is judged."""
    check_pillow()
    Image = pillow().Image
    try:
        with _open(name, stream, formats) as file:
            if prepare:
                prepare(file)
            _check_size(name, file, size, most, advice)
            if file.format in ("JPEG", "MPO"):
                _check_scans(name, stream)
            pillow().ImageOps.exif_transpose(file, in_place=True)
            return _pixels(file)
    except pillow().UnidentifiedImageError:
        *others, last = ("WebP" if kind == "WEBP" else kind for kind in formats)
        raise ModelFileError(
            f"{name} is not an image, and a {', '.join(others)} or {last} file was expected."
        ) from None
    except Image.DecompressionBombError as error:
        raise ModelFileError(f"{name} is too large: make it smaller. {error}") from None
    except MemoryError:
        raise ModelFileError(f"{name} needs more memory than is available: make it smaller.") from None
    except ModelFileError:
        raise
    except Exception as error:  # reading a damaged file may raise anything, such as struct.error or KeyError
        if isinstance(error, OSError) and error.strerror:
            raise ModelFileError(f"{name} cannot be read: {error.strerror}.") from None
        raise ModelFileError(f"{name} cannot be read as an image. It may be cut short or damaged: {error}.") from None


def _open(name: str, stream: BinaryIO, formats: Sequence[str]) -> Any:
    """Open the file as a pillow image without decoding it. Raises: ModelFileError: it is a TIFF of too many parts."""
    head = stream.read(8)
    order: Literal["big", "little"] = "big" if head[:2] == b"MM" else "little"
    big = head[2:3] == b"+"  # BigTIFF
    if head[:2] in (b"MM", b"II"):
        stream.seek(int.from_bytes(stream.read(8) if big else head[4:], order))
        for _ in range(min(int.from_bytes(stream.read(8 if big else 2), order), 65_536)):
            entry = stream.read(20 if big else 12)
            kind, count = int.from_bytes(entry[2:4], order), int.from_bytes(entry[4 : 12 if big else 8], order)
            if kind not in TIFF_BYTES and count > MAX_PARTS:
                raise ModelFileError(f"{name} is a TIFF of more than {MAX_PARTS} parts. Save the image again.")
    stream.seek(0)
    return pillow().Image.open(stream, formats=formats)


def _check_size(name: str, file: Any, size: int, most: int, advice: str) -> None:
    """Raise `ModelFileError` if the header says that decoding the image would take too much memory."""
    width, height = file.size
    tile = [getattr(file, "tag_v2", {}).get(tag, 1) for tag in (322, 323)]  # TIFF's TileWidth and TileLength
    pixels = max(width * height, tile[0] * tile[1])
    found = f"{pixels} pixels" if pixels > most else f"{size} bytes" if size > most * MAX_BYTES else ""
    if found:
        raise ModelFileError(f"{name} is too large, {found}: make it smaller{advice}.")


def _check_scans(name: str, stream: BinaryIO) -> None:
    """Raise `ModelFileError` if a JPEG has so many scans that decoding it would take minutes."""
    place = stream.tell()
    stream.seek(0)
    data, at, scans = stream.read(), 0, 0
    stream.seek(place)
    while (at := data.find(b"\xff", at)) >= 0 and data[at + 1 : at + 2] != b"\xd9":  # the end of the image
        kind = data[at + 1 : at + 2]
        scans += kind == b"\xda"
        if scans > MAX_SCANS:
            raise ModelFileError(f"{name} is a JPEG of more than {MAX_SCANS} scans. Save the image again.")
        alone = kind in STANDALONE
        at += 1 if alone else 2 + int.from_bytes(data[at + 2 : at + 4])


def _pixels(file: Any) -> np.ndarray:
    """Decode an open pillow image to uint8 RGB. 16-bit grey keeps its range; palettes and alpha are resolved."""
    if file.mode.startswith(("I", "F")):
        values = np.asarray(file)
        return to_rgb(values / 65535 if "16" in file.mode or (file.mode == "I" and values.max() > 255) else values)
    if file.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in file.info:
        return to_rgb(np.asarray(file.convert("RGBA")))
    return np.array(file.convert("RGB"))
