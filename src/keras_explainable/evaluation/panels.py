"""The contents of charts and of the report of an evaluation, as plain numbers and names."""

from typing import TYPE_CHECKING

import numpy as np

from keras_explainable.errors import InputError
from keras_explainable.evaluation.curves import Curve
from keras_explainable.metrics.ranks import average_ranks
from keras_explainable.viz.charts import Bar, Curves, Intervals, Line, Ranks

if TYPE_CHECKING:
    from keras_explainable.evaluation.evaluation import Evaluation

RANDOM = "uniform_noise"


def intervals(result: "Evaluation", metrics: list[str]) -> list[Intervals]:
    """The bars of metrics: a bar for each method except the oracle, ordered by the headline metric, the best first."""
    grey, panels = result.grey(), []
    order = [name for name in ordered(result) if name != "oracle"]
    for metric in metrics:
        cells = result.column(metric)
        bars = [
            Bar(n, c.mean, c.low, c.high, c.letters, n in grey, result.baselines[n])
            for n, c in ((name, cells[name]) for name in order)
        ]
        better = result.applied[metric].record.better
        panels.append(Intervals(metric, bars, result.chance(metric), result.oracle(metric), better))
    return panels


def ordered(result: "Evaluation") -> list[str]:
    """The methods, ordered by their means of the headline metric: the best first, those without values last. If no
    metric ranks, the order is not changed."""
    metric = result.headline()
    if metric is None:
        return list(result.methods)
    column, sign = result.column(metric), 1 if result.applied[metric].record.better == "lower" else -1
    return sorted(column, key=lambda name: (np.isnan(column[name].mean), sign * column[name].mean))


def curves(result: "Evaluation", metric: str) -> list[Curves]:
    """The curves of a metric, a panel for each kind.

    Raises:
        InputError: the metric has no curves.
    """
    of = result.curves.get(metric, {})
    if not of:
        have = [name for name, found in result.curves.items() if found]
        hint = f"There are those of {', '.join(have)}." if have else "No metric here has any: measure srg."
        raise InputError(f"{metric} has no curves. {hint}")
    grey = result.grey()
    order = [name for name in ordered(result) if name in of and not result.baselines[name]]
    panels = []
    for kind in next(iter(of.values())):
        lines = [_line(name, of[name][kind], name in grey) for name in order]
        random = _line(RANDOM, of[RANDOM][kind], True) if RANDOM in of else None
        share = next(iter(of.values()))[kind].share
        panels.append(Curves(f"{metric}: {kind}", share, lines, random))
    return panels


def _line(name: str, curve: Curve, grey: bool) -> Line:
    return Line(name, curve.mean, *curve.band, grey)


def ranks(result: "Evaluation", metric: str) -> Ranks:
    """The mean over images of the rank of each method that is not a baseline. Methods with equal values share their
    mean rank. Rank 1 is the best.

    Raises:
        InputError: the metric does not rank, or has no values.
    """
    better = result.applied[metric].record.better
    ours = [n for n, name in enumerate(result.methods) if not result.baselines[name] and result.has(name, metric)]
    values = result.of(metric).T[:, ours]
    values = values[~np.isnan(values).any(axis=1)]
    if not better or not ours:
        raise InputError(f"{metric} ranks no methods here: it describes maps, or no method has a value.")
    found = average_ranks(values * (-1 if better == "higher" else 1)) + 1
    means = found.mean(axis=0)
    cells = result.column(metric)
    names = [result.methods[n] for n in ours]
    return Ranks(metric, dict(zip(names, map(float, means), strict=True)), {n: cells[n].letters for n in names})
