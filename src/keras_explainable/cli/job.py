"""What the commands do with images, and print."""

import itertools
import re
import shutil
import sys
import textwrap
import time
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import typer

WIDTH = 120  # columns of a list, at most
TILE = 224  # pixels, the height of a map among many
TIMED = "Per map: the time for one map, and also for compilation, of which each run of the command line does its own."


class Job:
    """Images to be explained by a model: for each, the same number of units; `most`: the repetitions, at most.

    Maps are laid over `photos`: what the model saw, but not stretched."""

    def __init__(
        self,
        loaded: Any,
        paths: Sequence[Path],
        unit: str,
        params: dict[str, Any],
        most: int | None = None,
        fit: str | None = None,
    ) -> None:
        from keras_explainable import loading, viz

        self.loaded, self.paths, self.params, self.most = loaded, paths, params, most
        self.photos, seen, fit = [], [], fit or loaded.preprocess.fit
        self.fits: dict[str, list[str]] = {}  # what was done -> the names of images
        for path in paths:
            photo = viz.image.read_image(path)
            if done := viz.framing.told(photo.shape, loaded.size, fit):
                self.fits.setdefault(done, []).append(path.name)
            frame = viz.framing.framed(photo, loaded.size, fit)
            seen.append(viz.framing.resized(frame, loaded.size))
            self.photos.append(viz.framing.covering(frame, loaded.size))
        self.inputs = loaded.preprocess(np.stack(seen))
        self.units = self._units(unit)
        self.scores = loading.unit_scores(loaded, self.inputs, self.units)  # some methods see noisy copies alone

    def run(self, name: str) -> tuple[np.ndarray, np.ndarray, float]:
        """Scores (N, K), maps (N, H, W, K), and seconds for each map, by one method."""
        import keras_explainable as ke
        from keras_explainable import registry

        params = {"verbose": int(sys.stderr.isatty() and sys.stdout.isatty())} | self.params
        if self.most is not None:
            taken = registry.parameters(registry.get(name)) or {}
            few = {key: taken[key].default or self.most for key in ("repetitions", "max_channels") if key in taken}
            params |= {key: min(self.most, default) for key, default in few.items()}
        start = time.perf_counter()
        scores, maps = getattr(ke, name)(self.loaded.model, self.inputs, self.units, **params)
        return scores, maps, (time.perf_counter() - start) / self.units.size

    def save(self, results: dict[str, Any], out: Path) -> str:
        """A picture for each image and method, the image beside its maps; returns the table of what was made."""
        from keras_explainable import viz

        rows = []
        for i, stem in enumerate(stems(self.paths)):
            labels = [f"{self._name(u)} {score:.2f}" for u, score in zip(self.units[i], self.scores[i], strict=True)]
            for name, (_, maps, _) in results.items():
                panels = [(self.photos[i], self.paths[i].name)]
                panels += [
                    (viz.image.highlight(self.photos[i], maps[i, ..., k]), label) for k, label in enumerate(labels)
                ]
                rows.append([viz.strip.strip(panels, out / f"{stem}_{name}.png"), name, ", ".join(labels)])
        return table(["picture", "method", "unit and score"], rows)

    def compare(self, results: dict[str, Any], out: Path) -> list[Path]:
        """For each image one picture: its first unit by all methods, with the seconds that each took and its peak."""
        from keras_explainable import viz

        made = []
        for i, stem in enumerate(stems(self.paths)):
            unit = f"{self._name(self.units[i, 0])} {self.scores[i, 0]:.2f}"
            panels = [(self.photos[i], unit)]
            for name, (_, maps, seconds) in results.items():
                picture = viz.image.highlight(self.photos[i], maps[i, ..., 0])
                at = np.add(viz.image.peak(maps[i, ..., 0]), 0.5) * picture.shape[:2] / maps.shape[1:3]
                picture = viz.image.cross(picture, (int(at[0]), int(at[1])))
                panels.append((picture, f"{name}  {seconds:.2f} s"))
            made.append(viz.strip.strip(panels, out / f"{stem}_compared.png", TILE, min(6, len(panels))))
        return made

    def report(self, results: dict[str, Any], out: Path) -> Path:
        """The maps of all methods side by side, as an HTML file."""
        from keras_explainable import registry, viz

        pairs, names = list(np.ndindex(self.units.shape)), stems(self.paths)
        subjects = [
            viz.report.Subject(self.photos[i], names[i], self._name(self.units[i, k]), f"score {self.scores[i, k]:.2f}")
            for i, k in pairs
        ]
        rows = []
        for name, (_, maps, seconds) in results.items():
            about = registry.METHODS[name]
            each = [maps[i, ..., k] for i, k in pairs]
            rows.append(viz.report.Row(name, about.family, about.summary, about.reference, seconds, maps=each))
        path = out / "report.html"
        model = getattr(self.loaded.model, "name", type(self.loaded.model).__name__)
        lead = f"Model {model}: each column is one unit of one image."
        path.write_text(
            viz.report.report(
                "What does the network look at?", lead, subjects, rows, [TIMED, *viz.framing.lines(self.fits)]
            ),
            encoding="utf-8",
        )
        return path

    def _units(self, unit: str) -> np.ndarray:
        """The units (N, K) that `--unit` means: the K highest of each image, or one for all by number or name."""
        from keras_explainable import loading

        if highest(unit):
            return np.argsort(-loading.scores(self.loaded, self.inputs), axis=-1)[:, : highest(unit)]
        names = self.loaded.class_names or []
        number = re.fullmatch("[0-9]{1,9}", unit)
        if not number and unit not in names:
            raise typer.BadParameter(
                f"Expected a number from 0, a unit's name, predicted, or top-K with K from 1. Got {unit!r}. "
                f"{_names_near(unit, names)}",
                param_hint="--unit",
            )
        return np.full((len(self.inputs), 1), int(unit) if number else names.index(unit))

    def _name(self, unit: Any) -> str:
        return self.loaded.class_names[unit] if self.loaded.class_names else f"unit {unit}"


