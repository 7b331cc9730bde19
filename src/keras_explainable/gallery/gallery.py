"""The demo: explain the sample scenes by every method, and evaluate the maps by the scenes' masks."""

import inspect
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import chain
from pathlib import Path
from typing import Any

import keras
import numpy as np

import keras_explainable as ke
from keras_explainable import loading
from keras_explainable.gallery.maps import explained, groups
from keras_explainable.viz import contact_sheet, image, image_files, output, tables
from keras_explainable.viz.html_report import Row, Subject, report

SEED = 7  # training draws its scenes from other seeds, so these are unseen
BATCH = 16
MOST = 1000  # the largest number of scenes: all maps are kept in memory, and a picture of each is written
JUDGED = 48  # objects on which the embedded model's maps are judged, shown or not
FEW = 16  # of these, for methods that repeat
JUDGES = ("pointing_game", "mass_accuracy")  # where a map's largest value lies, and where its positive values do
REFERENCES = 8  # other scenes: the baselines of methods that average over all of their `baselines`
# The most repetitions, by what a method needs, to keep the demo short.
DRAWS = {ke.registry.Need.GRADIENT: 16, ke.registry.Need.BLACK_BOX: 200}
CAPTION = (
    "To save time, methods that repeat do so at most "
    + " or ".join(f"{most} times ({needs})" for needs, most in DRAWS.items())
    + ":\ntheir numbers differ from docs/methods.md, which uses the default repetitions."
)
REPORT = "report.html"
TITLE = "What does the network look at?"


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


@dataclass(frozen=True)
class Gallery:
    """The result: a row for each method and baseline, the report, the pictures, and why methods were left out."""

    rows: list[Row]
    report: Path
    pictures: list[Path]
    left_out: dict[str, str]

    def table(self) -> str:
        """Format the rows for a terminal."""
        cells = [[r.name, r.family, _number(r.seconds), _percent(r.points), _percent(r.mass)] for r in self.rows]
        return tables.table(["method", "family", "s/image", "peak on object", "mass on object"], cells)


def make(
    out: str | Path = "demo",
    model: str | None = None,
    images: int = 6,
    progress: bool = True,
    overwrite: bool = False,
) -> Gallery:
    """Explain the sample scenes by every registered method. Write the report, and a picture for each scene and method.

    For the embedded model, every object of a scene is explained; for any other model, the unit that it scores highest.

    Raises:
        InputError: `images` is not positive, or too large. ModelFileError: there is no such model.
        OutputError: files exist and `overwrite` is false, or they cannot be written.
    """
    if not 1 <= images <= MOST:
        came = ke.errors.shortly(images)
        raise ke.errors.InputError(f"images={came} came, and the demo explains 1 to {MOST:,} scenes.")
    place = output.Out(Path(out), overwrite)
    names = (_picture(scene, record.name) for scene in range(images) for record in ke.methods.list())
    place.check(chain([REPORT], names))
    loaded = loading.load(model)
    embedded = model in (None, loading.DEMO)
    objects = every_object(loaded, images) if embedded else best_unit(loaded, images)
    shown = objects.of(objects.scenes < images)
    rows, left_out = run_all(loaded, objects, len(shown), progress, DRAWS, embedded)
    rows = [replace(row, maps=row.maps[: len(shown)]) for row in rows]
    pictures = [path for row in rows for path in save_pictures(row, shown, place)]
    rows += baselines(loaded.model, objects)
    lead, notes = words(loaded.model, objects, shown, embedded)
    notes = [*notes, *tables.left_out(left_out)]
    page = report(TITLE, lead, subjects_of(loaded, shown), rows, notes)
    path = place.write(REPORT, lambda file: file.write(page.encode()))
    return Gallery(rows, path, pictures, left_out)


