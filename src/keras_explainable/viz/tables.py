"""Tables and lists for terminals and pipes."""

import re
import unicodedata
from collections.abc import Mapping, Sequence

SENTENCE = r"(?<=[.!?])\s+(?=[A-Z`])"  # where one ends, and another begins


def shown(name: object) -> str:
    """A name or a message in one line: what would steer a terminal, turn text around or is no character (as in names
    that are not UTF-8) is written as an escape."""
    return "".join(
        c if c.isprintable() or unicodedata.category(c) == "Zs" else c.encode("unicode_escape").decode()
        for c in str(name)
    )


def table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Rows under headers in aligned columns, each as wide as it needs; numbers (by the first row) to the right."""
    cells = [list(headers), *([shown(cell) for cell in row] for row in rows)]
    widths = [max(len(cell) for cell in column) for column in zip(*cells, strict=True)]
    right = [len(cells) > 1 and _is_number(cell) for cell in (cells[1] if rows else headers)]
    lines = [_line(row, widths, right) for row in cells]
    return "\n".join([lines[0], _line(["-" * width for width in widths], widths, right), *lines[1:]])


def left_out(reasons: Mapping[str, str]) -> list[str]:
    """A line for each method or image that was left out, with the first sentence of why."""
    first = {name: " ".join(re.split(SENTENCE, why, maxsplit=1)[0].split()) for name, why in reasons.items()}
    return [f"Left out: {shown(name)}: {shown(why)}" for name, why in first.items()]


def _is_number(cell: str) -> bool:
    return cell.rstrip("%s ").replace(".", "", 1).replace("-", "", 1).isdigit()


def _line(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    aligned = (c.rjust(w) if r else c.ljust(w) for c, w, r in zip(cells, widths, right, strict=True))
    return "  ".join(aligned).rstrip()
