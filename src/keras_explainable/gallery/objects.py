"""What the demo explains: the objects of the sample scenes, as the model takes them."""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

import keras_explainable as ke
from keras_explainable import loading
from keras_explainable.viz import image, image_files

SEED = 7  # training draws its scenes from other seeds, so these are unseen
BATCH = 16
JUDGED = 48  # objects on which the embedded model's maps are judged, shown or not
REFERENCES = 8  # other scenes: the baselines of methods that average over all of their `baselines`


@dataclass(frozen=True)
class Objects:
    """M objects to explain: for each a photo, the photo as the model takes it, a unit, and the object's pixels."""

    scenes: np.ndarray  # (M,) the number of the scene
    photos: np.ndarray  # (M, H, W, 3) uint8
    inputs: np.ndarray  # (M, H, W, C), or in the model's layout
    units: np.ndarray  # (M,)
    masks: np.ndarray  # (M, H, W) bool
    names: np.ndarray  # (M,) of the units

    def __len__(self) -> int:
        return len(self.units)

    def of(self, chosen: Any) -> "Objects":
        """Select some objects by a slice or a mask."""
        return Objects(*(getattr(self, field.name)[chosen] for field in fields(self)))


def every_object(loaded: loading.Loaded, images: int, judged: int = JUDGED) -> Objects:
    """Return the objects of the first scenes: those to be shown, and more until there are `judged` to judge by."""
    photos, labels, masks = ke.demo.load_scenes(images + judged, SEED)
    scenes, units = np.nonzero(labels)
    shown = int((scenes < images).sum())
    count = max(judged, -(-shown // BATCH) * BATCH)  # whole batches: a smaller last one would be compiled again
    scenes, units = scenes[:count], units[:count]
    return _objects(loaded, scenes, photos[scenes], units, masks[scenes, units])


def best_unit(loaded: loading.Loaded, images: int) -> Objects:
    """Return one object for each scene: the unit that the model scores highest, and the pixels of all objects."""
    photos, _, masks = ke.demo.load_scenes(images, SEED)
    photos = np.stack([image_files.fit(photo, loaded.size) for photo in photos])
    units = loading.scores(loaded, loaded.preprocess(photos)).argmax(-1)
    outlines = np.stack(
        [image_files.fit(image.to_rgb(mask), loaded.size)[..., 0] > 127 for mask in np.any(masks, axis=1)]
    )
    return _objects(loaded, np.arange(images), photos, units, outlines)


def _objects(loaded: loading.Loaded, scenes: Any, photos: Any, units: Any, masks: Any) -> Objects:
    known = loaded.class_names
    names = np.array([known[unit] if known else f"unit {unit}" for unit in units])
    return Objects(scenes, photos, loaded.preprocess(photos), units, masks, names)


def references(loaded: loading.Loaded) -> np.ndarray:
    """Return scenes that are not explained, as the model takes them."""
    photos = ke.demo.load_scenes(REFERENCES, SEED + 1)[0]
    return loaded.preprocess(np.stack([image_files.fit(photo, loaded.size) for photo in photos]))
