"""Pictures as text for an HTML file: images and maps as data URIs, masks as SVG paths."""

import base64
import io
from typing import Any

import numpy as np

from keras_explainable.viz.colormaps import BRIGHTEST, SIGNED, UNSIGNED, colorize, is_signed, limits_of, scale
from keras_explainable.viz.image import as_map, opacity, to_bytes, to_rgb
from keras_explainable.viz.image_files import pillow


def picture(image: Any) -> str:
    """Return an image as a data URI (PNG)."""
    return _data_uri(pillow().Image.fromarray(to_rgb(image)))


def heat(values: Any) -> str:
    """Return a map in colour as a data URI. Opacity follows the value, so that the image shows where values are small.

    Colours go from the map's minimum to its 99th percentile. If the map goes below zero, they are symmetric about zero.
    """
    values = as_map(values)
    signed = is_signed([values])
    steps = np.linspace(0, 1, 256)
    file = pillow().Image.fromarray(to_bytes(scale(values, limits_of([values], signed, BRIGHTEST))))
    file.putpalette(to_bytes(colorize(steps, SIGNED if signed else UNSIGNED)).tobytes())
    return _data_uri(file, transparency=to_bytes(opacity(steps, signed)).tobytes())


def edges(mask: np.ndarray) -> str:
    """Return the border of a mask as an SVG path in pixels, with one stroke for each straight run of pixel edges."""
    padded = np.pad(np.asarray(mask, bool), 1)
    across = padded[1:, 1:-1] != padded[:-1, 1:-1]
    down = (padded[1:-1, 1:] != padded[1:-1, :-1]).T
    strokes = [f"M{start} {line}h{length}" for line, start, length in _runs(across)]
    return "".join(strokes + [f"M{line} {start}v{length}" for line, start, length in _runs(down)])


def _runs(lines: np.ndarray) -> list[tuple[int, int, int]]:
    """Return (line, start, length) for each run of True along the rows."""
    steps = np.diff(np.pad(lines, ((0, 0), (1, 1))).astype(int), axis=1)
    return [
        (line, int(start), int(stop - start))
        for line, row in enumerate(steps)
        for start, stop in zip(np.flatnonzero(row == 1), np.flatnonzero(row == -1), strict=True)
    ]


def _data_uri(file: Any, **options: bytes) -> str:
    buffer = io.BytesIO()
    file.save(buffer, format="PNG", optimize=True, **options)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
