"""What one wants at hand in a notebook: `visualize`."""

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
    overlay_alpha: float = 0.75,
    rows: int | None = None,
    cols: int | None = None,
    *,
    to_file: str | Path | None = None,
    to_buffer: BinaryIO | None = None,
    **options: Any,
) -> "Figure":
    """Show images, maps, and maps over images in a grid; returns the matplotlib figure, which notebooks display.

    `to_file` and `to_buffer` write it as well (PNG in the buffer). The `options` are those of `viz.figure.figure`:
    `figsize`, `cmap`, `overlay_cmap`, `signed`, `shared`, `subplots_ws`, `subplots_hs`.

        ke.utils.visualize([*images, *maps], cols=4)
        ke.utils.visualize(images, overlays=maps, to_file="maps.png")
    """
    from keras_explainable.viz.figure import figure, save

    grid = {"overlay_alpha": overlay_alpha, "rows": rows, "cols": cols}
    canvas = figure(images, titles, overlays, **grid, **options)
    save(canvas, to_file, to_buffer)
    return canvas
