"""Image files as bytes, of each kind that a data set may have, with the pixels that they stand for."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

SIDES = (8, 12)  # (H, W)


def scene(seed=0, size=SIDES):
    """Random pixels, uint8 (H, W, 3)."""
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), "uint8")


def encoded(pixels, kind="png", mode=None, **how):
    """An image file of these pixels."""
    picture, buffer = Image.fromarray(pixels), io.BytesIO()
    (picture.convert(mode) if mode else picture).save(buffer, kind, **how)
    return buffer.getvalue()


def chunk(kind, data):
    """A part of a PNG file."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, depth, color, rows):
    """A PNG file, also of kinds that pillow does not write, or that says another size than it has."""
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts
