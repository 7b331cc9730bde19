"""Tables for terminals and pipes."""

from collections.abc import Sequence


def table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Rows under headers in aligned columns, each as wide as it needs; numbers (by the first row) to the right."""
    cells = [list(headers), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(cell) for cell in column) for column in zip(*cells, strict=True)]
    right = [len(cells) > 1 and _is_number(cell) for cell in (cells[1] if rows else headers)]
    lines = [_line(row, widths, right) for row in cells]
    return "\n".join([lines[0], _line(["-" * width for width in widths], widths, right), *lines[1:]])


def _is_number(cell: str) -> bool:
    return cell.rstrip("%s ").replace(".", "", 1).replace("-", "", 1).isdigit()


def _line(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    aligned = (c.rjust(w) if r else c.ljust(w) for c, w, r in zip(cells, widths, right, strict=True))
    return "  ".join(aligned).rstrip()
