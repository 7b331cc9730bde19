"""The card of one map: the image with the map, a verdict, and a sentence for each check."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from keras_explainable.viz import data_uris
from keras_explainable.viz.image import to_rgb
from keras_explainable.viz.page import escape, page

MARKS = {True: ("pass", "✓", "passed"), False: ("fail", "✗", "failed"), None: ("none", "–", "not judged")}
STYLE = """
.trust { max-width: 62rem; font-family: system-ui, sans-serif; }
.trust .pictures { display: flex; gap: 1rem; flex-wrap: wrap; margin: 0 0 1rem; }
.trust figure { margin: 0; } .trust figcaption { font-size: .8rem; margin-top: .3rem; max-width: 224px; }
.trust .picture { position: relative; width: 224px; }
.trust .picture img { display: block; width: 100%; border-radius: 6px; image-rendering: auto; }
.trust .picture img + img { position: absolute; inset: 0; height: 100%; }
.trust table { border-collapse: collapse; width: 100%; margin: 0; }
.trust th, .trust td { text-align: left !important; vertical-align: top; padding: .35rem .6rem; font-size: .88rem; }
.trust th { white-space: nowrap; font-weight: 600; } .trust td.mark { width: 1.4rem; font-weight: 700; }
.trust .pass td.mark { color: #009e73; } .trust .fail td.mark { color: #c5391c; }
.trust .verdict { display: inline-block; border-radius: 6px; padding: .1rem .6rem; color: #fff; background: #6b7280; }
.trust .verdict.supported { background: #00795a; } .trust .verdict.contradicted { background: #b3341a; }
@media (max-width: 500px) { .trust th { white-space: normal; } .trust th, .trust td { padding: .35rem .3rem; } }
.trust ul { font-size: .82rem; opacity: .8; padding-left: 1.1rem; }
"""


class Row(NamedTuple):
    """A check: its question, whether it passed (None if it is not judged), and a sentence."""

    question: str
    passed: bool | None
    said: str


def fragment(
    lead: str,
    verdict: str,
    rows: Sequence[Row],
    caveats: Sequence[str],
    image: np.ndarray,
    maps: Mapping[str, np.ndarray],
) -> str:
    """Return the card as a part of a page. `maps` (H, W) have captions. Images (H, W, C) that cannot
    be drawn, such as volumes, are left out."""
    lines = []
    for row in rows:
        name, mark, spoken = MARKS[row.passed]
        lines.append(
            f'<tr class="{name}"><td class="mark" aria-label="{spoken}">{mark}</td>'
            f'<th scope="row">{escape(row.question)}</th><td>{escape(row.said)}</td></tr>'
        )
    notes = "".join(f"<li>{escape(caveat)}</li>" for caveat in caveats)
    return (
        f'<style>{STYLE}</style><div class="trust"><p><span class="verdict {escape(verdict)}">{escape(verdict)}</span> '
        f"{escape(lead)}</p>{_pictures(image, maps)}<table>{''.join(lines)}</table><ul>{notes}</ul></div>"
    )


def report(
    lead: str,
    verdict: str,
    rows: Sequence[Row],
    caveats: Sequence[str],
    image: np.ndarray,
    maps: Mapping[str, np.ndarray],
) -> str:
    """Return the card as a page."""
    card = fragment(lead, verdict, rows, caveats, image, maps)
    return page("trust_card", {"title": "Can this map be trusted?", "card": card})


def _pictures(image: np.ndarray, maps: Mapping[str, np.ndarray]) -> str:
    if image.ndim != 3 or image.shape[-1] not in (1, 3):
        return ""
    least, most = float(image.min()), float(image.max())
    shown = to_rgb(image if image.dtype == np.uint8 else (image - least) / (most - least or 1))
    photo = f'<img src="{data_uris.picture(shown)}" alt="">'
    heats = {"the image": "", **{name: f'<img src="{data_uris.heat(one)}" alt="">' for name, one in maps.items()}}
    figures = (
        f'<figure><div class="picture">{photo}{heat}</div><figcaption>{escape(name)}</figcaption></figure>'
        for name, heat in heats.items()
    )
    return f'<div class="pictures">{"".join(figures)}</div>'
