"""A report in one HTML file: the maps of methods x images, how often they point at the object, a table of methods."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np

from keras_explainable.errors import InputError
from keras_explainable.viz import data_uris
from keras_explainable.viz.image import as_map, peak, to_rgb
from keras_explainable.viz.page import column_head, escape, page

# The mark of a peak, around (0, 0): a ring if it is on the object or the object is unknown, else a cross.
RING, CROSS = '<circle r="3.4"/>', '<path d="M-3 -3L3 3M3 -3L-3 3"/>'
# The columns of the table of methods that can be sorted.
COLUMNS = (
    ("Family",),
    ("Per map", "number low"),
    ("Peak on object", "number share"),
    ("Mass on object", "number share"),
)


@dataclass(frozen=True)
class Subject:
    """A column: an image (H, W, C), the explained unit, and, if known, the object's pixels (H, W)."""

    image: np.ndarray
    group: str  # the heading of all columns of one image
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
    time for one map.
    """

    name: str
    family: str = ""
    summary: str = ""
    reference: str = ""
    seconds: float | None = None
    points: float | None = None
    mass: float | None = None
    maps: Sequence[np.ndarray] | np.ndarray = field(default=(), repr=False)


def report(title: str, lead: str, subjects: Sequence[Subject], rows: Sequence[Row], notes: Sequence[str] = ()) -> str:
    """Return the report as HTML: the title, `lead`, the grid of maps, the table of methods, and `notes`.

    Raises: InputError: a row has maps, but not one for each subject.
    """
    for row in rows:
        if len(row.maps) not in (0, len(subjects)):
            raise InputError(
                f"{row.name} has {len(row.maps)} maps for {len(subjects)} subjects, and one for each was expected."
            )
    photos = _photos(subjects)
    parts = {
        "title": escape(title),
        "lead": escape(lead),
        "columns": str(max(len(subjects), 1)),
        "photos": "\n".join(_photo_rule(i, subjects[i]) for i in sorted(set(photos))),
        "outlines": "".join(_path(i, s.mask) for i, s in enumerate(subjects) if s.mask is not None),
        "groups": "".join(_group(name, len(list(group))) for name, group in groupby(s.group for s in subjects)),
        "subjects": "".join(_subject(i, photos[i], subject) for i, subject in enumerate(subjects)),
        "grid": "\n".join(_grid_row(row, photos, subjects) for row in rows if len(row.maps)),
        "heads": "\n  ".join([*(column_head(*column) for column in COLUMNS), '<th scope="col">What it computes</th>']),
        "table": "\n".join(_table_row(row) for row in rows),
        "notes": "".join(f"<li>{escape(note)}</li>" for note in notes),
        "truth": "truth" if any(map(_known, subjects)) else "no-truth",
    }
    return page("html_report", parts)


def _known(subject: Subject) -> bool:
    return subject.mask is not None


def _photos(subjects: Sequence[Subject]) -> list[int]:
    """Return, for each subject, the index of the first one with the same image: the file holds each image once."""
    first: dict[bytes, int] = {}
    return [
        first.setdefault(bytes(str(s.size), "ascii") + to_rgb(s.image).tobytes(), i) for i, s in enumerate(subjects)
    ]


def _photo_rule(index: int, subject: Subject) -> str:
    height, width = subject.size
    return (
        f".s{index}{{aspect-ratio:{width}/{height}}}"
        f".s{index}>.photo{{background-image:url({data_uris.picture(subject.image)})}}"
    )


def _group(name: str, columns: int) -> str:
    return f'<th colspan="{columns}" scope="colgroup" class="first">{escape(name)}</th>'


def _subject(index: int, photo: int, subject: Subject) -> str:
    label = escape(f"{subject.group}, the object: {subject.title}" if _known(subject) else subject.group)
    return (
        f"<th{_start(index, photo)} scope='col'><span class='pic s{photo}' role='img' aria-label='{label}'>"
        f"<i class='photo'></i>{_drawing(subject, _outline(index, subject))}</span>"
        f"<b>{escape(subject.title)}</b><small>{escape(subject.note)}</small></th>"
    )


def _start(index: int, photo: int) -> str:
    return ' class="first"' if index == photo else ""


def _drawing(subject: Subject, marks: str) -> str:
    height, width = subject.size
    return f'<svg viewBox="0 0 {width} {height}" aria-hidden="true">{marks}</svg>'


def _path(index: int, mask: np.ndarray) -> str:
    return f'<path id="o{index}" d="{data_uris.edges(mask)}" vector-effect="non-scaling-stroke"/>'


def _outline(index: int, subject: Subject) -> str:
    return f'<use href="#o{index}" class="halo"/><use href="#o{index}" class="line"/>' if _known(subject) else ""


def _grid_row(row: Row, photos: Sequence[int], subjects: Sequence[Subject]) -> str:
    cells = "".join(_cell(row, i, photos[i], subject) for i, subject in enumerate(subjects))
    points = "" if row.points is None else f"peak {_percent(row.points)}"
    facts = " · ".join(filter(None, [points, _seconds(row.seconds)]))
    head = f"<b>{escape(row.name)}</b><small>{escape(row.family)}</small><small>{facts}</small>"
    return f'<tr><th scope="row" title="{escape(row.summary)}">{head}</th>{cells}</tr>'


def _cell(row: Row, index: int, photo: int, subject: Subject) -> str:
    values = as_map(row.maps[index])
    where, mark = _peak(subject, values)
    alt = escape(f"{row.name} of {subject.title} in {subject.group}; {where}")
    return (
        f'<td{_start(index, photo)}><button type="button" class="cell"><span class="pic s{photo}"><i class="photo"></i>'
        f'<img class="heat" src="{data_uris.heat(values)}" alt="{alt}">'
        f"{_drawing(subject, _outline(index, subject) + mark)}</span></button></td>"
    )


def _peak(subject: Subject, values: np.ndarray) -> tuple[str, str]:
    """Return where a map's peak lies, in words and as a mark. There is no mark if the map is the same everywhere."""
    if values.min() == values.max():
        return "it is the same everywhere", ""
    (y, x), (height, width) = peak(values), subject.size
    x, y = (x + 0.5) * width / values.shape[1], (y + 0.5) * height / values.shape[0]
    where, mark = f"its peak lies at {x / width:.0%} from the left, {y / height:.0%} from the top", RING
    if subject.mask is not None:
        on = subject.mask[int(y * subject.mask.shape[0] / height), int(x * subject.mask.shape[1] / width)]
        where, mark = ("its peak lies on the object", RING) if on else ("its peak lies beside the object", CROSS)
    return where, f'<g class="peak" transform="translate({x:.4g} {y:.4g}) scale({width / 96:.3g})">{mark}</g>'


def _table_row(row: Row) -> str:
    kind = "" if len(row.maps) else ' class="baseline"'
    about = f"{escape(row.summary)} <cite>{escape(row.reference)}</cite>"
    speed = -1 if row.seconds is None else row.seconds
    return (
        f'<tr{kind}><th scope="row">{escape(row.name)}</th><td>{escape(row.family)}</td>'
        f'<td class="number" data-value="{speed:.6g}">{_seconds(row.seconds) or "–"}</td>'
        f"{_bar(row.points)}{_bar(row.mass)}<td>{about}</td></tr>"
    )


def _bar(share: float | None) -> str:
    if share is None:
        return '<td class="number share" data-value="-1">–</td>'
    return (
        f'<td class="number share" data-value="{share:.6g}"><span>{_percent(share)}</span>'
        f'<i class="bar" style="--share:{share:.4f}"></i></td>'
    )


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.0f} %"


def _seconds(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{seconds:.2f} s" if seconds >= 0.995 else f"{1000 * seconds:.3g} ms"
