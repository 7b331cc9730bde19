"""An evaluation in one HTML file: a table with intervals as bars, curves over the band of random maps, and images."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from keras_explainable.viz import data_uris, framing
from keras_explainable.viz.charts import GREY, NAMED, Bar, Curves, Intervals, Line, colors
from keras_explainable.viz.image import to_rgb
from keras_explainable.viz.page import column_head, escape, page

SIDE = 160  # pixels of the shorter side of a picture, at most
WIDTH, HEIGHT = 460, 270  # of a chart, with these margins
LEFT, RIGHT, TOP, BOTTOM = 46, 20, 8, 36
MARGIN = 0.03  # of the width of an interval's chart, on each side


@dataclass(frozen=True)
class Card:
    """An image (H, W, C) or (H, W), its name, and the values of methods."""

    image: np.ndarray
    name: str
    values: Mapping[str, float] = field(default_factory=dict)


def report(
    title: str,
    lead: str,
    intervals: Sequence[Intervals],
    curves: Sequence[Sequence[Curves]] = (),
    cards: Sequence[Card] = (),
    of_cards: str = "",
    settings: Mapping[str, str] | None = None,
    notes: Sequence[str] = (),
) -> str:
    """Return the report as HTML. All `intervals` have bars of the same methods in the same order. `of_cards` is the
    metric whose values the cards show."""
    rows = zip(*(panel.bars for panel in intervals), strict=True)
    scales = [_scale(panel) for panel in intervals]
    parts = {
        "title": escape(title),
        "lead": escape(lead),
        "heads": "\n  ".join(map(_head, intervals)),
        "table": "\n".join(
            f'<tr class="{_kind(bars[0])}"><th scope="row">{escape(bars[0].name)}</th>'
            + "".join(_cell(bar, panel, *scale) for bar, panel, scale in zip(bars, intervals, scales, strict=True))
            + "</tr>"
            for bars in rows
        ),
        "oracle_shown": "empty" if all(panel.oracle is None for panel in intervals) else "",
        "notes": "".join(f"<li>{escape(note)}</li>" for note in notes),
        "curves": "\n".join(map(_charts, curves)),
        "curves_shown": "" if curves else "empty",
        "cards": "".join(map(_card, cards)),
        "of_cards": escape(of_cards),
        "cards_shown": "" if cards else "empty",
        "settings": "\n".join(
            f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>'
            for name, value in (settings or {}).items()
        ),
    }
    return page("evaluation_report", parts)


def _kind(bar: Bar) -> str:
    return " ".join(["grey"] * bar.grey + ["baseline"] * bar.baseline)


def _head(panel: Intervals) -> str:
    known = [("chance", panel.chance), ("oracle", panel.oracle)]
    facts = " · ".join(f"{name} {value:.3g}" for name, value in known if value is not None)
    better = f"{panel.better} is better" if panel.better else "describes maps"
    kind = "number low" if panel.better == "lower" else "number"
    return column_head(panel.metric, kind, f"<small>{better}</small><small>{facts}</small>")


def _scale(panel: Intervals) -> tuple[float, float]:
    """The values at the left and the right end of a metric's bars."""
    ends = [end for bar in panel.bars for end in (bar.low, bar.high)]
    found = [v for v in (*ends, panel.chance, panel.oracle) if v is not None and math.isfinite(v)] or [0.0]
    room = (max(found) - min(found) or 1) * MARGIN
    return min(found) - room, max(found) + room


def _cell(bar: Bar, panel: Intervals, low: float, high: float) -> str:
    if not math.isfinite(bar.mean):
        return f'<td class="number" data-label="{escape(panel.metric)}" data-value="-Infinity">–</td>'

    def at(value: float) -> str:
        return f"{100 * (value - low) / (high - low):.4g}"

    marks = "".join(
        f'<line class="{name}" x1="{at(value)}" x2="{at(value)}" y1="0" y2="14"/>'
        for name, value in (("chance", panel.chance), ("oracle", panel.oracle))
        if value is not None
    )
    width = f"{100 * (bar.high - bar.low) / (high - low):.4g}"
    return (
        f'<td class="number" data-label="{escape(panel.metric)}" data-value="{bar.mean:.6g}">{bar.mean:z.3f} '
        f"<small>[{bar.low:z.3f}, {bar.high:z.3f}]</small>"
        f'<span class="letters">{escape(bar.letters)}</span>'
        '<svg class="interval" viewBox="0 0 100 14" preserveAspectRatio="none" aria-hidden="true">'
        f'<line class="base" x1="0" x2="100" y1="7" y2="7"/><rect class="span" x="{at(bar.low)}" y="3" width="{width}" '
        f'height="8"/>{marks}<line class="mean" x1="{at(bar.mean)}" x2="{at(bar.mean)}" y1="1" y2="13"/></svg></td>'
    )


