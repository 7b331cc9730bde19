"""Build docs/methods.md from the registry: what each method shows, needs and costs, and its maps of two scenes. Also
write the table of methods in the README."""

from collections import Counter
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

import keras_explainable as ke
from keras_explainable.gallery import gallery
from keras_explainable.viz import contact_sheet, image, output

SCENES = 2  # in the pictures
HEIGHT = 144  # pixels
FIRST = (
    "gradcam",
    "full_gradients",
    "integrated_gradients",
    "lrp_epsilon_plus",
    "rise",
    "attention_relevance",
)  # one of each family
START, END = "<!-- methods: written by make docs -->", "<!-- end of methods -->"  # around the table in the README
HEAD = """# Methods

Written from the registry by `make docs`.

**Start here.** A first map, fast: [`gradcam`](#kegradcam). The pixels that count, exactly:
[`lrp_epsilon_plus`](#kelrp_epsilon_plus). A model behind any function: [`occlusion`](#keocclusion). These do well where
the truth is known ([leaderboard](leaderboard.md)). More: [how to choose](choose.md).

**Cost** is the largest number of passes of the model, including the work of the rules: K units, n `repetitions`, C
channels, R baselines, the windows of `occlusion`, the segments of `sobol`. A tail is what the model computes after the
explained layer. LRP takes half of the stated cost where its inputs come from ReLUs.

**Peak on object** is how often the largest value of a map lies on the explained object, in {judged} maps of unseen
scenes of `ke.demo` ({few} maps for methods that repeat). A random pixel reaches {chance:.0%}. If several values are
equally large, the share of them that lies on the object counts. The network is small and the scenes are simple: this
shows what a method can do, not which one is best for your model. The network is not robust to the noise that
`smoothgrad` and similar methods add by default, 15 % of the image's range; less noise gives better maps here. Methods
that need attention explain `ke.demo.load_transformer()`, two blocks of attention on the last maps of that network.
`deep_shap` uses {references} other scenes as its baselines.
"""


def write(folder: str | Path = "docs") -> Path:
    """Write methods.md, methods/NAME.jpg for each method, and methods.jpg with one method of each family."""
    folder = Path(folder)
    loaded = gallery.loading.load(None)
    objects = gallery.every_object(loaded, SCENES)
    shown = objects.of(objects.scenes < SCENES)
    rows, _ = gallery.run_all(loaded, objects, len(shown), True, {}, True)
    judged = {row.name: row for row in rows}
    firsts = np.unique(shown.scenes, return_index=True)
    photos = [(shown.photos[i], f"scene {scene + 1}") for scene, i in zip(*firsts, strict=True)]
    for row in rows:
        panels = [(image.highlight(shown.photos[i], row.maps[i]), str(shown.names[i])) for i in range(len(shown))]
        contact_sheet.save_sheet([*photos, *panels], folder / "methods" / f"{row.name}.jpg", HEIGHT)
    contact_sheet.save_sheet(_first(shown, judged), folder / "methods.jpg", HEIGHT, columns=1 + len(FIRST))
    text = (
        HEAD.format(
            judged=len(objects), few=gallery.FEW, references=gallery.REFERENCES, chance=float(objects.masks.mean())
        )
        + f"\n{table()}\n"
    )
    text += "".join(_families(judged))
    readme = folder.parent / "README.md"
    readme.write_text(with_table(readme.read_text(encoding="utf-8")), encoding="utf-8")
    return output.write(folder / "methods.md", lambda file: file.write(text.encode()))


def with_table(readme: str) -> str:
    """Return the README with the table of methods that the registry gives."""
    before, rest = readme.split(START)
    return f"{before}{START}\n{table('docs/methods.md')}\n{END}{rest.split(END)[1]}"


def _first(shown: Any, judged: dict[str, Any]) -> list[tuple[np.ndarray, str]]:
    """Return a row for each object: the photo with the object's name, and the maps of the methods in `FIRST`."""
    rows = []
    for i, photo in enumerate(shown.photos):
        rows.append((photo, str(shown.names[i])))
        rows += [(image.highlight(photo, judged[name].maps[i]), name) for name in FIRST if name in judged]
    return rows


def by_family() -> Iterable[tuple[str, list[Any]]]:
    """Yield each family's heading and its records."""
    for heading, records in groupby(ke.methods.list(), key=lambda record: record.heading):
        yield heading, list(records)


def table(page: str = "") -> str:
    """Return a table with a row for each family: a link to each method on the page, and what the family needs and
    costs."""
    rows = ["| family | methods `ke.…` | most need | cost |", "|---|---|---|---|"]
    for heading, records in by_family():
        links = " ".join(f"[`{record.name}`]({page}#ke{record.name})" for record in records)
        counts = Counter(need for record in records for need in record.needs)
        needs = ", ".join(need for need in ke.registry.Need if 2 * counts[need] > len(records))
        costs = dict.fromkeys(f"`{record.cost}`" for record in sorted(records, key=_passes))
        ends = dict.fromkeys([*costs][:: max(1, len(costs) - 1)])  # the lowest and the highest
        family = f"[{heading.removesuffix(' family')}]({page}#{heading.lower().replace(' ', '-')})"
        rows.append(f"| {family} | {links} | {needs} | {' to '.join(ends)} |")
    return "\n".join(rows)


def _passes(record: Any) -> float:
    return record.cost.passes(**dict.fromkeys(record.cost.letters, 10) | {"forward": 1, "backward": 1, "tail": 0.1})


def _families(judged: dict[str, Any]) -> Iterable[str]:
    for heading, records in by_family():
        yield f"\n## {heading}\n"
        for record in records:
            yield _entry(record, judged[record.name])


def _entry(record: Any, row: Any) -> str:
    peak = f", peak on object {row.points:.0%}"
    caveat = f" **{record.caveat}**" if record.caveat else ""
    facts = f"Needs: {record.needed}. Cost: {record.cost}{peak}. {link(record.reference)}"
    return f"\n### `ke.{record.name}`\n\n{record.summary}{caveat}\n\n{facts}\n\n![](methods/{record.name}.jpg)\n"


def link(reference: str) -> str:
    """Return a link to a paper, given "arXiv:NUMBER" or a DOI."""
    kind, _, number = reference.rpartition(":")
    base = "https://arxiv.org/abs/" if kind == "arXiv" else "https://doi.org/"
    return f"[{reference}]({base}{number})"


if __name__ == "__main__":
    print(write())
