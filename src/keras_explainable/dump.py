"""Every method's map of every image in a folder, laid over the image: one picture file for each."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np

import keras_explainable as ke
from keras_explainable import loading
from keras_explainable.viz import framing, image, text

SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
BATCH = 8  # images in memory at once, at their full size
DENSEST = 0.8  # opacity of the strongest value
SCENES, SEED = 6, 7  # the sample scenes: those of the demo


class Sample(NamedTuple):
    """An image that can be read: its path inside the folder, which is its name, and its pixels, uint8 (H, W, 3)."""

    name: str
    read: Callable[[], np.ndarray]


@dataclass
class Dump:
    """The picture files, why an image or a method was left out, and what gave images the model's size."""

    pictures: list[Path] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    fits: dict[str, list[str]] = field(default_factory=dict)  # what was done -> the names of images

    def __str__(self) -> str:
        example = f", such as {self.pictures[0]}" if self.pictures else ""
        told = [*framing.lines(self.fits), *text.left_out(self.left_out)]
        return "\n".join([*told, f"Pictures: {len(self.pictures)}{example}"])


def make(
    loaded: loading.Loaded,
    folder: str | Path | None = None,
    out: str | Path = "results",
    methods: Sequence[str] | None = None,
    progress: bool = True,
    fit: str | None = None,
) -> Dump:
    """Save `out/<image>.<method>.png`: the image, and over it the method's map of the unit that it scores highest.

    The picture shows what the model saw, in the image's own pixels. No two pictures share a name, since <image> is a
    whole file name with its folders and ending.

    Args:
        loaded: what `loading.load` gives.
        folder: of images, searched with all folders inside; None for the sample scenes.
        methods: names of registered methods; None for all.
        progress: whether to show a bar.
        fit: how images get the model's size: "stretch", "crop" or "pad"; None for what goes with the model.

    Raises:
        InputError: there is no such folder, it holds no images, or it is `out` as well.
    """
    samples = scenes() if folder is None else find(Path(folder), Path(out))
    names = list(methods or (record.name for record in ke.registry.listed()))
    bar = keras.utils.Progbar(len(samples) * len(names), verbose=int(progress), unit_name="picture")
    dump, how = Dump(), fit or loaded.preprocess.fit
    for start in range(0, len(samples), BATCH):
        batch = samples[start : start + BATCH]
        photos = {name: _frame(name, photo, loaded.size, how, dump) for name, photo in _read(batch, dump).items()}
        if photos:
            inputs = loaded.preprocess(np.stack([framing.resized(photo, loaded.size) for photo in photos.values()]))
            units = loading.scores(loaded, inputs).argmax(-1)
        for name in names:
            if photos and name not in dump.left_out:
                with leaving_out(name, dump.left_out):
                    maps = getattr(ke, name)(loaded.model, inputs, units, batch_size=BATCH, verbose=0)[1]
                    dump.pictures += [save(*one, name, Path(out)) for one in zip(photos.items(), maps, strict=True)]
            bar.add(len(batch))
    return dump


@contextmanager
def leaving_out(name: str, left_out: dict[str, str]) -> Iterator[None]:
    """Run a method that may not fit the model: if so, why is entered under its name, and the others go on."""
    try:
        yield
    except ke.errors.ExplainError as error:
        left_out[name] = str(error)


def save(photo: tuple[str, np.ndarray], maps: np.ndarray, method: str, out: Path) -> Path:
    """One picture file of a named photo and its map (H, W, 1)."""
    name, pixels = photo
    path = out / f"{name}.{method}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    image.pillow().Image.fromarray(laid_over(pixels, maps[..., 0])).save(path)
    return path


def laid_over(photo: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """The photo, whose own colours show through where the map (h, w) is weak. The map's highest percent share a colour,
    so that a few pixels that stand out do not leave the rest dark."""
    signed = image.is_signed([heat])
    limits = image.limits_of([heat], signed, image.BRIGHTEST)
    positions = image.scale(image.stretch(heat, photo.shape[:2]), limits)
    return image.overlay(photo, heat, DENSEST * image.opacity(positions, signed), limits=limits)


def find(folder: Path, out: Path) -> list[Sample]:
    """The images in a folder and all folders inside but `out`, in the order of their names.

    Raises:
        InputError: there is no such folder, it holds no images, or it is `out` as well.
    """
    if not folder.is_dir():
        problem = "is a file" if folder.exists() else "does not exist"
        raise ke.errors.InputError(f"{folder} {problem}, and a folder of images was expected.")
    made = out.resolve()
    if made == folder.resolve():
        raise ke.errors.InputError(f"The pictures would lie among the images in {folder}: give them another folder.")
    paths = (p for p in sorted(folder.rglob("*")) if p.suffix.lower() in SUFFIXES and p.is_file())
    if folder.resolve() in made.parents:
        paths = (p for p in paths if made not in p.resolve().parents)  # pictures of an earlier run are no images
    samples = [Sample(p.relative_to(folder).as_posix(), partial(image.read_image, p)) for p in paths]
    if not samples:
        endings = ", ".join(sorted(SUFFIXES))
        raise ke.errors.InputError(f"{folder} holds no images: files whose names end in {endings}.")
    return samples


def scenes() -> list[Sample]:
    """Sample scenes that are drawn, not read."""
    photos = ke.demo.load_scenes(SCENES, SEED)[0]
    return [Sample(f"scene-{i:02d}", partial(np.asarray, photo)) for i, photo in enumerate(photos, 1)]


def _read(batch: Sequence[Sample], dump: Dump) -> dict[str, np.ndarray]:
    """The pixels of each image; one that cannot be read is left out."""
    photos = {}
    for sample in batch:
        try:
            photos[sample.name] = sample.read()
        except ke.errors.ModelFileError as error:
            dump.left_out[sample.name] = str(error)
    return photos


def _frame(name: str, photo: np.ndarray, size: tuple[int, int], fit: str, dump: Dump) -> np.ndarray:
    """What of an image the model shall see; what that does to it is entered."""
    if done := framing.told(photo.shape, size, fit):
        dump.fits.setdefault(done, []).append(name)
    return framing.framed(photo, size, fit)
