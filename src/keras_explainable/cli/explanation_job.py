"""Explain the images of a command, save the pictures, and format what is printed."""

import re
import shutil
import sys
import textwrap
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from keras_explainable import errors

if TYPE_CHECKING:
    import numpy as np

WIDTH = 120  # the largest number of columns of a list
COMPARED, REPORT, MAPS = "compared", "report.html", "maps.npz"
SHOWN = 3  # images that a report begins with
# What a method's cost depends on, roughly, where it is not known before the method runs; and seconds to compile it.
PASSES, BUILDING = {"K": 1, "C": 256, "R": 1, "windows": 200, "segments": 64}, 3.0
TOGETHER = "The maps of an image by one method share one scale: their strengths can be compared."
SCALED = "Each map is scaled by itself: compare shapes, not strengths."
MEASURE = (
    "Maps differ, and not all of them can be trusted. To measure which methods explain this model best, run: "
    "keras-explainable evaluate PHOTOS --model MODEL. To check one map: keras-explainable trust PHOTO --model MODEL."
)
TILE = 224  # pixels: the height of a map in a comparison
TIMED = (
    "Per map: the time for one map, including compilation, which each run of the command line does again. Methods that "
    "share passes of the model share their time."
)


class Sources:
    """The images of a command, each with the name of its pictures. Images that cannot be read or saved are left out.

    Raises: ModelFileError: none can be read.
    """

    def __init__(self, paths: Sequence[Path], endings: Sequence[str], max_pixels: int) -> None:
        from keras_explainable import viz

        self.read = partial(viz.image_files.read_image, max_pixels=max_pixels)
        self.left_out: dict[str, str] = {}  # image -> why
        stems = viz.output.distinct([path.stem for path in paths], endings)
        self.named = list(zip(paths, stems, strict=True))
        self.files = [stem + ending for _, stem in self.each(self._can_be_read) for ending in endings]

    def each(self, do: Callable[[Path], Any]) -> list[Any]:
        """Call `do` for each image, and return the images for which it succeeds. The others are left out."""
        named, self.named = self.named, []
        for path, stem in named:
            with self.leaving_out(path):
                do(path)
                self.named.append((path, stem))
        if not self.named:
            raise errors.ModelFileError(" ".join(self.left_out.values()))
        return self.named

    def leaving_out(self, path: Path) -> AbstractContextManager:
        """Return a context that leaves an image out if its body fails."""
        from keras_explainable.gallery.maps import leaving_out

        return leaving_out(str(path), self.left_out)

    def _can_be_read(self, path: Path) -> None:
        self.read(path)  # not kept: all images together may not fit into memory


class Job:
    """A model, its images, and the same number of units for each image. `most` limits the repetitions of methods.

    Maps are drawn over `photos`: what the model saw, in the image's own proportions."""

    def __init__(
        self,
        loaded: Any,
        sources: Sources,
        unit: str,
        params: dict[str, Any],
        most: int | None = None,
        fit: str | None = None,
        shared_scale: bool = False,
    ) -> None:
        import numpy as np

        from keras_explainable import loading

        self.loaded, self.sources, self.params, self.most = loaded, sources, params, most
        self.shared_scale = shared_scale
        self.photos: list[np.ndarray] = []
        seen: list[np.ndarray] = []
        self.fits: dict[str, list[str]] = {}  # what was done to the size -> the names of images
        self.named = sources.each(partial(self._look, seen, fit or loaded.preprocess.fit))
        self.inputs = loaded.preprocess(np.stack(seen))
        outputs = loading.scores(loaded, self.inputs)
        self.units = chosen_units(loaded, outputs, unit)
        self.scores = loading.unit_scores(loaded, self.inputs, self.units)  # not a method's: some see only noisy copies
        self.shares = loading.probabilities(loaded, outputs, self.units, self.scores)

    def _look(self, seen: "list[np.ndarray]", fit: str, path: Path) -> None:
        """Read an image and bring it to the model's size."""
        from keras_explainable import viz

        photo, size = self.sources.read(path), self.loaded.size
        frame = viz.framing.framed(photo, size, fit)
        shown, small = viz.framing.covering(frame, size), viz.framing.resized(frame, size)
        self.photos.append(shown)
        seen.append(small)
        if done := viz.framing.describe(photo.shape, size, fit):
            self.fits.setdefault(done, []).append(path.name)

    def run(self, names: Sequence[str], left_out: dict[str, str]) -> "dict[str, tuple[np.ndarray, np.ndarray, float]]":
        """Return, by name, the scores (N, K), maps (N, H, W, K), and seconds for each map, of methods that share passes
        and so their time. Enter in `left_out` why a method fails."""
        from keras_explainable.gallery.maps import explained

        verbose = int(sys.stderr.isatty() and sys.stdout.isatty())
        start = time.perf_counter()
        found: dict[str, Any] = {}
        for by, some in self._by_postprocessing(names).items():
            given = {name: self.params | fewer(name, self.most) for name in some}
            found |= explained(
                given, self.loaded.model, self.inputs, self.units, left_out, verbose=verbose, postprocessing=by
            )
        seconds = (time.perf_counter() - start) / self.units.size / max(1, len(found))
        return {name: (one.scores, one.maps, seconds) for name, one in found.items()}

    def _by_postprocessing(self, names: Sequence[str]) -> dict[Any, list[str]]:
        """The names of methods by what is done to their maps. On a shared scale, maps are not scaled by themselves."""
        if not self.shared_scale:
            return {"usual": list(names)}
        from keras_explainable import filters, registry

        unscaled: dict[Any, Any] = {
            filters.positive_normalize: filters.positive,
            filters.absolute_normalize: filters.absolute,
        }
        found: dict[Any, list[str]] = {}
        for name in names:
            found.setdefault(unscaled.get(registry.METHODS[name].postprocessing), []).append(name)
        return found

    def forecast(self, names: Sequence[str]) -> str:
        """About how long the methods will take, from the time of one pass and the passes that each takes."""
        from keras_explainable import loading, registry
        from keras_explainable.gallery import QUICK

        loading.unit_scores(self.loaded, self.inputs[:1], self.units[:1])  # compiles
        start = time.perf_counter()
        loading.unit_scores(self.loaded, self.inputs[:1], self.units[:1])
        once = (time.perf_counter() - start) * len(self.inputs)

        def seconds(chosen: Sequence[str]) -> float:
            total = 0.0
            for name in chosen:
                taken = registry.parameters(registry.get(name)) or {}
                drawn = {key: taken[key].default for key in ("repetitions", "max_channels") if key in taken}
                own = {key: value for key, value in (drawn | fewer(name, self.most)).items() if value}
                many = PASSES | {"n": own.get("repetitions", 1), "C": own.get("max_channels", PASSES["C"])}
                passes = {"forward": once, "backward": 2 * once, "tail": once / 10}
                total += BUILDING + registry.METHODS[name].cost.passes(**many, **passes)
            return total

        short = f"; --method quick runs {len(QUICK)} of them, in {_about(seconds(QUICK))}"
        return f"{len(names)} methods take {_about(seconds(names))}{short}. Ctrl-C shows what is finished."

    def save_npz(self, results: dict[str, Any], out: Any) -> Path:
        """Save scores, units and the names of images, and by the name of each method its maps (N, H, W, K)."""
        import numpy as np

        names = np.array([path.name for path, _ in self.named])
        arrays = {name: maps for name, (_, maps, _) in results.items()}
        return out.write(
            MAPS,
            lambda file: np.savez_compressed(file, images=names, scores=self.scores, units=self.units, **arrays),
        )

    def label(self, i: int, k: int) -> str:
        """The name of a unit, its score and, where the model ends in a softmax or sigmoid, its probability."""
        share = "" if self.shares is None else f" ({self.shares[i, k]:.0%})"
        return f"{self.unit_name(self.units[i, k])} {self.scores[i, k]:.2f}{share}"

    def _limits(self, maps: "np.ndarray") -> Any:
        """The ends of the scale of maps (H, W, K) of one image: one for all, or None for each its own."""
        from keras_explainable import viz

        if not self.shared_scale:
            return None
        each = [maps[..., k] for k in range(maps.shape[-1])]
        return viz.image.limits_of(each, viz.image.is_signed(each), viz.image.BRIGHTEST)

    def save(self, results: dict[str, Any], out: Any) -> str:
        """Save a picture for each image and method, the image beside its maps. Return a table of the pictures."""
        from keras_explainable import viz

        rows = []
        for i, (path, stem) in enumerate(self.named):
            labels = [self.label(i, k) for k in range(self.units.shape[1])]
            for name, (_, maps, _) in results.items():
                with self.sources.leaving_out(path):
                    ends = self._limits(maps[i])
                    heats = [
                        viz.image.highlight(self.photos[i], maps[i, ..., k], limits=ends) for k in range(len(labels))
                    ]
                    panels = [(self.photos[i], path.name), *zip(heats, labels, strict=True)]
                    panels.append(viz.image.color_bar(maps[i], ends))
                    sheet = viz.contact_sheet.sheet(panels)
                    rows.append([out.write(stem + ending(name), sheet.save), name, ", ".join(labels)])
        return table(["picture", "method", "unit and score"], rows)

    def compare(self, results: dict[str, Any], out: Any) -> list[Path]:
        """Save a picture for each image: its first unit by all methods, with the seconds and the peak of each map."""
        import numpy as np

        from keras_explainable import viz

        made = []
        for i, (path, stem) in enumerate(self.named):
            panels = [(self.photos[i], self.label(i, 0))]
            for name, (_, maps, seconds) in results.items():
                picture = viz.image.highlight(self.photos[i], maps[i, ..., 0])
                at = np.add(viz.image.peak(maps[i, ..., 0]), 0.5) * picture.shape[:2] / maps.shape[1:3]
                picture = viz.image.cross(picture, (int(at[0]), int(at[1])))
                panels.append((picture, f"{name}  {seconds:.2f} s"))
            with self.sources.leaving_out(path):
                sheet = viz.contact_sheet.sheet(panels, TILE, min(6, len(panels)))
                made.append(out.write(stem + ending(COMPARED), sheet.save))
        return made

    def report(self, results: dict[str, Any], out: Any, command: str = "") -> Path:
        """Write an HTML file with the maps of all methods side by side."""
        import numpy as np

        from keras_explainable import registry, viz
        from keras_explainable.gallery import provenance

        pairs, names = list(np.ndindex(self.units.shape)), [stem for _, stem in self.named]
        subjects = [
            viz.html_report.Subject(
                self.photos[i],
                names[i],
                self.unit_name(self.units[i, k]),
                f"score {self.scores[i, k]:.2f}" + ("" if self.shares is None else f" ({self.shares[i, k]:.0%})"),
            )
            for i, k in pairs
        ]
        rows = []
        for name, (_, maps, seconds) in results.items():
            about = registry.METHODS[name]
            each = [maps[i, ..., k] for i, k in pairs]
            facts = (about.family, about.summary, about.reference, seconds)
            docs = provenance.page_of(name)
            rows.append(
                viz.html_report.Row(name, *facts, maps=each, caveat=about.caveat, docs=docs, shared=self.shared_scale)
            )
        model = getattr(self.loaded.model, "name", type(self.loaded.model).__name__)
        lead = f"Model {model}. Each column is one unit of one image."
        notes = [
            TOGETHER if self.shared_scale else SCALED,
            TIMED,
            *viz.framing.lines(self.fits),
            *viz.tables.left_out(self.sources.left_out),
        ]
        findings, advice = self._findings(results), [MEASURE]
        title, made = "What does the network look at?", provenance.line(command=command)
        page = viz.html_report.report(title, lead, subjects, rows, notes, findings, advice, made)
        return out.write(REPORT, lambda file: file.write(page.encode()))

    def _findings(self, results: dict[str, Any]) -> list[Any]:
        """What the model answers for the first images, each with a map by the first method."""
        from keras_explainable import viz

        name, (_, maps, _) = next(iter(results.items()))
        found = []
        for i, (path, _) in enumerate(self.named[:SHOWN]):
            drawn = viz.image.highlight(self.photos[i], maps[i, ..., 0], cmap=viz.html_report.RAMP)
            pictures = [(self.photos[i], path.name), (drawn, f"{name}: {self.unit_name(self.units[i, 0])}")]
            claim = f"{path.name}: {self.unit_name(self.units[i, 0])}"
            found.append(
                viz.html_report.Finding(
                    claim,
                    f"Score: {self.label(i, 0).removeprefix(self.unit_name(self.units[i, 0])).strip()}.",
                    pictures,
                )
            )
        return found

    def unit_name(self, unit: Any) -> str:
        return self.loaded.class_names[unit] if self.loaded.class_names else f"unit {unit}"


