"""The conclusion of an evaluation, in words."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from keras_explainable.metrics.statistics import ENOUGH, holm
from keras_explainable.viz.tables import listed

if TYPE_CHECKING:
    from keras_explainable.evaluation.evaluation import Evaluation


def conclusion(found: "Evaluation", metric: str | None, methods: list[str]) -> str:
    """Which of some methods to use according to a metric, and whether the choice matters."""
    if metric is None or not methods:
        return "No metric here says which method is better."
    sign = -1 if found.applied[metric].record.better == "lower" else 1
    column = found.column(metric)
    best, *others = sorted(methods, key=lambda name: -sign * column[name].mean)
    images = found.values.shape[2] - found.undefined(metric)
    first = f"By {metric} on {images} images, {best} has the best mean ({column[best].mean:.3g})."
    return " ".join(
        [first, *_against_others(found, metric, best, others, images), *_against_baselines(found, metric, methods)]
    )


def _against_others(found: "Evaluation", metric: str, best: str, others: list[str], images: int) -> Iterator[str]:
    """How the best method compares with the others."""
    compared = {name: found.compare(best, name, metric) for name in others}
    adjusted = dict(zip(others, holm([one.p for one in compared.values()]), strict=True)) if others else {}
    worse = [name for name in others if compared[name].verdict == "better" and adjusted[name] <= 0.05]
    equal = [name for name in others if compared[name].verdict == "equal"]
    unknown = [name for name in others if name not in {*worse, *equal}]
    if others and worse == others:
        yield "It is better than all other methods: use it."
    elif worse:
        yield f"It is better than {listed(worse)}."
    if equal:
        yield f"The choice between it and {listed(equal)} does not matter."
    if unknown:
        hardest = max(unknown, key=lambda name: compared[name].needed or 0)
        needed = compared[hardest].needed or 0
        which = f" for {hardest}" if len(unknown) > 1 else ""
        more = f": about {needed:,} would{which}" if needed > images else ""
        yield f"These images cannot tell it from {listed(unknown)}{more}."


def _against_baselines(found: "Evaluation", metric: str, methods: list[str]) -> Iterator[str]:
    """Which methods are not better than maps that know nothing of the model."""
    if len(np.unique(found.groups_of(metric))) < ENOUGH:
        yield "Fewer than six images, or groups of them, cannot tell any methods apart."
        return
    better = found.beating(metric, methods)
    rest = [name for name in methods if name not in better]
    if rest and any(found.baselines[name] and name != "oracle" for name in found.methods):
        some = f"{listed(rest)} {'is' if len(rest) == 1 else 'are'} not"
        who = "None of them is" if len(rest) == len(methods) else some
        yield f"{who} better than all maps that know nothing of the model."