def run_all(
    loaded: loading.Loaded,
    objects: Objects,
    shown: int,
    progress: bool,
    draws: Mapping[ke.registry.Need, int],
    embedded: bool,
) -> tuple[list[Row], dict[str, str]]:
    """Return every method's row, and for methods that cannot run on this model, the reason.

    If the model is embedded, methods that need attention explain the embedded transformer instead."""
    rows: dict[str, Row] = {}
    left_out: dict[str, str] = {}
    transformer = ke.demo.load_transformer() if embedded else loaded.model
    others = references(loaded)
    names = [record.name for record in ke.methods.list()]
    bar = keras.utils.Progbar(len(names), verbose=int(progress), unit_name="method")
    for of_attention in (False, True):
        model = transformer if of_attention else loaded.model
        same = [n for n in names if (ke.registry.Need.ATTENTION in ke.registry.METHODS[n].needs) == of_attention]
        for group in groups(same):
            rows |= run(group, model, objects, shown, draws, others, left_out)
            bar.add(len(group))
    return [rows[name] for name in names if name in rows], left_out


def every_object(loaded: loading.Loaded, images: int) -> Objects:
    """Return the objects of the first scenes: those to be shown, and more until there are enough to judge by."""
    photos, labels, masks = ke.demo.load_scenes(images + JUDGED, SEED)
    scenes, units = np.nonzero(labels)
    shown = int((scenes < images).sum())
    count = max(JUDGED, -(-shown // BATCH) * BATCH)  # whole batches: a smaller last one would be compiled again
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


def run(
    names: Sequence[str],
    model: Any,
    objects: Objects,
    shown: int,
    draws: Mapping[ke.registry.Need, int],
    others: np.ndarray,
    left_out: dict[str, str],
) -> dict[str, Row]:
    """Return, by name, the row of each of several methods that share passes: its maps of the objects, how good they
    are, and the seconds for each. Enter in `left_out` why a method cannot explain the model.

    If a method repeats, few objects are explained beyond those shown, with at most `draws` repetitions. A method that
    averages over all of its `baselines` gets `others`: with one plain colour, `deep_shap` would equal `deeplift`.
    If there are several batches, the time leaves out the first one, which includes compilation. All methods have the
    same share of the time that they take together.
    """
    given = {name: _params(name, draws, others) for name in names}
    if any("repetitions" in params for params in given.values()):
        objects = objects.of(slice(0, max(FEW, -(-shown // BATCH) * BATCH)))
    maps: dict[str, list[np.ndarray]] = {name: [] for name in names}
    seconds = []
    for start in range(0, len(objects), BATCH):
        batch = objects.of(slice(start, start + BATCH))
        before = time.perf_counter()
        found = explained(given, model, batch.inputs, batch.units, left_out, batch_size=BATCH, verbose=0)
        given = {name: params for name, params in given.items() if name in found}
        seconds.append((time.perf_counter() - before) / len(batch) / max(1, len(given)))
        for name in given:
            maps[name].append(found[name].maps[..., 0])
        if not given:
            return {}
    whole = {name: np.concatenate(maps[name]) for name in given}
    marks = judged(model, objects, whole)
    per_map = float(np.mean(seconds[1:] or seconds))
    return {name: _row(name, per_map, marks[name], whole[name]) for name in given}


def _params(name: str, draws: Mapping[ke.registry.Need, int], others: np.ndarray) -> dict[str, Any]:
    """The parameters of a method in the demo."""
    about = ke.registry.METHODS[name]
    taken = inspect.signature(about.function).parameters
    repetitions = taken.get("repetitions")
    if repetitions is None:
        return {"baselines": others} if "baselines" in taken else {}
    most = min((most for need, most in draws.items() if about.needs == {need}), default=repetitions.default)
    return {"repetitions": min(repetitions.default, most)}


def _row(name: str, seconds: float, marks: list[float | None], maps: np.ndarray) -> Row:
    about = ke.registry.METHODS[name]
    points, mass = marks
    return Row(name, about.family, about.summary, about.reference, seconds, points, mass, maps)


def judged(model: Any, objects: Objects, maps: Mapping[str, np.ndarray]) -> dict[str, list[float | None]]:
    """Return, for each row of maps (M, H, W), the means of `JUDGES` over the objects; None where none has a value."""
    rows = {name: found[..., None] for name, found in maps.items()}
    found = ke.evaluate(
        model, objects.inputs, objects.units, rows, JUDGES, objects.masks, baselines=False, batch_size=BATCH, verbose=0
    )
    cells = found.summary()
    means = {name: [cells[metric][name].mean for metric in JUDGES] for name in rows}
    return {name: [None if np.isnan(mean) else mean for mean in each] for name, each in means.items()}


def baselines(model: Any, objects: Objects) -> list[Row]:
    """Return the rows of two baselines that ignore the image: a random pixel and the centre pixel."""
    same, centre = np.ones(objects.masks.shape, "float32"), np.zeros(objects.masks.shape, "float32")
    centre[:, objects.masks.shape[1] // 2, objects.masks.shape[2] // 2] = 1
    found = judged(model, objects, {"random pixel": same, "centre pixel": centre})
    said = {
        "random pixel": "The share of the image that the object covers.",
        "centre pixel": "The pixel in the middle of every image.",
    }
    return [Row(name, "chance", text, points=found[name][0], mass=found[name][1]) for name, text in said.items()]


def subjects_of(loaded: loading.Loaded, objects: Objects) -> list[Subject]:
    """Return the report's columns."""
    scores = loading.scores(loaded, objects.inputs)[np.arange(len(objects)), objects.units]
    return [
        Subject(photo, f"Scene {scene + 1}", str(name), f"score {score:.2f}", mask)
        for scene, photo, name, score, mask in zip(
            objects.scenes, objects.photos, objects.names, scores, objects.masks, strict=True
        )
    ]


def save_pictures(row: Row, objects: Objects, place: output.Out) -> Iterator[Path]:
    """Write a picture for each scene: the photo, and a method's map of each object."""
    for scene in np.unique(objects.scenes):
        members = np.flatnonzero(objects.scenes == scene)
        panels = [(objects.photos[members[0]], f"scene {scene + 1}")]
        panels += [(image.highlight(objects.photos[i], row.maps[i]), str(objects.names[i])) for i in members.tolist()]
        yield place.write(_picture(scene, row.name), contact_sheet.sheet(panels).save)


def _picture(scene: int, method: str) -> str:
    return f"scene-{scene + 1:02d}_{method}.png"


def summary(made: Gallery) -> str:
    """Describe the result for a terminal."""
    lines = tables.left_out(made.left_out)
    lines += ["", CAPTION, made.table(), "", f"Report:   {ke.errors.printable(made.report)}"]
    pictures = f"Pictures: {len(made.pictures)} in {made.report.parent}, such as {made.pictures[0]}"
    return "\n".join([*lines, ke.errors.printable(pictures)])


def words(model: Any, objects: Objects, shown: Objects, embedded: bool) -> tuple[str, list[str]]:
    """Return the report's lead and notes."""
    count = len(np.unique(shown.scenes))
    if embedded:
        known = "Each column is one object; its maps explain the score of that object's class."
        scenes = "one scene" if count == 1 else f"{count} scenes"
        source = f"{scenes} that the network has never seen, and whose objects are known pixel by pixel."
        source += " Methods that need attention explain a transformer on the network's last maps."
        timed = "Per map: the time for one map, without compilation; methods that share passes share their time."
    else:
        known = "Each column is one scene; its maps explain the unit that the model scores highest."
        source = f"{count} sample scenes. It was not trained on such objects, so the names it gives them do not matter."
        timed = "Per map: the time for one map; methods that share passes share their time. With few scenes, this "
        timed += "includes compilation."
    name = getattr(model, "name", type(model).__name__)
    lead = f"Model {name} on {keras.backend.backend()}, explained by every method of keras-explainable on {source}"
    notes = [
        known + " White lines are the true outlines. Colours run from a map's lowest value to its highest "
        "(the highest 1 % of the values share one colour).",
        f"Each method is judged on {len(objects)} maps. Methods that repeat are judged on {FEW} and those shown, with "
        f"fewer repetitions than by default (at most {max(DRAWS.values())}). Peak on object: how often the map's "
        "largest value lies on the object (pointing_game). Mass on object: the share of the map's positive values that "
        "lies there (mass_accuracy). "
        f"deep_shap uses {REFERENCES} other scenes as baselines.",
        "A random pixel and the centre pixel show what is reached without looking at the image. " + timed,
    ]
    return lead, notes


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.0f} %"
