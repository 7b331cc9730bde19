"""A report in one HTML file: what was found, the maps of methods x images, and a table of methods."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import numpy as np

from keras_explainable.errors import InputError
from keras_explainable.viz import data_uris, scatter, viewer_files
from keras_explainable.viz.image import as_map, peak, to_rgb
from keras_explainable.viz.page import column_head, escape, page, to_json
from keras_explainable.viz.tables import csv_text

RAMP = "turbo"
FIRST = 6  # rows that are shown; the others are folded by family
# The columns of the table of methods that can be sorted.
COLUMNS = (
    ("Family",),
    ("Per map", "number low"),
    ("Peak on object", "number share"),
    ("Mass on object", "number share"),
)
CSV = ("method", "family", "seconds_per_map", "peak_on_object", "mass_on_object", "verdict", "reference")


@dataclass(frozen=True)
class Subject:
    """A column: an image (H, W, C), the explained unit, and, if known, the object's pixels (H, W)."""

    image: np.ndarray
    group: str  # the name of the image
    title: str
    note: str = ""
    mask: np.ndarray | None = None

    @property
    def size(self) -> tuple[int, int]:
        """The height and width in pixels."""
        height, width = to_rgb(self.image).shape[:2]
        return height, width


@dataclass(frozen=True)
class Row:
    """A method with its maps, (H, W) for each subject; or, without maps, a baseline in the table.

    `points` is the share of peaks on the object, `mass` the share of the map's positive sum on it, and `seconds` the
    time for one map. `docs` is the address of the method's page.
    """

    name: str
    family: str = ""
    summary: str = ""
    reference: str = ""
    seconds: float | None = None
    points: float | None = None
    mass: float | None = None
    maps: Sequence[np.ndarray] | np.ndarray = field(default=(), repr=False)
    caveat: str = ""
    verdict: str = ""
    doubtful: bool = False  # whether it is no better than what knows nothing of the model
    docs: str = ""
    shared: bool = False  # whether the maps of one image share a scale; otherwise each is scaled by itself


@dataclass(frozen=True)
class Finding:
    """What was found: a claim, a sentence of evidence, and pictures (H, W, C) with captions."""

    claim: str
    evidence: str
    pictures: Sequence[tuple[np.ndarray, str]] = field(default=(), repr=False)


def report(
    title: str,
    lead: str,
    subjects: Sequence[Subject],
    rows: Sequence[Row],
    notes: Sequence[str] = (),
    findings: Sequence[Finding] = (),
    advice: Sequence[str] = (),
    made: str = "",
) -> str:
    """Return the report as HTML: the title, `lead`, what was found, which method to use (`advice`), the maps of the
    first rows and, folded by family, of the others, a table of methods, `notes`, and how it was `made`.

    Raises: InputError: a row has maps, but not one for each subject.
    """
    for row in rows:
        if len(row.maps) not in (0, len(subjects)):
            raise InputError(
                f"{row.name} has {len(row.maps)} maps for {len(subjects)} subjects, and one for each was expected."
            )
    mapped = [row for row in rows if len(row.maps)]
    parts = {
        "title": escape(title),
        "lead": escape(lead),
        "findings": "".join(map(_finding, findings)),
        "advice": "".join(f"<p>{escape(line)}</p>" for line in advice),
        "advice_shown": "" if advice else "hidden",
        "scatter": scatter.chart(
            [scatter.Point(r.name, r.seconds, r.points, r.doubtful) for r in mapped], _chance(rows)
        ),
        "subjects": "".join(map(_subject, subjects)),
        "heads": "\n  ".join([*(column_head(*column) for column in COLUMNS), '<th scope="col">What it computes</th>']),
        "grid": "".join(_strip(row, subjects) for row in mapped[:FIRST]),
        "folded": "".join(_folded(name, list(group), subjects) for name, group in _families(mapped[FIRST:])),
        "table": "\n".join(_table_row(row) for row in rows),
        "notes": "".join(f"<li>{escape(note)}</li>" for note in notes),
        "made": escape(made),
        "csv": "data:text/csv;base64," + base64.b64encode(csv_text(CSV, map(_values, rows)).encode()).decode(),
        "data": _data(subjects, mapped),
        "truth": "truth" if any(map(_known, subjects)) else "no-truth",
    }
    return page("html_report", parts)


def _known(subject: Subject) -> bool:
    return subject.mask is not None


def _chance(rows: Sequence[Row]) -> float | None:
    """What the first baseline in the table reaches."""
    return next((row.points for row in rows if not len(row.maps)), None)


def _families(rows: Sequence[Row]) -> Any:
    return groupby(rows, key=lambda row: row.family)


def _finding(finding: Finding) -> str:
    pictures = "".join(
        f'<span><img src="{data_uris.small(image)}" alt="{escape(caption)}"><small>{escape(caption)}</small></span>'
        for image, caption in finding.pictures
    )
    return (
        f'<figure class="panel finding"><div>{pictures}</div><figcaption><b>{escape(finding.claim)}</b> '
        f"{escape(finding.evidence)}</figcaption></figure>"
    )


def _subject(subject: Subject) -> str:
    facts = f"<small>{escape(subject.group)}</small><b>{escape(subject.title)}</b><small>{escape(subject.note)}</small>"
    return f'<li><div class="framed"></div><div>{facts}</div></li>'


def _folded(family: str, rows: Sequence[Row], subjects: Sequence[Subject]) -> str:
    count = f"{len(rows)} more method" + "s" * (len(rows) > 1)
    strips = "".join(_strip(row, subjects) for row in rows)
    return f"<details><summary>{escape(family)}: {count}</summary>{strips}</details>"


def _strip(row: Row, subjects: Sequence[Subject]) -> str:
    """A method's maps: drawn by the script, with a button for each that says in words what it shows."""
    cells = "".join(
        f'<button type="button" tabindex="-1" aria-label="{escape(_words(row, i, subject))}"></button>'
        for i, subject in enumerate(subjects)
    )
    points = "" if row.points is None else f"peak {_percent(row.points)}"
    facts = escape(" · ".join(filter(None, [row.family, points, _seconds(row.seconds)])))
    keys = f'data-points="{_key(row.points)}" data-mass="{_key(row.mass)}" data-seconds="{_key(row.seconds)}"'
    return (
        f'<article class="row" id="{escape(row.name)}" {keys}><header><h3>{escape(row.name)}</h3><small>{facts}</small>'
        f'{_remarks(row)}<small class="links">{_links(row)}</small></header>'
        f'<div class="strip">{cells}</div><p class="about" hidden>{escape(row.summary)}</p></article>'
    )


def _remarks(row: Row) -> str:
    verdict = (
        f'<small class="{"doubt" if row.doubtful else "fine"}">{escape(row.verdict)}</small>' if row.verdict else ""
    )
    return verdict + (f'<small class="doubt">{escape(row.caveat)}</small>' if row.caveat else "")


def _links(row: Row) -> str:
    docs = f'<a href="{escape(row.docs)}">docs</a>' if row.docs else ""
    paper = f'<a href="{escape(paper_of(row.reference))}">paper</a>' if row.reference else ""
    return " · ".join(filter(None, [docs, paper]))


def paper_of(reference: str) -> str:
    """Return the address of a paper: of arXiv, or by its DOI."""
    kind, _, number = reference.rpartition(":")
    return ("https://arxiv.org/abs/" if kind == "arXiv" else "https://doi.org/") + number


def _key(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def _words(row: Row, index: int, subject: Subject) -> str:
    return f"{row.name} of {subject.title} in {subject.group}; {_peak(row.maps[index], subject)[1]}"


def _peak(values: np.ndarray, subject: Subject) -> tuple[list[float], str]:
    """Return where a map's peak lies, in shares of the image and in words.

    [x, y, 1 if it is on the object or the object is unknown, else 0]; [] if the map is the same everywhere."""
    values = as_map(values)
    if values.min() == values.max():
        return [], "it is the same everywhere"
    (row, column), (height, width) = peak(values), values.shape
    x, y = (column + 0.5) / width, (row + 0.5) / height
    if subject.mask is None:
        return [x, y, 1], f"its peak lies at {x:.0%} from the left, {y:.0%} from the top"
    on = bool(subject.mask[int(y * subject.mask.shape[0]), int(x * subject.mask.shape[1])])
    return [x, y, int(on)], f"its peak lies {'on' if on else 'beside'} the object"


def _data(subjects: Sequence[Subject], rows: Sequence[Row]) -> str:
    """What the script draws, as JSON."""
    photos: dict[bytes, int] = {}
    uris: list[str] = []
    columns = []
    for subject in subjects:
        pixels = to_rgb(subject.image)
        key = bytes(str(pixels.shape), "ascii") + pixels.tobytes()
        if key not in photos:
            photos[key] = len(uris)
            uris.append(data_uris.picture(pixels))
        outline = "" if subject.mask is None else data_uris.edges(subject.mask)
        columns.append({"photo": photos[key], "size": subject.size, "outline": outline})
    made = [_maps(row, subjects) for row in rows]
    return to_json({"photos": uris, "subjects": columns, "rows": made, "colors": viewer_files.colors()})


def _maps(row: Row, subjects: Sequence[Subject]) -> dict[str, Any]:
    sprite = data_uris.sprite(row.maps)
    peaks = [[float(f"{n:.4g}") for n in _peak(v, s)[0]] for v, s in zip(row.maps, subjects, strict=True)]
    levels = [[greys, [float(f"{value:.4g}") for value in values]] for greys, values in sprite.levels]
    shape = {"tile": sprite.tile, "columns": sprite.columns, "shared": row.shared}
    return {"uri": sprite.uri, **shape, "levels": levels, "peaks": peaks}


def _table_row(row: Row) -> str:
    kind = "" if len(row.maps) else ' class="baseline"'
    name = f'<a href="#{escape(row.name)}">{escape(row.name)}</a>' if len(row.maps) else escape(row.name)
    paper = (
        f' <cite><a href="{escape(paper_of(row.reference))}">{escape(row.reference)}</a></cite>'
        if row.reference
        else ""
    )
    about = f"{escape(row.summary)}{_remarks(row)}{paper}"
    speed = -1 if row.seconds is None else row.seconds
    return (
        f'<tr{kind}><th scope="row">{name}</th><td data-label="Family">{escape(row.family)}</td>'
        f'<td class="number" data-label="Per map" data-value="{speed:.6g}">{_seconds(row.seconds) or "–"}</td>'
        f"{_bar('Peak on object', row.points)}{_bar('Mass on object', row.mass)}<td>{about}</td></tr>"
    )


def _values(row: Row) -> list[object]:
    numbers = ["" if n is None else n for n in (row.seconds, row.points, row.mass)]
    return [row.name, row.family, *numbers, row.verdict, row.reference]


def _bar(label: str, share: float | None) -> str:
    if share is None:
        return f'<td class="number share" data-label="{label}" data-value="-1">–</td>'
    return (
        f'<td class="number share" data-label="{label}" data-value="{share:.6g}"><span>{_percent(share)}</span>'
        f'<i class="bar" style="--share:{share:.4f}"></i></td>'
    )


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.0f} %"


def _seconds(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{seconds:.2f} s" if seconds >= 0.995 else f"{1000 * seconds:.3g} ms"
