"""The demo: explain the sample scenes, and evaluate the maps."""

import inspect
import os
import shutil
import sys
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import keras
import numpy as np

import keras_explainable as ke
from keras_explainable import loading
from keras_explainable.gallery import QUICK, provenance
from keras_explainable.gallery.findings import MOST as MOST_NAMES
from keras_explainable.gallery.findings import findings
from keras_explainable.gallery.maps import explained, groups
from keras_explainable.gallery.objects import BATCH, REFERENCES, SEED, Objects, references
from keras_explainable.gallery.objects import best_unit as best_unit
from keras_explainable.gallery.objects import every_object as every_object
from keras_explainable.viz import contact_sheet, image, output, tables
from keras_explainable.viz.html_report import Finding, Row, Subject, report

MOST = 1000  # the largest number of scenes: all maps are kept in memory
FEW = 16  # of the objects that are judged, for methods that repeat
JUDGES = ("pointing_game", "mass_accuracy")  # where a map's largest value lies, and where its positive values do
VERDICT = "srg"  # says whether a method's maps depend on the model
COUNT = 32  # objects on which the maps of the demo are judged: enough to tell methods apart, in little time
# The most repetitions, by what a method needs, to keep the demo short.
DRAWS = {ke.registry.Need.GRADIENT: 16, ke.registry.Need.BLACK_BOX: 200}
SHOWN = QUICK
CAPTION = (
    "To save time, methods that repeat do so at most "
    + " or ".join(f"{most} times ({needs})" for needs, most in DRAWS.items())
    + ":\ntheir numbers differ from docs/methods.md, which uses the default repetitions."
)
REPORT = "report.html"
TITLE = "What does the network look at?"
NEXT = """Next:
  your own photo   {program} explain PHOTO.jpg --model ResNet50V2
  your own model   {program} explain PHOTO.jpg --model MODEL.keras
  in the browser   {program} web
  every method     {every}"""


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
    *,
    every: bool = False,
    pictures: bool = False,
    command: str = "",
) -> Gallery:
    """Explain the sample scenes, and write the report.

    For the embedded model, every object of a scene is explained; for any other model, the unit that it scores highest.

    Args:
        every: run every registered method, not only `SHOWN`.
        pictures: also write a JPEG file for each scene and method.
        command: what was run, for the report's footer.

    Raises:
        InputError: `images` is not positive, or too large. ModelFileError: there is no such model.
        OutputError: files exist and `overwrite` is false, or they cannot be written.
    """
    if not 1 <= images <= MOST:
        came = ke.errors.shortly(images)
        raise ke.errors.InputError(f"images={came} came, and the demo explains 1 to {MOST:,} scenes.")
    place = output.Out(Path(out), overwrite)
    names = [record.name for record in ke.methods.list() if every or record.name in SHOWN]
    files = (_picture(scene, name) for scene in range(images) for name in names) if pictures else ()
    place.check(chain([REPORT], files))
    loaded = loading.load(model)
    embedded = model in (None, loading.DEMO)
    objects = every_object(loaded, images, COUNT) if embedded else best_unit(loaded, images)
    shown = objects.of(objects.scenes < images)
    rows, left_out = run_all(loaded, objects, len(shown), progress, DRAWS, embedded, names, few=None)
    rows = sorted(rows, key=lambda row: row.name not in SHOWN)
    saved = [path for row in rows for path in save_pictures(row, shown, place)] if pictures else []
    base = baselines(loaded.model, objects)
    found: list[Finding] = []
    advice = [UNTRAINED.format(model=model)]
    if embedded:
        rows, found, advice = judged_by_the_model(loaded, objects, len(shown), rows)
    rows = [replace(_remarked(row, base[0].points), maps=row.maps[: len(shown)]) for row in rows]
    lead, notes = words(loaded.model, objects, shown, embedded, [row.name for row in rows])
    notes = [*notes, *tables.left_out(left_out)]
    made = provenance.line(SEED, command)
    page = report(TITLE, lead, subjects_of(loaded, shown), [*rows, *base], notes, found, advice, made)
    path = place.write(REPORT, lambda file: file.write(page.encode()))
    return Gallery([*rows, *base], path, saved, left_out)


