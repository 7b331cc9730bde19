"""The networks of the leaderboard, and the images that they are explained on."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keras_explainable import demo

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
OBJECTS = 3  # in each scene: a correlation over two is 1 or -1
SIDE = 224

COLUMNS: dict[str, tuple[str, dict[str, Any]]] = {
    "single_deletion": ("single_deletion", {}),
    "srg": ("srg", {"fill": "mean"}),
    "srg (blur)": ("srg", {"fill": "blur"}),
    "srg (linear)": ("srg", {"fill": "linear"}),
    "faithfulness_correlation": ("faithfulness_correlation", {}),
    "class_selectivity": ("class_selectivity", {}),
    "mass_accuracy": ("mass_accuracy", {}),
    "pointing_game": ("pointing_game", {}),
}
TRUTH = "single_deletion"


@dataclass(frozen=True)
class Subject:
    """A network and its images, with what is known of them."""

    model: Any
    x: np.ndarray
    y: np.ndarray
    given: dict[str, Any]  # masks, groups, others and objects, as `ke.evaluate` takes them

    def first(self, images: int) -> dict[str, Any]:
        """What is known of the first images."""
        some = {name: value[:images] for name, value in self.given.items() if name != "objects"}
        objects = self.given.get("objects")
        return some | ({} if objects is None else {"objects": tuple(part[:images] for part in objects)})

    def weights(self) -> str:
        """A digest of the network's weights."""
        return digest(*self.model.get_weights())

    def image(self, number: int) -> str:
        """A digest of an image, with its number and unit. Baselines depend on the number."""
        return digest(self.x[number], self.y[number], self.given["masks"][number], np.int64(number))


def digest(*arrays: Any) -> str:
    """A digest of arrays and their shapes."""
    found = hashlib.blake2b(digest_size=12)
    for array in map(np.ascontiguousarray, arrays):
        found.update(f"{array.shape} {array.dtype}".encode())
        found.update(array.tobytes())
    return found.hexdigest()


@dataclass(frozen=True)
class Part:
    """Networks that are measured by the same metrics."""

    title: str
    networks: dict[str, Callable[[int], Subject]]  # each a function of the seed
    metrics: list[str]  # of `COLUMNS`
    least: int  # the number of images to keep if there is time for them
    batch: int
    by: str  # the metric that orders the rows
    pilot: int = 4  # images that are timed

    @property
    def columns(self) -> dict[str, tuple[str, dict[str, Any]]]:
        """The metrics with their parameters, by the names of their columns."""
        return {name: COLUMNS[name] for name in self.metrics}


def scenes(load: Callable[[], Any], seed: int, objects: int) -> Subject:
    """A demo network, and a number of objects in scenes that are drawn again without each object."""
    found = demo.load_counterfactuals(-(-objects // OBJECTS), seed, OBJECTS)
    masks, redrawn = found.objects()
    others = masks.any(axis=1) & ~found.masks
    x, y = found.images[found.scene].astype("float32"), found.units[:, None]
    given = {"masks": found.masks, "groups": found.scene, "others": others, "objects": (masks, redrawn)}
    whole = Subject(load(), x, y, given)
    return Subject(whole.model, x[:objects], y[:objects], whole.first(objects))


def photos(name: str, folder: Path) -> Subject:
    """A network of the shared data, and its photos with masks."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    import networks

    images, masks, classes = zip(*masked_photos(networks, folder), strict=True)
    model, x = networks.load(name), networks.preprocess(name, np.stack(images))
    scores = model.predict(x, verbose=0, batch_size=8)
    y = np.array([[max(of, key=lambda unit: row[unit])] for row, of in zip(scores, classes, strict=True)])
    return Subject(model, x, y, {"masks": np.stack(masks)})


def masked_photos(networks: Any, folder: Path) -> Iterator[tuple[np.ndarray, np.ndarray, list[int]]]:
    """Photos, cropped or resized as suits the networks; the mask of an object in each; and the classes that stand for
    it."""
    from PIL import Image

    folder = folder / "coco_masks"
    for file, about in sorted(json.loads((folder / "annotations.json").read_text()).items()):
        image = Image.open(folder / "images" / file)
        mask = Image.open(folder / "masks" / file.replace(".jpg", ".png")).convert("L").point(lambda v: 255 * (v > 0))
        see = networks.crop if "crop" in about["agree_modes"] else squashed
        yield see(image), see(mask)[..., 0] > 127, about["imagenet_classes_for_category"]


def squashed(image: Any) -> np.ndarray:
    """An image resized to the size that networks take, without keeping its proportions."""
    return np.asarray(image.convert("RGB").resize((SIDE, SIDE)))


def parts(objects: int = 200, folder: Path = SHARED) -> dict[str, Part]:
    """The parts of the leaderboard. The networks that matter most come first."""
    demos = {
        "demo CNN": demo.load_model,
        "mask-robust CNN": demo.load_mask_robust,
        "demo transformer": demo.load_transformer,
    }
    real = {"MobileNetV2": "mobilenet_v2", "DeiT-tiny": "deit_tiny", "SqueezeNet": "squeezenet_v1_1"}
    return {
        "truth": Part(
            "Scenes with known ground truth",
            {name: lambda seed, load=load: scenes(load, seed, objects) for name, load in demos.items()},
            [name for name in COLUMNS if name != "pointing_game"],
            least=48,
            batch=16,
            by=TRUTH,
        ),
        "photos": Part(
            "Photos with masks",
            {name: lambda seed, file=file: photos(file, folder) for name, file in real.items()},
            ["srg", "faithfulness_correlation", "mass_accuracy", "pointing_game"],
            least=12,
            batch=4,
            by="srg",
            pilot=1,
        ),
    }