def highest(unit: str) -> int:
    """How many units of each image `--unit` means by predicted or top-K; 0 where it is one by number or name."""
    ranked = re.fullmatch(r"predicted|top(?:-(\d{1,9}))?", unit)
    return int(ranked[1] or 1) if ranked else 0


def _names_near(unit: str, names: Sequence[str]) -> str:
    """A hint: the name that was meant, or a few that there are, the nearest first."""
    if not names:
        return "The names of this model's units are not known here: give a number."
    if near := get_close_matches(unit, names, 3, 0.5):
        return f"Did you mean {' or '.join(near)}?"
    return f"Of its {len(names)} names the nearest: {', '.join(get_close_matches(unit, names, 5, 0.0))}."


def listed(records: Sequence[Any]) -> str:
    """Methods in sections by family: a row of what each needs and costs, and what it shows folded under it."""
    rows = table(["method", "needs", "cost"], [[r.name, r.needs, r.cost] for r in records]).splitlines()
    indent = " " * rows[0].index("needs")
    width = min(shutil.get_terminal_size().columns, WIDTH) if sys.stdout.isatty() else WIDTH
    lines, family = rows[:2], None
    for record, row in zip(records, rows[2:], strict=True):
        lines += ["", record.heading] * (record.family != family) + [row]
        shows = " ".join(filter(None, [record.summary, record.caveat, record.reference]))
        lines += textwrap.wrap(
            shows, max(width, 60), initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
        )
        family = record.family
    return fitted("\n".join(lines))


def table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Rows under their headers, aligned."""
    from keras_explainable import viz

    return viz.text.table(headers, rows)


def fitted(text: str) -> str:
    """Lines cut to the terminal's width; whole where they go to a file or a pipe."""
    if not sys.stdout.isatty():
        return text
    width = shutil.get_terminal_size().columns
    return "\n".join(line if len(line) <= width else line[: width - 1] + "…" for line in text.splitlines())


def stems(paths: Sequence[Path]) -> list[str]:
    """The images' names without their endings, numbered where they would be the same."""
    made: list[str] = []
    for path in paths:
        numbered = (f"{path.stem}-{n}" for n in itertools.count(2))
        made.append(next(stem for stem in itertools.chain([path.stem], numbered) if stem not in made))
    return made
