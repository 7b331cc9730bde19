"""Tables and lists for terminals and pipes."""

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence

from keras_explainable.errors import printable

SENTENCE = r"(?<=[.!?])\s+(?=[A-Z`])"  # the gap between two sentences


def table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Align rows under their headers. Columns of numbers, judged by the first row, are aligned to the right."""
    cells = [list(headers), *([printable(cell) for cell in row] for row in rows)]
    widths = [max(len(cell) for cell in column) for column in zip(*cells, strict=True)]
    right = [len(cells) > 1 and _is_number(cell) for cell in (cells[1] if rows else headers)]
    lines = [_line(row, widths, right) for row in cells]
    return "\n".join([lines[0], _line(["-" * width for width in widths], widths, right), *lines[1:]])


def left_out(reasons: Mapping[str, str]) -> list[str]:
    """Return a line for each method or image that was left out, with the first sentence of the reason."""
    first = {name: " ".join(re.split(SENTENCE, why, maxsplit=1)[0].split()) for name, why in reasons.items()}
    return [f"Left out: {printable(name)}: {printable(why)}" for name, why in first.items()]


def csv_text(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return rows as the text of a CSV file."""
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows([headers, *rows])
    return file.getvalue()


def _is_number(cell: str) -> bool:
    return cell.rstrip("%s ").replace(".", "", 1).replace("-", "", 1).isdigit()


def _line(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    aligned = (c.rjust(w) if r else c.ljust(w) for c, w, r in zip(cells, widths, right, strict=True))
    return "  ".join(aligned).rstrip()


def listed(names: Sequence[str], most: int | None = None) -> str:
    """Return names for a sentence; if there are more than `most`, one fewer of them and the number of the others."""
    if most is not None and len(names) > most:
        return f"{', '.join(names[: most - 1])} and {len(names) - most + 1} others"
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
