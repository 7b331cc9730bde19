"""A chart of methods: the time for a map against how often its peak lies on the object."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from keras_explainable.viz.page import escape

WIDTH, HEIGHT = 640, 300
LEFT, RIGHT, TOP, BOTTOM = 48, 120, 14, 40
NAMED = 8  # points with a name beside them; with more, names show when a point is chosen
LINE = 13  # pixels between two names
GLYPH = 6.6  # pixels of a letter, about


@dataclass(frozen=True)
class Point:
    """A method: its name, the seconds for a map, the share of peaks on the object, and whether it is doubtful."""

    name: str
    seconds: float | None
    share: float | None
    doubtful: bool = False


def chart(points: Sequence[Point], chance: float | None = None) -> str:
    """Return the chart as SVG, each point a link to the row of its method. Nothing if fewer than two have both values.

    The time is on a logarithmic axis. A dashed line is what chance reaches."""
    known = [(p.name, p.seconds, p.share, p.doubtful) for p in points if p.seconds and p.share is not None]
    drawn = [(name, float(seconds or 0), float(share or 0), doubtful) for name, seconds, share, doubtful in known]
    if len(drawn) < 2:
        return ""
    low = math.floor(math.log10(min(seconds for _, seconds, _, _ in drawn)))
    high = max(low + 1, math.ceil(math.log10(max(seconds for _, seconds, _, _ in drawn))))

    def x(seconds: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (math.log10(seconds) - low) / (high - low)

    def y(share: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (1 - share)

    spots = [(name, x(seconds), y(share), doubtful) for name, seconds, share, doubtful in drawn]
    heights = _apart([top for _, _, top, _ in spots])
    marks = "".join(
        f'<a href="#{escape(name)}" class="{"doubtful" if doubtful else "sound"}{" named" * (len(spots) <= NAMED)}" '
        f'data-row="{escape(name)}"><circle cx="{left:.1f}" cy="{top:.1f}" r="5"/>'
        f"{_name(name, left, height, spots)}</a>"
        for (name, left, top, doubtful), height in zip(spots, heights, strict=True)
    )
    floor = "" if chance is None else _line(y(chance), "chance", f"chance {chance:.0%}")
    return (
        f'<svg class="scatter" viewBox="0 0 {WIDTH} {HEIGHT}" role="group" '
        f'aria-label="The time for a map, and how often its peak lies on the object">'
        f"{_axes(low, high, x, y)}{floor}{marks}</svg>"
    )


def _name(name: str, left: float, height: float, spots: Sequence[tuple[str, float, float, bool]]) -> str:
    """A name beside its point: to the right, or to the left if another point lies under it there."""
    width = GLYPH * len(name)
    others = [spot for spot in spots if spot[0] != name]
    under = any(left + 5 < x < left + 14 + width and abs(y - height) < LINE for _, x, y, _ in others)
    to_the_left = under and left - 14 - width > LEFT
    x, anchor = (left - 9, ' text-anchor="end"') if to_the_left else (left + 9, "")
    return f'<text x="{x:.1f}" y="{height + 4:.1f}"{anchor}>{escape(name)}</text>'


def _apart(heights: Sequence[float]) -> list[float]:
    """Move heights of names down until no two are closer than a line, in their order from the top."""
    found = list(heights)
    last = -math.inf
    for i in sorted(range(len(found)), key=found.__getitem__):
        last = found[i] = max(found[i], last + LINE)
    return found


def _axes(low: int, high: int, x: Callable[[float], float], y: Callable[[float], float]) -> str:
    across = "".join(
        f'<text x="{x(10.0**power):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{_time(power)}</text>'
        for power in range(low, high + 1)
    )
    up = "".join(_line(y(share), "axis", f"{share:.0%}") for share in (0, 0.25, 0.5, 0.75, 1))
    title = f'<text x="{(LEFT + WIDTH - RIGHT) / 2:.0f}" y="{HEIGHT - 6}" text-anchor="middle">time for one map</text>'
    return f"{up}{across}{title}"


def _line(height: float, kind: str, label: str) -> str:
    return (
        f'<line class="{kind}" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{height:.1f}" y2="{height:.1f}"/>'
        f'<text x="{LEFT - 6 if kind == "axis" else WIDTH - RIGHT + 4}" y="{height + 4:.1f}" '
        f'text-anchor="{"end" if kind == "axis" else "start"}">{label}</text>'
    )


def _time(power: int) -> str:
    return f"{10**power:,} s" if power >= 0 else f"{1000 * 10.0**power:g} ms"