def _charts(panels: Sequence[Curves]) -> str:
    """The charts of one metric, side by side, and what their colours mean."""
    chosen = colors(panels[0].lines)
    keys = list(chosen.items())
    if len(keys) > NAMED:
        keys = [(name, color) for name, color in keys if color != GREY] + [("other methods", GREY)]
    keys += [(panels[0].random.name, "")] if panels[0].random else []
    items = "".join(
        '<li><svg viewBox="0 0 26 12" aria-hidden="true"><line x1="0" x2="26" y1="6" y2="6" '
        + (f'stroke="{color}" stroke-width="3"' if color else 'class="chance"')
        + f"/></svg> {escape(name)}</li>"
        for name, color in keys
    )
    drawn = "".join(_chart(panel, chosen) for panel in panels)
    return f'<div class="charts">{drawn}</div><ul class="keys">{items}</ul>'


def _chart(panel: Curves, chosen: Mapping[str, str]) -> str:
    lines = [*panel.lines, *([panel.random] if panel.random else [])]
    values = np.concatenate([np.concatenate([line.low, line.mean, line.high]) for line in lines])
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    ticks = _ticks(low, high)
    x = LEFT + (WIDTH - LEFT - RIGHT) * panel.share

    def y(of: np.ndarray | float) -> np.ndarray:
        return TOP + (HEIGHT - TOP - BOTTOM) * (high - np.asarray(of)) / (high - low or 1)

    def points(line: np.ndarray) -> str:
        return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y(line), strict=True))

    def drawn(line: Line) -> str:
        known = line is panel.random
        color = chosen.get(line.name, GREY)
        kind = ' class="random"' if known else ' class="thin"' if color == GREY else ""
        paint = "" if known else f' stroke="{color}"'
        return f"<polyline{kind}{paint} points='{points(line.mean)}'><title>{escape(line.name)}</title></polyline>"

    def band(line: Line) -> str:
        if np.isnan(line.low).any():
            return ""
        paint = 'class="random"' if line is panel.random else f'fill="{chosen.get(line.name, GREY)}"'
        edge = " ".join(reversed(points(line.low).split()))
        return f'<polygon {paint} points="{points(line.high)} {edge}"/>'

    bottom = HEIGHT - BOTTOM
    axes = "".join(
        f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(t):.1f}" y2="{y(t):.1f}"/>'
        f'<text x="{LEFT - 6}" y="{y(t) + 4:.1f}" text-anchor="end">{t:.4g}</text>'
        for t in ticks
    )
    axes += "".join(
        f'<text x="{LEFT + (WIDTH - LEFT - RIGHT) * t:.1f}" y="{bottom + 15}" text-anchor="middle">{t:.0%}</text>'
        for t in (0, 0.25, 0.5, 0.75, 1)
    )
    axes += f'<text x="{(LEFT + WIDTH) / 2:.0f}" y="{HEIGHT - 4}" text-anchor="middle">share of the pixels</text>'
    own = [line for line in panel.lines if chosen[line.name] != GREY]  # others would hide that of random maps
    bands = "".join(map(band, [*([panel.random] if panel.random else []), *own]))
    return (
        f'<figure class="panel chart"><figcaption>{escape(panel.title)}</figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(panel.title)}">{axes}{bands}'
        f"{''.join(map(drawn, reversed(lines)))}</svg></figure>"
    )


def _ticks(low: float, high: float) -> np.ndarray:
    """About five round numbers from `low` to `high`."""
    step = (high - low or 1) / 5
    power = 10 ** math.floor(math.log10(step))
    step = next(power * n for n in (1, 2, 2.5, 5, 10) if power * n >= step * 0.99)
    return np.arange(math.ceil(low / step), math.floor(high / step) + 1) * step


def _card(card: Card) -> str:
    image = to_rgb(card.image)
    if min(image.shape[:2]) > SIDE:
        image = framing.covering(image, (SIDE, SIDE))
    values = "".join(f"<li><span>{escape(n)}</span><span>{v:z.3f}</span></li>" for n, v in card.values.items())
    return (
        f'<figure class="panel card"><img src="{data_uris.picture(image)}" alt="{escape(card.name)}">'
        f"<figcaption>{escape(card.name)}<ol>{values}</ol></figcaption></figure>"
    )
