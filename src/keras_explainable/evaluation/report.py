"""The report of an evaluation: what goes into its page."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_explainable.errors import InputError, shortly
from keras_explainable.evaluation import panels
from keras_explainable.viz.evaluation_report import Card, report

if TYPE_CHECKING:
    from keras_explainable.evaluation.evaluation import Evaluation

TITLE = "Which map may I believe?"
SHOWN = 6  # images
ENDS = 4  # this many of the largest and of the smallest values of an image are shown
LONGEST = 200  # characters of a setting's value


def page_of(result: "Evaluation", images: Any = None, names: Sequence[str] | None = None) -> str:
    """The page, as HTML.

    Raises:
        InputError: images or names are too few.
    """
    number = result.values.shape[2]
    for what, given in (("images", images), ("names", names)):
        if given is not None and len(given) < number:
            raise InputError(f"{len(given)} {what} came for an evaluation of {number} images: give one for each.")
    names = [f"image {n}" for n in range(number)] if names is None else [str(name) for name in names]
    cards = [] if images is None else [Card(images[n], names[n], v) for n, v in disagreements(result).items()]
    curves = [panels.curves(result, metric) for metric in result.metrics if result.curves.get(metric)]
    return report(
        TITLE,
        result.conclusion(),
        panels.intervals(result, result.metrics),
        curves,
        cards,
        result.headline() or "",
        settings(result),
        _notes(result, bool(curves)),
    )


def disagreements(result: "Evaluation", count: int = SHOWN) -> dict[int, dict[str, float]]:
    """The images on which methods that are not baselines disagree most: those with the largest standard deviation of
    the headline metric over methods. For each image, the largest and the smallest values by method."""
    metric, known = result.headline(), result.baselines
    rows = [n for n, name in enumerate(result.methods) if metric and not known[name] and result.has(name, metric)]
    if metric is None or len(rows) < 2:
        return {}
    values = result.of(metric)[rows]
    spread = np.nan_to_num(values.std(axis=0), nan=-1)
    chosen = [int(n) for n in np.argsort(-spread, kind="stable")[:count] if spread[n] >= 0]
    found = {}
    for n in chosen:
        order = np.argsort(-values[:, n], kind="stable")
        order = order if len(order) <= 2 * ENDS else np.r_[order[:ENDS], order[-ENDS:]]
        found[n] = {result.methods[rows[row]]: float(values[row, n]) for row in order}
    return found


def settings(result: "Evaluation") -> dict[str, str]:
    """What was measured, and how, in words."""
    about, (_, _, images, units) = result.about, result.values.shape
    found = {"Images": f"{images}, with {units} unit{'s' if units > 1 else ''} each"}
    if result.groups is not None:
        found["Groups"] = f"{len(np.unique(result.groups))}, which are resampled as a whole"
    for metric in result.metrics:
        applied = result.applied[metric]
        given = ", ".join(f"{name}={_short(value)}" for name, value in applied.params.items())
        found[f"Metric {metric}"] = f"{applied.record.name}({given}): {applied.record.summary}"
    found |= {f"Method {name}": _short(dict(params)) for name, params in about.get("params", {}).items()}
    for name in ("seed", "backend"):
        if name in about:
            found[name.capitalize()] = str(about[name])
    if "versions" in about:
        found["Versions"] = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    if "seconds" in about:
        found["Seconds"] = ", ".join(f"{name} {seconds:.3g}" for name, seconds in about["seconds"].items())
    return found


def _short(value: Any) -> str:
    """A value in a line. Arrays are named by their shape."""
    if isinstance(value, dict):
        return ", ".join(f"{name}={_short(one)}" for name, one in value.items())
    text = f"array {np.shape(value)}" if np.ndim(value) > 1 else shortly(value)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _notes(result: "Evaluation", curves: bool) -> list[str]:
    metric = next((m for m in result.metrics if result.applied[m].record.better), None)
    notes = [*result.notes()]
    if any(result.baselines.get(name) for name in result.methods) and metric is not None:
        notes.append(f"Grey: not better than all maps that know nothing of the model, by {metric}.")
    if curves:
        notes.append("Curves are means over images; bands are the 95 % intervals of these means.")
    return notes