def chosen_units(loaded: Any, outputs: "np.ndarray", unit: str) -> "np.ndarray":
    """Return the units (N, K) of `--unit`: the K highest of each image by the model's outputs (N, units), or one for
    all by number or name."""
    import numpy as np

    if highest(unit):
        return np.argsort(-outputs, axis=-1)[:, : highest(unit)]
    names = loaded.class_names or []
    number = re.fullmatch("[0-9]{1,9}", unit)
    if not number and unit not in names:
        raise typer.BadParameter(
            f"{unit!r} came, and a number from 0, a unit's name, predicted, or top-K with K from 1 was expected. "
            f"{_names_near(unit, names)}",
            param_hint="--unit",
        )
    return np.full((len(outputs), 1), int(unit) if number else names.index(unit))


def fewer(name: str, most: int | None) -> dict[str, int]:
    """The parameters that set how often a method repeats, at most `most`."""
    from keras_explainable import registry

    if most is None:
        return {}
    taken = registry.parameters(registry.get(name)) or {}
    few = {key: taken[key].default or most for key in ("repetitions", "max_channels") if key in taken}
    return {key: min(most, default) for key, default in few.items()}


def _about(seconds: float) -> str:
    return f"about {seconds / 60:.0f} minutes" if seconds >= 90 else f"about {max(seconds, 1):.0f} seconds"


