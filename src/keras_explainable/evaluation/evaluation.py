"""The result of an evaluation: values, a table, and comparisons."""

import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_explainable.errors import BackendError, InputError
from keras_explainable.evaluation import conclusion, panels, report
from keras_explainable.evaluation.curves import Curve
from keras_explainable.evaluation.selection import Applied
from keras_explainable.metrics.statistics import (
    Comparison,
    better_than_all,
    compare,
    interval,
    letters,
    numbered,
    rank_intervals,
    told_apart,
)
from keras_explainable.viz import charts, output

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HEADLINES = ("srg", "faithfulness_correlation")
MATTERS = 0.05  # of the difference between the oracle and random maps
SHARED = "Methods with the same letter cannot be told apart by that metric."
COLUMNS = ["method", "metric", "image", "unit", "value", "group"]


@dataclass(frozen=True)
class Cell:
    """A method's mean of a metric over images, with its 95 % interval. For methods that are not baselines, also the
    interval of its rank among these, and its letters: methods that cannot be told apart share one."""

    mean: float
    low: float
    high: float
    rank: tuple[int, int] | None
    letters: str = ""


@dataclass(frozen=True)
class Evaluation:
    """The values of metrics for the maps of methods.

    Args:
        values: (methods, metrics, N, K); NaN where a metric is not defined, as for given maps if it needs the method.
        methods, metrics: the names on the first two axes. Baselines count as methods.
        baselines: whether each method is a baseline.
        applied: the metrics with their parameters.
        groups: (N,), which images are resampled together; None if each is alone.
        about: seed, seconds of each method, methods that were left out and why, and the number of images if it was
            reduced.
        curves: by metric, method and name, the mean over images of the curves that values were computed from, with its
            spread (see `evaluation.curves.Curve`), for metrics with curves over the share of pixels. For `srg` these
            are "deletion" and "insertion".
    """

    values: np.ndarray
    methods: list[str]
    metrics: list[str]
    baselines: dict[str, bool]
    applied: dict[str, Applied]
    groups: np.ndarray | None = None
    about: dict[str, Any] = field(default_factory=dict)
    curves: dict[str, dict[str, dict[str, Curve]]] = field(default_factory=dict)

    def of(self, metric: str) -> np.ndarray:
        """The values (methods, N) of a metric, the mean over units. NaN, for all methods, where one of them is not
        defined. Methods without any value do not count, such as given maps where a metric needs the method."""
        values = self.values[:, self._number("metric", metric, self.metrics)].mean(axis=-1)
        missing = np.isnan(values)
        return np.where(missing[~missing.all(axis=1)].any(axis=0), np.nan, values)

    def has(self, method: str, metric: str) -> bool:
        """Whether a method has values of a metric that can be compared."""
        return not np.isnan(self.of(metric)[self._number("method", method, self.methods)]).all()

    def undefined(self, metric: str) -> int:
        """The number of images without a value of this metric."""
        return int(np.isnan(self.of(metric)).all(axis=0).sum())

    def summary(self) -> dict[str, dict[str, Cell]]:
        """By metric and method: the mean over images with its interval, and the interval of its rank and its letters
        among methods that are not baselines (see `Cell` and `metrics.statistics.told_apart`)."""
        return {metric: self.column(metric) for metric in self.metrics}

    def column(self, metric: str) -> dict[str, Cell]:
        """One metric of `summary`, by method."""
        (values, groups), higher = self._defined(metric), self._better(metric) != "lower"
        if not len(values):
            return {name: Cell(math.nan, math.nan, math.nan, None) for name in self.methods}
        ends = interval(values, groups)
        ours = [n for n, name in enumerate(self.methods) if not self.baselines[name] and not np.isnan(values[0, n])]
        ranks: dict[int, tuple[int, int]] = {}
        groupings: dict[int, str] = {}
        if self._better(metric) and len(ours) > 1:
            found = rank_intervals(values[:, ours], higher, groups)
            ranks = {n: (int(low), int(high)) for n, (low, high) in zip(ours, found, strict=True)}
            ours.sort(key=lambda n: values[:, n].mean() * (-1 if higher else 1))
            groupings = dict(zip(ours, letters(told_apart(values[:, ours], groups)), strict=True))
        return {
            name: Cell(
                float(values[:, n].mean()), float(ends[n, 0]), float(ends[n, 1]), ranks.get(n), groupings.get(n, "")
            )
            for n, name in enumerate(self.methods)
        }

    def chance(self, metric: str) -> float | None:
        """The value of random maps: as the metric states it; else the mean of "uniform_noise"; None if that was not
        measured."""
        level = self.applied[metric].record.chance_level
        return self._mean("uniform_noise", metric) if level is None else level

    def oracle(self, metric: str) -> float | None:
        """The mean value of the oracle; None if it was not measured."""
        return self._mean("oracle", metric)

    def __repr__(self) -> str:
        return str(self)

    def _mean(self, name: str, metric: str) -> float | None:
        if name not in self.methods or not self.has(name, metric):
            return None
        return float(np.nanmean(self.of(metric)[self.methods.index(name)]))

    def margin(self, metric: str) -> float:
        """A difference that matters: 5 % of the difference between the best row, or the oracle if there is one, and
        random maps."""
        valued = {n: v for n, v in zip(self.methods, self.of(metric), strict=True) if not np.isnan(v).all()}
        means = {name: float(np.nanmean(values)) for name, values in valued.items()} or {"": math.nan}
        sign = -1 if self._better(metric) == "lower" else 1
        best = means.get("oracle", max(means.values(), key=lambda m: sign * m))
        chance = means.get("uniform_noise", min(means.values(), key=lambda m: sign * m))
        return float(MATTERS * abs(best - chance))

    def compare(self, a: str, b: str, metric: str) -> Comparison:
        """Whether method `a` is "better" or "worse" than `b` by a metric, "equal", or "cannot tell: about n images
        needed" (see `metrics.statistics.compare`).

        This is one pair alone. Letters and `conclusion` correct for the number of pairs: what is "better" here may
        share a letter there.

        Raises:
            InputError: there is no such method or metric, or the metric does not say which value is better.
        """
        if not self._better(metric):
            raise InputError(f"{metric} describes maps: neither higher nor lower values are better.")
        values = self.of(metric)
        one, other = (values[self._number("method", name, self.methods)] for name in (a, b))
        return compare(one, other, self.margin(metric), self._better(metric) == "higher", self.groups)

    def beats_baselines(self, method: str, metric: str) -> bool:
        """Whether a method is better than each baseline except the oracle. True if there are no such baselines, False
        if the method has no values."""
        self._number("method", method, self.methods)
        return method in self.beating(metric, [method])

    def beating(self, metric: str, methods: list[str]) -> set[str]:
        """Which of some methods have values and are better than each baseline except the oracle."""
        values, groups = self._defined(metric)
        valued = dict(zip(self.methods, ~np.isnan(values).all(axis=0), strict=True))
        others = [
            n for n, name in enumerate(self.methods) if self.baselines[name] and name != "oracle" and valued[name]
        ]
        ours = [name for name in methods if valued[name]]
        rows = [self.methods.index(name) for name in ours]
        found = better_than_all(values * (-1 if self._better(metric) == "lower" else 1), rows, others, groups)
        return {name for name, better in zip(ours, found, strict=True) if better}

    def _defined(self, metric: str) -> tuple[np.ndarray, np.ndarray | None]:
        """The values (N', methods) of the images that have them, and these images' groups. A method without any value
        has NaN."""
        values = self.of(metric).T
        valued = ~np.isnan(values).all(axis=0)
        kept = ~np.isnan(values[:, valued]).any(axis=1) & valued.any()
        return values[kept], None if self.groups is None else self.groups[kept]

    def groups_of(self, metric: str) -> np.ndarray:
        """The groups of the images that have values."""
        values, groups = self._defined(metric)
        return numbered(groups, len(values))

    def grey(self) -> set[str]:
        """The baselines, and the methods that are not better than all of them by the first metric that ranks."""
        ranking = next((m for m in self.metrics if self._better(m)), None)
        above = self._ours() if ranking is None else self.beating(ranking, self._ours())
        return set(self.methods) - set(above)

    def headline(self) -> str | None:
        """The metric that conclusions are drawn from: `srg`, `faithfulness_correlation`, or the first one that ranks;
        None if none does."""
        return next((m for m in (*HEADLINES, *self.metrics) if m in self.metrics and self._better(m)), None)

    def conclusion(self, metric: str | None = None) -> str:
        """Which method to use, and whether the choice matters, in words."""
        metric = metric or self.headline()
        valued = [name for name in self._ours() if metric is not None and self.has(name, metric)]
        return conclusion.conclusion(self, metric, valued)

    def rows(self) -> list[list[str]]:
        """The table as text: the names of the metrics, then a row for each method. A method that is not better than
        all baselines by the first metric that ranks is in brackets. Letters follow intervals."""
        summary, grey = self.summary(), self.grey()
        rows = [["", *self.metrics]]
        for name in self.methods:
            cells = [summary[metric][name] for metric in self.metrics]
            texts = ("-" if math.isnan(c.mean) else _text(c) for c in cells)
            rows.append([f"({name})" if name in grey else name, *texts])
        return rows

    def notes(self) -> list[str]:
        """Notes below the table: the meaning of the letters, values that are not defined, methods that were left
        out."""
        notes = [SHARED] if len(self._ours()) > 1 and any(map(self._better, self.metrics)) else []
        notes += [f"{m}: {n} images without a value" for m in self.metrics if (n := self.undefined(m))]
        notes += [f"Left out: {name} ({why})" for name, why in self.about.get("left_out", {}).items()]
        cut = self.about.get("images")
        return notes + ([f"Cut to {cut} image{'s' if cut > 1 else ''} by minutes=."] if cut else [])

    def __str__(self) -> str:
        rows = self.rows()
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        return "\n".join([*lines, *self.notes(), self.conclusion()])

    def plot(self, kind: str = "intervals", metric: str | None = None) -> "Figure":
        """A matplotlib figure.

        Args:
            kind: "intervals": for each metric the means of methods with their 95 % intervals as bars, and the values of
                chance and of the oracle. "curves": the mean curve of each method with the 95 % interval of the mean,
                and that of random maps in grey. "cd": the mean ranks of methods, with a line through those that cannot
                be told apart. Methods that are not better than all baselines are grey (see `grey`).
            metric: None takes all for intervals, the first one with curves, and the headline metric for ranks.

        Raises:
            InputError: there is no such kind or metric, or the metric has no curves or ranks.
            BackendError: matplotlib is not installed.
        """
        if metric is not None:
            self._number("metric", metric, self.metrics)
        if kind == "intervals":
            return charts.intervals(panels.intervals(self, self.metrics if metric is None else [metric]))
        if kind == "curves":
            first = next((name for name, found in self.curves.items() if found), self.metrics[0])
            return charts.curves(panels.curves(self, metric or first))
        if kind == "cd":
            return charts.groups(panels.ranks(self, metric or self.headline() or self.metrics[0]))
        raise InputError(f'No plot is named {kind!r}. There are: "intervals", "curves", "cd".')

    def to_html(self, path: Any, images: Any = None, names: Sequence[str] | None = None) -> Path:
        """Write a report to one self-contained HTML file: the conclusion, a table that can be sorted, intervals as
        bars, curves over the band of random maps, settings, and images.

        Args:
            images: (N, H, W, C), the images. The six on which methods disagree most by the headline metric are shown,
                small; None shows none.
            names: (N,), the images' names; None takes their numbers.

        Raises:
            InputError: images or names are too few.
            BackendError: images came, and pillow is not installed. OutputError: the file cannot be written.
        """
        text = report.page_of(self, images, names)
        return output.write(Path(path), lambda file: file.write(text.encode()))

    def to_csv(self, path: Any) -> None:
        """Write a line for each value: method, metric, image, unit, value, group."""
        with Path(path).open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            writer.writerows(self._lines())

    def to_pandas(self) -> Any:
        """A `pandas.DataFrame` with a row for each value, and the columns method, metric, image, unit, value and group.
        Without `groups=`, each image is a group, by its number.

        Raises:
            BackendError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError:
            raise BackendError(
                'Tables need pandas, which is missing: pip install "keras-explainable[tables]"'
            ) from None
        return pandas.DataFrame(list(self._lines()), columns=COLUMNS)

    def _lines(self) -> Iterable[tuple]:
        groups = (numbered(None, self.values.shape[2]) if self.groups is None else self.groups).tolist()
        for (row, column, image, unit), value in np.ndenumerate(self.values):
            yield self.methods[row], self.metrics[column], image, unit, float(value), groups[image]

    def _ours(self) -> list[str]:
        """The methods that are not baselines."""
        return [name for name in self.methods if not self.baselines[name]]

    def _better(self, metric: str) -> str:
        self._number("metric", metric, self.metrics)
        return self.applied[metric].record.better

    def _number(self, what: str, name: str, names: list[str]) -> int:
        if name not in names:
            raise InputError(f"No {what} is named {name!r} here. There are: {', '.join(names)}.")
        return names.index(name)


def _text(cell: Cell) -> str:
    return f"{cell.mean:z.3f} [{cell.low:z.3f}, {cell.high:z.3f}] {cell.letters}".rstrip()
