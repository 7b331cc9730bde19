"""Helpers for notebooks: `visualize`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["visualize"]


def visualize(
    images: Any,
    titles: Sequence[str | None] | None = None,
    overlays: Any = None,
    overlay_alpha: float = 0.5,
    rows: int | None = None,
    cols: int | None = None,
    *,
    bands: int | Sequence[int] | None = None,
    slice: int | tuple[int, int] | None = None,
    figsize: tuple[float, float] | None = None,
    cmap: Any = None,
    overlay_cmap: Any = None,
    signed: bool | None = None,
    shared: bool = False,
    to_file: str | Path | None = None,
    to_buffer: BinaryIO | None = None,
    subplots_ws: float = 0.0,
    subplots_hs: float = 0.0,
) -> "Figure":
    """Show images, maps, and maps over images in a grid. Return the matplotlib figure, which notebooks display.

    `to_file` and `to_buffer` also write the figure, the buffer as PNG. `keras_explainable.viz.figure.figure` describes
    the other arguments.

        ke.utils.visualize([*images, *maps], cols=4)
        ke.utils.visualize(images, overlays=maps, to_file="maps.png")
        ke.utils.visualize(satellite, overlays=maps, bands=(3, 2, 1))  # channels drawn as red, green and blue
        ke.utils.visualize(scans, overlays=maps, slice=(2, 40))  # volumes, cut at index 40 of the last spatial axis
    """
    from keras_explainable.viz.figure import figure, save

    canvas = figure(
        images,
        titles,
        overlays,
        bands=bands,
        slice=slice,
        overlay_alpha=overlay_alpha,
        rows=rows,
        cols=cols,
        figsize=figsize,
        cmap=cmap,
        overlay_cmap=overlay_cmap,
        signed=signed,
        shared=shared,
        subplots_ws=subplots_ws,
        subplots_hs=subplots_hs,
    )
    save(canvas, to_file, to_buffer)
    return canvas
