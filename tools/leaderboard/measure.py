"""The values of methods on one network. Values that are in the cache are not computed again."""

from __future__ import annotations

import csv
import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from tools.leaderboard.budget import SHARES, TIMED, Columns, Setting, cut, too_expensive
from tools.leaderboard.data import Part, Subject, digest

import keras_explainable as ke
from keras_explainable.errors import InputError
from keras_explainable.evaluation.budget import ROWS, Times, timed
from keras_explainable.metrics.baselines import BASELINES

CONTROLS = (*BASELINES, "oracle")
PILOT = 4  # images that are timed
LARGEST_SHARE = 0.25  # of a network's time: what one method may take on the smallest number of images


@dataclasses.dataclass
class Values:
    """Values (rows, columns, images); NaN where a metric is not defined."""

    rows: list[str]
    columns: Columns
    values: np.ndarray
    groups: np.ndarray | None
    left_out: dict[str, str]


@dataclasses.dataclass(frozen=True)
class Chosen:
    """What is computed for a network.

    Args:
        setting: its repetitions, points, fills and images.
        cuts: what was cut, in words.
        expensive: methods that are left out because they take too long.
        fits: whether there is enough time.
    """

    setting: Setting
    cuts: list[str] = dataclasses.field(default_factory=list)
    expensive: list[str] = dataclasses.field(default_factory=list)
    fits: bool = True


class Cache:
    """Values by method, metric, weights and image, and the settings that were chosen, in a folder."""

    def __init__(self, folder: Path | None):
        self.folder = folder
        self.values: dict[tuple[str, str], float] = {}
        self.settings: dict[str, Any] = {}
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            if (folder / "values.csv").exists():
                with (folder / "values.csv").open() as file:
                    self.values = {(what, image): float(value) for what, image, value in csv.reader(file)}
            if (folder / "settings.json").exists():
                self.settings = json.loads((folder / "settings.json").read_text())

    def add(self, values: dict[tuple[str, str], float]) -> None:
        """Keep values."""
        self.values |= values
        if self.folder is not None:
            with (self.folder / "values.csv").open("a", newline="") as file:
                csv.writer(file).writerows((*key, repr(value)) for key, value in values.items())

    def keep(self, key: str, found: Any) -> None:
        """Keep a value that JSON can express."""
        self.settings[key] = found
        if self.folder is not None:
            (self.folder / "settings.json").write_text(json.dumps(self.settings, indent=1))

    def choose(self, key: str, found: Chosen) -> None:
        """Keep what was chosen, so that a method added later is measured like the others."""
        self.keep(key, dataclasses.asdict(found))

    def chosen(self, key: str) -> Chosen | None:
        """What was chosen."""
        if key not in self.settings:
            return None
        known = dict(self.settings[key])
        if "dear" in known:  # the field's name in older caches
            known["expensive"] = known.pop("dear")
        setting = Setting(**known["setting"] | {"without": tuple(known["setting"]["without"])})
        return Chosen(**known | {"setting": setting})


def key(row: Any, column: Any, subject: str, seed: int) -> str:
    """What a value depends on besides the image."""
    return digest(np.bytes_(json.dumps([row, column, subject, seed, ke.__version__]).encode()))


def evaluated(subject: Subject, images: int, part: Part, **how: Any) -> Any:
    """`ke.evaluate` on the first images."""
    return ke.evaluate(
        subject.model,
        subject.x[:images],
        subject.y[:images],
        batch_size=min(part.batch, images),
        verbose=0,
        **subject.first(images),
        **how,
    )


def times(subject: Subject, part: Part, methods: list[str], seed: int) -> Times:
    """The seconds for one image: of each method at the smallest share of its repetitions, and of each metric with
    `TIMED` points. They are measured on the first images."""
    few = min(part.pilot, len(subject.x))
    least = Setting(few, SHARES[-1], TIMED)
    columns = least.columns(part.columns) | {"": ("gini", {})}
    maps = {name: BASELINES[name](subject.x[:few], 1, 0, seed) for name in ROWS}

    def measure(names: list[str], metrics: list[str]) -> dict[str, float]:
        some: dict[str, Any] = {name: maps[name] for name in names if name in maps}
        some |= least.methods([name for name in names if name not in maps])
        wanted = {name: columns[name] for name in metrics or [""]}
        found = evaluated(subject, few, part, methods=some, metrics=wanted, seed=seed, baselines=False)
        return dict(found.about["seconds"])

    found = timed(measure, methods, part.columns, few)
    return Times(found.maps | dict.fromkeys(CONTROLS, 0.0), found.metrics, found.shared)


def values(subject: Subject, part: Part, methods: list[str], setting: Setting, seed: int, cache: Cache) -> Values:
    """The values of all methods that fit, of the baselines and of the oracle. Those in the cache are not computed."""
    columns, weights, number = setting.columns(part.columns), subject.weights(), setting.images
    rows: dict[str, Any] = setting.methods(methods) | {name: name for name in CONTROLS}
    keys = {(row, c): key(rows[row], columns[c], weights, seed) for row in rows for c in columns}
    images = [subject.image(n) for n in range(number)]

    def known(row: str) -> bool:
        return all((keys[row, c], image) in cache.values for c in columns for image in images)

    missing, left_out = [row for row in rows if not known(row)], {}
    if missing:
        ours = {row: rows[row] for row in missing if row not in CONTROLS}
        controls = len(ours) < len(missing)
        try:
            found = evaluated(
                subject, number, part, methods=ours or methods[:1], metrics=columns, seed=seed, baselines=controls
            )
        except InputError as error:
            if len(missing) == len(rows):
                raise
            left_out = dict.fromkeys(ours, str(error))
        else:
            left_out = found.about["left_out"]
            new = found.values[..., 0]
            cache.add(
                {
                    (keys[row, c], image): float(new[m, k, n])
                    for m, row in enumerate(found.methods)
                    if row in missing
                    for k, c in enumerate(columns)
                    for n, image in enumerate(images)
                }
            )
    there = [row for row in rows if row not in left_out]
    table = np.array([[[cache.values[keys[row, c], image] for image in images] for c in columns] for row in there])
    groups = subject.given.get("groups")
    return Values(there, columns, table, None if groups is None else groups[:number], left_out)


def chosen(subject: Subject, part: Part, methods: list[str], share: float, left: float, seed: int) -> Chosen:
    """What to compute for a network so that it takes its share of the seconds that are left."""
    begin = time.perf_counter()
    expensive = too_expensive(methods, forward(subject), LARGEST_SHARE * share / part.least)
    taken = times(subject, part, [name for name in methods if name not in expensive], seed)
    gone = time.perf_counter() - begin
    setting, said = cut(taken, part.columns, Setting(len(subject.x)), part.least, share - gone, left - gone)
    said += [f"methods that take long ({', '.join(expensive)})"] if expensive else []
    return Chosen(setting, said, expensive, setting.seconds(taken, part.columns) <= left - gone)


def forward(subject: Subject) -> float:
    """The seconds of a forward pass of an image."""
    for _ in range(2):
        start = time.perf_counter()
        subject.model.predict(subject.x[:PILOT], verbose=0)
    return (time.perf_counter() - start) / min(PILOT, len(subject.x))