def highest(unit: str) -> int:
    """Return how many units of each image predicted or top-K mean; 0 for a number or a name."""
    ranked = re.fullmatch(r"predicted|top(?:-(\d{1,9}))?", unit)
    return int(ranked[1] or 1) if ranked else 0


def _names_near(unit: str, names: Sequence[str]) -> str:
    """Return a hint: the likely names, or a few that exist, the nearest first."""
    if not names:
        return "The names of this model's units are not known: give a number, or --labels FILE."
    if near := get_close_matches(unit, names, 3, 0.5):
        return f"Did you mean {' or '.join(near)}?"
    return f"The nearest of its {len(names)} names: {', '.join(get_close_matches(unit, names, 5, 0.0))}."


def method_list(records: Sequence[Any]) -> str:
    """List methods by family: a row with what each needs and costs, and below it, wrapped, what it shows."""
    rows = table(["method", "needs", "cost"], [[r.name, r.needed, r.cost] for r in records]).splitlines()
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
    return cut_to_width("\n".join(lines))


def table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Align rows under their headers."""
    from keras_explainable import viz

    return viz.tables.table(headers, rows)


def cut_to_width(text: str) -> str:
    """Cut lines to the terminal's width. Lines for a file or a pipe stay whole."""
    if not sys.stdout.isatty():
        return text
    width = shutil.get_terminal_size().columns
    return "\n".join(line if len(line) <= width else line[: width - 1] + "…" for line in text.splitlines())


def ending(name: str) -> str:
    """Return the suffix of the picture by a method, added to the image's name."""
    return f"_{name}.png"
