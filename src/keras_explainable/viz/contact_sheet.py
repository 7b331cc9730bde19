"""Rows of pictures with captions in one image file, drawn with pillow only."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_explainable.errors import InputError, printable
from keras_explainable.viz import output
from keras_explainable.viz.framing import not_too_large
from keras_explainable.viz.image import to_rgb
from keras_explainable.viz.image_files import fit, pillow

HEIGHT, GAP, MARGIN, TEXT = 288, 8, 26, 15
PAPER, INK = (255, 255, 255), (40, 40, 40)


def save_sheet(
    panels: Sequence[tuple[np.ndarray, str]], path: str | Path, height: int = HEIGHT, columns: int | None = None
) -> Path:
    """Save a `sheet` to a file, in the format of its suffix. An existing file is replaced."""
    return output.write(Path(path), sheet(panels, height, columns).save)


def sheet(panels: Sequence[tuple[np.ndarray, str]], height: int = HEIGHT, columns: int | None = None) -> Any:
    """Draw images (H, W, C) at one height, each over its caption, in rows of `columns` (None: one row).

    Returns: a pillow image.
    Raises: InputError: there are no images, or one is so long and narrow that the result would be too large."""
    if not panels:
        raise InputError("There is nothing to save: `panels` is empty.")
    columns = columns or len(panels)
    rows = [panels[start : start + columns] for start in range(0, len(panels), columns)]
    drawn = [_row(row, height) for row in rows]
    whole = pillow().Image.new("RGB", (max(row.width for row in drawn), sum(row.height for row in drawn)), PAPER)
    for number, row in enumerate(drawn):
        whole.paste(row, (0, number * row.height))
    return whole


def _row(panels: Sequence[tuple[np.ndarray, str]], height: int) -> Any:
    pictures = [_at_height(to_rgb(image), height) for image, _ in panels]
    width = sum(p.shape[1] for p in pictures) + GAP * (len(pictures) - 1)
    sheet = pillow().Image.new("RGB", (width, height + MARGIN), PAPER)
    draw = pillow().ImageDraw.Draw(sheet)
    font = pillow().ImageFont.load_default(TEXT)
    left = 0
    for picture, (_, caption) in zip(pictures, panels, strict=True):
        sheet.paste(pillow().Image.fromarray(picture), (left, 0))
        draw.text((left + 2, height + 4), _shortened(caption, picture.shape[1], font), INK, font)
        left += picture.shape[1] + GAP
    return sheet


def _at_height(image: np.ndarray, height: int) -> np.ndarray:
    return fit(image, not_too_large((height, max(1, round(image.shape[1] * height / image.shape[0]))), image.shape))


def _shortened(caption: str, width: int, font: object) -> str:
    """Return the caption, cut to the width of its picture."""
    text = printable(caption)
    while text and font.getlength(text) > width - 4:  # type: ignore[attr-defined]
        text = text[:-2].rstrip("… ") + "…" if len(text) > 2 else ""
    return text