UNTRAINED = (
    "The sample scenes do not tell which methods to trust for this model, which was not trained on them. Measure it on "
    "your own photos: keras-explainable evaluate PHOTOS --model {model}."
)


def judged_by_the_model(
    loaded: loading.Loaded, objects: Objects, shown: int, rows: Sequence[Row]
) -> tuple[list[Row], list[Finding], list[str]]:
    """Return the rows with the verdict of `ke.evaluate` on each, the findings, and which method to use.

    Methods that need attention explain another network, so that they are evaluated with that one."""
    made: list[Row] = []
    main = None
    for of_attention in (False, True):
        same = [row for row in rows if _of_attention(row.name) == of_attention]
        if same:
            model = ke.demo.load_transformer() if of_attention else loaded.model
            maps = {row.name: np.asarray(row.maps)[..., None] for row in same}
            found = ke.evaluate(
                model,
                objects.inputs,
                objects.units,
                maps,
                [VERDICT, *JUDGES],
                objects.masks,
                batch_size=BATCH,
                verbose=0,
            )
            main = main or found
            better = found.beating(VERDICT, list(maps))
            made += [
                replace(row, doubtful=row.name not in better, verdict="" if row.name in better else IGNORANT)
                for row in same
            ]
    assert main is not None
    names = [row.name for row in made if not row.doubtful]
    sound = tables.listed(names, MOST_NAMES) if names else ""
    advice = [
        f"Better than every map that knows nothing of the network: {sound}." if sound else "",
        main.conclusion(VERDICT),
        "srg removes pixels in the order of a map, from both ends, and measures how much sooner the score falls. This "
        "holds for this small network. For yours, run: keras-explainable evaluate PHOTOS --model MODEL",
    ]
    maps = {row.name: np.asarray(row.maps) for row in made}
    order = {row.name: n for n, row in enumerate(rows)}
    return sorted(made, key=lambda row: order[row.name]), findings(main, objects, shown, maps), [*filter(None, advice)]


IGNORANT = "No better than a map that knows nothing of the model."


def _of_attention(name: str) -> bool:
    return ke.registry.Need.ATTENTION in ke.registry.METHODS[name].needs


def _remarked(row: Row, chance: float | None) -> Row:
    """Mark a row whose peaks are on the object less often than a random pixel."""
    if row.points is None or chance is None or row.points > chance:
        return row
    return replace(
        row, doubtful=True, verdict=" ".join(filter(None, [row.verdict, "Its peaks are no better than chance."]))
    )


def run_all(
    loaded: loading.Loaded,
    objects: Objects,
    shown: int,
    progress: bool,
    draws: Mapping[ke.registry.Need, int],
    embedded: bool,
    names: Sequence[str] | None = None,
    few: int | None = FEW,
) -> tuple[list[Row], dict[str, str]]:
    """Return the rows of methods (None: all), and for methods that cannot run on this model, the reason. `few` is as in
    `run`.

    If the model is embedded, methods that need attention explain the embedded transformer instead."""
    rows: dict[str, Row] = {}
    left_out: dict[str, str] = {}
    others = references(loaded)
    names = [record.name for record in ke.methods.list()] if names is None else names
    bar = keras.utils.Progbar(len(names), verbose=int(progress), unit_name="method")
    for of_attention in (False, True):
        same = [name for name in names if _of_attention(name) == of_attention]
        model = ke.demo.load_transformer() if embedded and of_attention and same else loaded.model
        for group in groups(same):
            rows |= run(group, model, objects, shown, draws, others, left_out, few)
            bar.add(len(group))
    return [rows[name] for name in names if name in rows], left_out


