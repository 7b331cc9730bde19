"""Pictures as text for an HTML file: images and maps as data URIs, masks as SVG paths."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_explainable.viz.colormaps import BRIGHTEST, SIGNED, UNSIGNED, colorize, is_signed, limits_of, scale
from keras_explainable.viz.image import as_map, opacity, stretch, to_bytes, to_rgb
from keras_explainable.viz.image_files import pillow

QUALITY = 72  # of lossy pictures, from 0 to 100
KNEE = 240  # the grey of the 99th percentile in a sprite
WIDEST = 8192  # pixels: how wide a sprite may be


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


Levels = tuple[list[int], list[float]]


@dataclass(frozen=True)
class Sprite:
    """Several maps in one grey picture: tiles in rows of `columns`."""

    uri: str
    tile: tuple[int, int]  # the height and width of a tile
    columns: int
    levels: list[Levels]


def sprite(maps: Sequence[np.ndarray] | np.ndarray) -> Sprite:
    """Return maps (H, W) as one lossy picture: values are within a few percent of the 99th percentile of their map.

    A page holds a hundred of these in the space of ten pictures without loss. Smaller maps are resized to the largest.
    """
    each = [as_map(values) for values in maps]
    tile = (max(one.shape[0] for one in each), max(one.shape[1] for one in each))
    levels = [_levels(one) for one in each]
    columns = min(len(each), max(1, WIDEST // tile[1]))
    whole = np.zeros((-(-len(each) // columns) * tile[0], columns * tile[1]), "uint8")
    for i, (one, (greys, values)) in enumerate(zip(each, levels, strict=True)):
        top, left = i // columns * tile[0], i % columns * tile[1]
        whole[top : top + tile[0], left : left + tile[1]] = np.rint(np.interp(stretch(one, tile), values, greys))
    return Sprite(_data_uri(pillow().Image.fromarray(whole), "WEBP", quality=QUALITY, method=6), tile, columns, levels)


def _levels(values: np.ndarray) -> Levels:
    """Greys of a map in a sprite, and their values, which are linear between them. The highest 1 % have few greys."""
    signed = is_signed([values])
    low, knee = limits_of([values], signed, BRIGHTEST)
    most = float(np.abs(values).max() if signed else values.max())
    if signed:
        return [0, 255 - KNEE, KNEE, 255], [-most, low, knee, most]
    return [0, KNEE, 255], [low, knee, most]


def small(image: Any) -> str:
    """Return an image as a data URI in a lossy format, for pictures that are only looked at."""
    return _data_uri(pillow().Image.fromarray(to_rgb(image)), "WEBP", quality=QUALITY)


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


def _data_uri(file: Any, kind: str = "PNG", **options: Any) -> str:
    buffer = io.BytesIO()
    file.save(buffer, format=kind, **({"optimize": True} if kind == "PNG" else {}), **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"
