"""Explain every image in a folder by every method: one picture file for each, the map drawn over the image."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

import keras_explainable as ke
from keras_explainable import loading
from keras_explainable.gallery.maps import explained, groups, leaving_out
from keras_explainable.viz import framing, image, image_files, output, tables

BATCH = 8  # images in memory at once, at their full size
DENSEST = 0.8  # opacity of the largest value
MAPS = "maps.npz"
SCENES, SEED = 6, 7  # the sample scenes: those of the demo


class Sample(NamedTuple):
    """An image: its name, which is its path inside the folder, and a function that reads it as uint8 (H, W, 3)."""

    name: str
    read: Callable[[], np.ndarray]


@dataclass
class Dump:
    """The picture files, why images or methods were left out, and how images were brought to the model's size."""

    pictures: list[Path] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    fits: dict[str, list[str]] = field(default_factory=dict)  # what was done to the size -> the names of images

    def __str__(self) -> str:
        example = f", such as {ke.errors.printable(self.pictures[0])}" if self.pictures else ""
        notes = [*framing.lines(self.fits), *tables.left_out(self.left_out)]
        return "\n".join([*notes, f"Pictures: {len(self.pictures)}{example}"])


def make(
    loaded: loading.Loaded,
    folder: str | Path | None = None,
    out: str | Path = "explained",
    methods: Sequence[str] | None = None,
    progress: bool = True,
    fit: str | None = None,
    overwrite: bool = False,
    max_pixels: int = image_files.MAX_PIXELS,
    units: Callable[[np.ndarray], np.ndarray] | None = None,
    params: Callable[[str], dict] = lambda name: {},
    npz: bool = False,
) -> Dump:
    """Save `out/<image>_<method>.png`: the image, and over it the method's map of one unit.

    The picture shows what the model saw, in the image's own pixels. No two pictures share a name: <image> is the file's
    name with its folders and without its suffix, and is numbered if another has the same or differs only in case. An
    image is left out if it cannot be read, or if its picture cannot be written under its name.

    Args:
        loaded: the result of `loading.load`.
        folder: a folder of images, searched with its subfolders; None for the sample scenes.
        methods: names of registered methods; None for all.
        progress: whether to show a progress bar.
        fit: how images are brought to the model's size: "stretch", "crop" or "pad"; None for the model's default.
        overwrite: whether to replace existing pictures.
        max_pixels: images with more pixels are left out.
        units: the unit (N,) of each of a batch of images; None for the one with the highest score.
        params: the parameters of a method, by its name.
        npz: also write `out/maps.npz`: the maps (N, H, W) of each method, and the names of the images.

    Raises:
        InputError: the folder does not exist, holds no images, or is also `out`.
        OutputError: pictures exist, or cannot be written.
    """
    names = list(methods or (record.name for record in ke.registry.listed()))
    samples = scenes() if folder is None else find(Path(folder), Path(out), max_pixels)
    place = output.Out(Path(out), overwrite)
    found = [sample.name for sample in samples]
    stems = [Path(name).with_suffix("").as_posix() for name in found]
    titles = dict(zip(found, output.distinct(stems, [_file("", method) for method in names]), strict=True))
    place.check([*(_file(title, method) for title in titles.values() for method in names), *[MAPS] * npz])
    kept: dict[str, list[np.ndarray]] = {}
    explained_images: list[str] = []
    bar = keras.utils.Progbar(len(samples) * len(names), verbose=int(progress), unit_name="picture")
    dump, how = Dump(), fit or loaded.preprocess.fit
    for start in range(0, len(samples), BATCH):
        batch = samples[start : start + BATCH]
        photos = _photos(batch, loaded.size, how, dump)
        if photos:
            inputs = loaded.preprocess(np.stack([framing.resized(photo, loaded.size) for photo in photos.values()]))
            chosen = loading.scores(loaded, inputs).argmax(-1) if units is None else units(inputs)
            explained_images += photos
        for group in groups(names):
            wanted = {method: params(method) for method in group if photos and method not in dump.left_out}
            if wanted:
                maps = explained(wanted, loaded.model, inputs, chosen, dump.left_out, batch_size=BATCH, verbose=0)
                for method, explanation in maps.items():
                    _save(photos, explanation.maps, titles, method, place, dump)
                    if npz:
                        kept.setdefault(method, []).append(explanation.maps[..., 0])
            bar.add(len(batch) * len(group))
    if kept:
        arrays: dict[str, Any] = {name: np.concatenate(each) for name, each in kept.items()}
        place.write(MAPS, lambda file: np.savez_compressed(file, images=np.array(explained_images), **arrays))
    return dump


def _save(
    photos: dict[str, np.ndarray], maps: np.ndarray, titles: dict[str, str], method: str, place: output.Out, dump: Dump
) -> None:
    """Write a picture for each photo and its map (H, W, 1). Leave out pictures that cannot be written by their name."""
    Image = image_files.pillow().Image
    for (name, photo), heat in zip(photos.items(), maps, strict=True):
        with leaving_out(name, dump.left_out):
            picture = Image.fromarray(image.fading(photo, heat[..., 0], DENSEST))
            dump.pictures.append(place.write(_file(titles[name], method), partial(picture.save, format="PNG")))


def _file(title: str, method: str) -> str:
    return f"{title}_{method}.png"


def find(folder: Path, out: Path, max_pixels: int = image_files.MAX_PIXELS) -> list[Sample]:
    """Return the images in a folder and its subfolders except `out`, in the order of their names.

    Raises:
        InputError: the folder does not exist, holds no images, or is also `out`.
    """
    if not folder.is_dir():
        problem = "is a file" if folder.exists() else "does not exist"
        raise ke.errors.InputError(f"{folder} {problem}, and a folder of images was expected.")
    made = Path(os.path.realpath(out))  # unlike `Path.resolve`, accepts a link to itself
    if made == folder.resolve():
        raise ke.errors.InputError(f"The pictures would be written among the images in {folder}: use another folder.")
    try:
        inside = sorted(folder.rglob("*"))
    except RecursionError:
        raise ke.errors.InputError(f"{folder} has too many folders inside one another. Move its images.") from None
    paths = (p for p in inside if p.suffix.lower() in image_files.SUFFIXES and not p.is_dir())
    if folder.resolve() in made.parents:
        # Pictures from an earlier run are not to be explained.
        paths = (p for p in paths if made not in Path(os.path.realpath(p)).parents)
    read = partial(image_files.read_image, max_pixels=max_pixels)
    samples = [Sample(p.relative_to(folder).as_posix(), partial(read, p)) for p in paths]
    if not samples:
        endings = ", ".join(sorted(image_files.SUFFIXES))
        raise ke.errors.InputError(f"{folder} holds no images: name a folder of files that end in {endings}.")
    return samples


def scenes() -> list[Sample]:
    """Return the sample scenes, which are drawn, not read."""
    photos = ke.demo.load_scenes(SCENES, SEED)[0]
    return [Sample(f"scene-{i:02d}", partial(np.asarray, photo)) for i, photo in enumerate(photos, 1)]


def _photos(batch: Sequence[Sample], size: tuple[int, int], fit: str, dump: Dump) -> dict[str, np.ndarray]:
    """Read images, and stretch, crop or pad them. Record what was done, and leave out images that cannot be read."""
    photos = {}
    for sample in batch:
        with leaving_out(sample.name, dump.left_out):
            photo = sample.read()
            photos[sample.name] = framing.framed(photo, size, fit)
            if done := framing.describe(photo.shape, size, fit):
                dump.fits.setdefault(done, []).append(sample.name)
    return photos