def run(
    names: Sequence[str],
    model: Any,
    objects: Objects,
    shown: int,
    draws: Mapping[ke.registry.Need, int],
    others: np.ndarray,
    left_out: dict[str, str],
    few: int | None = FEW,
) -> dict[str, Row]:
    """Return, by name, the row of each of several methods that share passes: its maps of the objects, how good they
    are, and the seconds for each. Enter in `left_out` why a method cannot explain the model.

    If a method repeats, `few` objects are explained, or those shown if these are more (None: all of them), with at most
    `draws` repetitions. A method that
    averages over all of its `baselines` gets `others`: with one plain colour, `deep_shap` would equal `deeplift`.
    If there are several batches, the time leaves out the first one, which includes compilation. All methods have the
    same share of the time that they take together.
    """
    given = {name: _params(name, draws, others) for name in names}
    if few is not None and any("repetitions" in params for params in given.values()):
        objects = objects.of(slice(0, max(few, -(-shown // BATCH) * BATCH)))
    maps: dict[str, list[np.ndarray]] = {name: [] for name in names}
    seconds = []
    for start in range(0, len(objects), BATCH):
        batch = objects.of(slice(start, start + BATCH))
        before = time.perf_counter()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*miss the change of the score")  # `draws` are few, as notes say
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
    docs = provenance.page_of(name)
    return Row(name, about.family, about.summary, about.reference, seconds, points, mass, maps, about.caveat, docs=docs)


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
    """Write a JPEG file for each scene: the photo, and a method's map of each object."""
    for scene in np.unique(objects.scenes):
        members = np.flatnonzero(objects.scenes == scene)
        panels = [(objects.photos[members[0]], f"scene {scene + 1}")]
        panels += [(image.highlight(objects.photos[i], row.maps[i]), str(objects.names[i])) for i in members.tolist()]
        yield place.write(_picture(scene, row.name), contact_sheet.sheet(panels).save)


def _picture(scene: int, method: str) -> str:
    return f"scene-{scene + 1:02d}_{method}.jpg"


def summary(made: Gallery, every: str = "keras-explainable demo --all") -> str:
    """Describe the result for a terminal: what was found, where it is, and what to do next."""
    lines = [*tables.left_out(made.left_out), "", CAPTION, made.table(), ""]
    lines += [f"Report:   {ke.errors.printable(made.report.absolute())}"]
    if made.pictures:
        lines += [
            ke.errors.printable(f"Pictures: {len(made.pictures)} in {made.report.parent}, such as {made.pictures[0]}")
        ]
    return "\n".join([*lines, "", NEXT.format(program=_program(), every=every)])


def _program() -> str:
    """Return how to run the command line: by its path if it is in an environment that is not activated."""
    name = provenance.DISTRIBUTION
    return name if shutil.which(name) else os.path.relpath(Path(sys.executable).with_name(name))


def words(model: Any, objects: Objects, shown: Objects, embedded: bool, names: Sequence[str]) -> tuple[str, list[str]]:
    """Return the report's lead and notes."""
    count = len(np.unique(shown.scenes))
    if embedded:
        known = "Each column is one object; its maps explain the score of that object's class."
        scenes = "one scene" if count == 1 else f"{count} scenes"
        source = f"{scenes} that the network has never seen, and whose objects are known pixel by pixel."
        if any(map(_of_attention, names)):
            source += " Methods that need attention explain a transformer on the network's last maps."
        timed = "Per map: the time for one map, without compilation; methods that share passes share their time."
    else:
        known = "Each column is one scene; its maps explain the unit that the model scores highest."
        source = f"{count} sample scenes. It was not trained on such objects, so the names it gives them do not matter."
        timed = "Per map: the time for one map; methods that share passes share their time. With few scenes, this "
        timed += "includes compilation."
    name = getattr(model, "name", type(model).__name__)
    lead = f"Model {name} on {keras.backend.backend()}, explained by keras-explainable on {source}"
    notes = [
        known + " White lines are the true outlines. Colours run from a map's lowest value to its highest "
        "(the highest 1 % of the values share one colour).",
        f"Each method is judged on {len(objects)} maps. Methods that repeat do so less than by default (at most "
        f"{max(DRAWS.values())} times). Peak on object: how often the map's largest value lies on the object "
        "(pointing_game). Mass on object: the share of the map's positive values that "
        "lies there (mass_accuracy). Each map is scaled by itself: compare shapes, not strengths."
        + (f" deep_shap uses {REFERENCES} other scenes as baselines." if "deep_shap" in names else ""),
        "A random pixel and the centre pixel show what is reached without looking at the image. " + timed,
    ]
    return lead, notes


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.0f} %"
