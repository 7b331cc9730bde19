"""Images, maps, and maps over images in one matplotlib figure, without pyplot and its global state."""

import functools
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np

from keras_explainable.errors import BackendError, InputError
from keras_explainable.viz.cells import cells
from keras_explainable.viz.colormaps import SIGNED, UNSIGNED, ColorMap, Limits, is_signed, limits_of
from keras_explainable.viz.image import as_map, channels_last, unit_range

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Colors(NamedTuple):
    """The colours of a group of maps: the colour map (None: matplotlib's default), and the ends of a shared scale."""

    cmap: ColorMap | None
    signed: bool
    limits: Limits | None

    def style(self, values: np.ndarray) -> dict[str, Any]:
        """Return the arguments of `imshow` for one map of the group."""
        low, high = self.limits or limits_of([values], self.signed)
        return {"cmap": self.cmap, "vmin": low, "vmax": high if high > low else low + 1}


def figure(
    images: Any,
    titles: Sequence[str | None] | None = None,
    overlays: Any = None,
    *,
    bands: int | Sequence[int] | None = None,
    slice: int | tuple[int, int] | None = None,
    overlay_alpha: float = 0.5,
    rows: int | None = None,
    cols: int | None = None,
    figsize: tuple[float, float] | None = None,
    cmap: ColorMap | None = None,
    overlay_cmap: ColorMap | None = None,
    signed: bool | None = None,
    shared: bool = False,
    subplots_ws: float = 0.0,
    subplots_hs: float = 0.0,
) -> "Figure":
    """Draw a grid of images, each with its overlay (a map of any size), if it has one.

    Args:
        images: an array (N, H, W, C) or (N, H, W), or a list of (H, W) and (H, W, C), C in 1, 3, 4. None leaves a cell
            blank. Images with three or four channels, or one channel of integers, are pictures, with values as
            `unit_range` reads them. One channel of floats is a map, drawn in `cmap`.
        overlays: as many maps as images, or K times as many in the order (K, N), which repeats the images. The maps
            (N, H, W, K) of `explain` are put in that order. For one image, (H, W, K) are its K maps.
        bands: for images with any number of channels, the three channels drawn as red, green and blue, or one drawn
            as grey.
        slice: for volumes and their maps, which have one more spatial axis in each shape above, where to cut them: an
            index on the first spatial axis, or (axis, index). A coarse map is cut at the same place.
        signed: whether colours are symmetric about zero. Default: if a map goes below zero and no colour map is named.
        shared: one scale for all maps, and one for all overlays.

    Raises: InputError: wrong shapes or counts. BackendError: matplotlib is not installed.
    """
    flat, covers = cells(images, overlays, bands, slice)
    rows, cols = _grid(len(flat), rows, cols)
    labels = _labels(titles, len(flat))
    pictures = [None if image is None else channels_last(image) for image in flat]
    covers = [None if cover is None else as_map(cover) for cover in covers]
    alone = _colors([as_map(p) for p in pictures if p is not None and _is_map(p)], cmap, None, signed, shared)
    above = _colors([c for c in covers if c is not None], overlay_cmap, UNSIGNED, signed, shared)

    figsize = figsize or _figsize(rows, cols, pictures + covers, any(labels))
    drawn, axes = canvas(rows, cols, figsize, (subplots_ws, subplots_hs))
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, picture, cover, label in zip(axes.flat, pictures, covers, labels, strict=False):
        if picture is not None:
            _draw(axis, picture, alone, cmap)
        if cover is not None:
            height, width = (cover if picture is None else picture).shape[:2]
            extent = (-0.5, width - 0.5, height - 0.5, -0.5)  # a coarse map is stretched over the whole image
            axis.imshow(cover, alpha=overlay_alpha, extent=extent, interpolation="bilinear", **above.style(cover))
        axis.set_title(label, fontsize="small")
    return drawn


def save(drawn: "Figure", to_file: str | Path | None = None, to_buffer: BinaryIO | None = None) -> None:
    """Write a figure to a file, in the format of its suffix, creating its folder; and as PNG to a binary buffer."""
    if to_file is not None:
        Path(to_file).parent.mkdir(parents=True, exist_ok=True)
        drawn.savefig(to_file)
    if to_buffer is not None:
        drawn.savefig(to_buffer, format="png")


def _grid(count: int, rows: int | None, cols: int | None) -> tuple[int, int]:
    if (rows is not None and rows < 1) or (cols is not None and cols < 1):
        raise InputError(f"rows={rows}, cols={cols} came, and at least one row and one column were expected.")
    if cols is None:
        cols = math.ceil(count / rows) if rows else math.ceil(math.sqrt(count))
    rows = rows or math.ceil(count / cols)
    if rows * cols < count:
        raise InputError(f"{count} images do not fit {rows} rows of {cols}. Pass only rows= or only cols=.")
    return rows, cols


def _labels(titles: Sequence[str | None] | None, count: int) -> list[str]:
    labels = ["" if title is None else str(title) for title in ([titles] if isinstance(titles, str) else titles or ())]
    if len(labels) > count:
        raise InputError(f"{len(labels)} titles came for {count} images: give at most one for each.")
    return labels + [""] * (count - len(labels))


def _is_map(picture: np.ndarray) -> bool:
    return picture.dtype.kind == "f" and (picture.ndim == 2 or picture.shape[-1] == 1)


def _colors(maps: list[np.ndarray], cmap: Any, default: str | None, signed: bool | None, shared: bool) -> Colors:
    signed = signed if signed is not None else cmap is None and is_signed(maps)
    return Colors(cmap or (SIGNED if signed else default), signed, limits_of(maps, signed) if shared and maps else None)


def _draw(axis: Any, picture: np.ndarray, colors: Colors, cmap: ColorMap | None) -> None:
    """Draw a map in the group's colours, a one-channel picture in grey or `cmap`, and a colour picture as it is."""
    if _is_map(picture):
        values = as_map(picture)
        axis.imshow(values, **colors.style(values))
    elif picture.ndim == 2 or picture.shape[-1] == 1:
        axis.imshow(unit_range(picture).reshape(picture.shape[:2]), cmap=cmap or "gray", vmin=0, vmax=1)
    else:
        axis.imshow(unit_range(picture))


def _figsize(rows: int, cols: int, pictures: list[Any], titled: bool) -> tuple[float, float]:
    height, width = next((p.shape[:2] for p in pictures if p is not None), (1, 1))
    return 2.0 * cols, rows * (2.0 * min(max(height / width, 0.25), 4) + 0.25 * titled)


def canvas(
    rows: int, cols: int, figsize: tuple[float, float], space: tuple[float, float] = (0, 0)
) -> tuple["Figure", np.ndarray]:
    """Return a figure and its axes without pyplot. Notebooks show it even if pyplot was never imported.

    Raises: BackendError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
        from matplotlib.layout_engine import ConstrainedLayoutEngine
    except ImportError:
        raise BackendError('Figures need matplotlib, which is missing: pip install "keras-explainable[viz]"') from None
    layout = ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02, wspace=space[0], hspace=space[1])
    drawn: Any = Figure(figsize=figsize, layout=layout)
    axes = drawn.subplots(rows, cols, squeeze=False)
    drawn._repr_png_ = functools.partial(_png, drawn)
    return drawn, axes


def _png(drawn: "Figure") -> bytes:
    buffer = io.BytesIO()
    save(drawn, to_buffer=buffer)
    return buffer.getvalue()
