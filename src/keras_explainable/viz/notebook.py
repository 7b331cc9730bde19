"""Maps in a notebook: `ke.show` puts the viewer into the output of a cell."""

import base64
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_explainable.errors import InputError, printable
from keras_explainable.viz import data_uris, framing, viewer_files
from keras_explainable.viz.image import as_map, highlight, to_numpy, to_rgb
from keras_explainable.viz.page import escape, to_json

MOST = 48  # pictures in one output
SIDE = 512  # pixels of a photo's longer side
STEPS = 65535  # the values of a map are kept in 16 bits


@dataclass(frozen=True)
class Picture:
    """A map (H, W) over one of the photos."""

    photo: int
    label: str
    values: np.ndarray


class Shown:
    """Pictures that a notebook shows. Without scripts, as on a page that shows notebooks, they stand still."""

    def __init__(self, photos: Sequence[np.ndarray], pictures: Sequence[Picture], left_out: int = 0) -> None:
        self.photos, self.pictures, self.left_out = photos, pictures, left_out

    def __repr__(self) -> str:
        return f"{len(self.pictures)} maps of {len(self.photos)} images, which a notebook shows."

    def _repr_html_(self) -> str:
        name = f"kx-{secrets.token_hex(8)}"
        data = {
            "photos": [data_uris.picture(photo) for photo in self.photos],
            "pictures": [_encoded(picture) for picture in self.pictures],
            "colors": viewer_files.colors(),
        }
        more = f"<p>{self.left_out} more maps are not shown: show fewer images at a time.</p>" if self.left_out else ""
        still = "".join(self._still(picture) for picture in self.pictures)
        script = viewer_files.script(viewer_files.CELL)
        return (
            f'<div class="kx kx-shown" id="{name}"><style>{viewer_files.style()}</style>'
            f'<div class="kx-static">{still}</div>{more}'
            f'<script type="application/json">{to_json(data)}</script>'
            f'<script type="module">{script}\nstart(document.getElementById("{name}"));</script></div>'
        )

    def _still(self, picture: Picture) -> str:
        drawn = data_uris.picture(highlight(self.photos[picture.photo], picture.values))
        label = escape(picture.label)
        return f'<figure><img src="{drawn}" alt="{label}" width="224"><figcaption>{label}</figcaption></figure>'


def show(images: Any, explanation: Any, names: Sequence[str] | None = None) -> Shown:
    """Show maps over images in a notebook, with opacity, colours, peaks and an enlarged view.

    Args:
        images: the images (N, H, W, C) that were explained, or other pictures of them. One image may be (H, W, C).
        explanation: what `ke.explain` or a shortcut returns, also of several methods; or maps (N, H, W, K) or
            (N, H, W).
        names: what the explained units are called, one for each of K. By default, they are numbered, and the scores
            are shown if they are known.

    Raises:
        InputError: the number of images or names does not fit, or maps are not two-dimensional.
    """
    photos = [_photo(image) for image in _several(images)]
    pictures: list[Picture] = []
    for label, scores, maps in _explained(explanation, len(photos)):
        if names is not None and len(names) != maps.shape[-1]:
            raise InputError(f"{len(names)} names came for {maps.shape[-1]} units: give one for each.")
        for i, k in np.ndindex(len(photos), maps.shape[-1]):
            parts = [label, _name(names, k, maps.shape[-1]), "" if scores is None else f"{scores[i, k]:.3g}"]
            pictures.append(
                Picture(i, ", ".join(filter(None, parts)) or f"map {len(pictures)}", as_map(maps[i, ..., k]))
            )
    pictures.sort(key=lambda picture: picture.photo)
    return Shown(photos, pictures[:MOST], max(0, len(pictures) - MOST))


def _name(names: Sequence[str] | None, k: int, number: int) -> str:
    if names is not None:
        return printable(names[k])
    return f"units[{k}]" if number > 1 else ""


def _several(images: Any) -> list:
    if isinstance(images, (list, tuple)):
        return list(images)
    array = to_numpy(images)
    return [array] if array.ndim < 4 and not (array.ndim == 3 and array.shape[-1] not in (1, 3, 4)) else list(array)


def _photo(image: Any) -> np.ndarray:
    photo = to_rgb(image)
    longest = max(photo.shape[:2])
    if longest <= SIDE:
        return photo
    height, width = (max(1, round(side * SIDE / longest)) for side in photo.shape[:2])
    return framing.resized(photo, (height, width))


def _explained(explanation: Any, number: int) -> list[tuple[str, np.ndarray | None, np.ndarray]]:
    """For each method its label, its scores (N, K) or None, and its maps (N, H, W, K)."""
    if isinstance(explanation, Mapping):
        return [(label, *_explained(one, number)[0][1:]) for label, one in explanation.items()]
    scores = to_numpy(explanation.scores) if hasattr(explanation, "scores") else None
    maps = to_numpy(explanation.maps if hasattr(explanation, "maps") else explanation)
    maps = maps[..., None] if maps.ndim == 3 else maps
    if maps.ndim != 4 or len(maps) != number:
        raise InputError(
            f"{number} images and maps of shape {maps.shape} came, and maps (images, height, width, units) or (images, "
            "height, width) were expected."
        )
    label = getattr(explanation, "about", {}).get("method", "")
    return [(printable(label), scores, maps)]


def _encoded(picture: Picture) -> dict[str, Any]:
    """A picture as the viewer reads it: values in 16-bit steps between their ends."""
    values = picture.values
    low, high = float(values.min()), float(values.max())
    steps = np.rint((values - low) / ((high - low) or 1.0) * STEPS).astype("<u2")
    return {
        "photo": picture.photo,
        "label": picture.label,
        "low": low,
        "high": high,
        "height": values.shape[0],
        "width": values.shape[1],
        "values": base64.b64encode(steps.tobytes()).decode(),
    }
