"""Tables and lists for terminals and pipes."""

import re
from collections.abc import Mapping, Sequence

SENTENCE = r"(?<=[.!?])\s+(?=[A-Z`])"  # where one ends, and another begins


def table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Rows under headers in aligned columns, each as wide as it needs; numbers (by the first row) to the right."""
    cells = [list(headers), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(cell) for cell in column) for column in zip(*cells, strict=True)]
    right = [len(cells) > 1 and _is_number(cell) for cell in (cells[1] if rows else headers)]
    lines = [_line(row, widths, right) for row in cells]
    return "\n".join([lines[0], _line(["-" * width for width in widths], widths, right), *lines[1:]])


def left_out(reasons: Mapping[str, str]) -> list[str]:
    """A line for each method or image that was left out, with the first sentence of why."""
    return [f"Left out: {name}: {re.split(SENTENCE, why, maxsplit=1)[0]}" for name, why in reasons.items()]


def _is_number(cell: str) -> bool:
    return cell.rstrip("%s ").replace(".", "", 1).replace("-", "", 1).isdigit()


def _line(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    aligned = (c.rjust(w) if r else c.ljust(w) for c, w, r in zip(cells, widths, right, strict=True))
    return "  ".join(aligned).rstrip()
