"""The leaderboard's tables: means with intervals, letters, and which values beat the maps that know nothing."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tools.leaderboard.data import TRUTH
from tools.leaderboard.measure import CONTROLS, Values

from keras_explainable.evaluation.check import CHECKS, Checks
from keras_explainable.evaluation.evaluation import MATTERS
from keras_explainable.metrics import statistics
from keras_explainable.metrics.baselines import BASELINES
from keras_explainable.metrics.ranks import spearman
from keras_explainable.metrics.record import METRICS

UNDEFINED = 0.1  # the share of images without a value above which a method is not compared


@dataclass(frozen=True)
class Column:
    """The values of all rows by one metric. NaN, "" and False where a row has too few values.

    Args:
        mean, low, high: (rows,), the mean over images and its 95 % interval.
        letters: two rows share one unless one is better by a difference that matters; "" if the metric does not rank.
        beats: (rows,), whether a row is better than each baseline but the oracle.
        images: on how many images all rows are defined.
        ranked: whether the metric ranks.
    """

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    letters: list[str]
    beats: np.ndarray
    images: int
    ranked: bool


def column(values: np.ndarray, names: list[str], groups: Any, higher: bool, ranked: bool) -> Column:
    """The column of values (rows, images).

    Images without a value of one row are left out for all rows. A row without a value on many images is left out
    itself. One row is better than another if the 95 % interval of the mean difference, on the same images, excludes 0;
    with fewer than six groups, none is. A difference matters above 5 % of the difference between the oracle and
    noise."""
    there = np.isnan(values).mean(axis=1) <= UNDEFINED
    kept = ~np.isnan(values[there]).any(axis=0) if there.any() else np.zeros(values.shape[1], bool)
    mean, low, high = np.full((3, len(names)), np.nan)
    letters, beats = [""] * len(names), np.zeros(len(names), bool)
    if not kept.any():
        return Column(mean, low, high, letters, beats, 0, ranked)
    some, of = values[there][:, kept].T, None if groups is None else np.asarray(groups)[kept]
    mean[there] = some.mean(axis=0)
    low[there], high[there] = statistics.interval(some, of).T
    if ranked:
        better = better_than(some if higher else -some, of)
        found = np.flatnonzero(there)
        order = np.argsort(-mean[there] if higher else mean[there], kind="stable")
        ends = [mean[names.index(name)] for name in ("oracle", "uniform_noise") if name in names]
        margin = MATTERS * abs(ends[0] - ends[1]) if len(ends) == 2 and not np.isnan(ends).any() else 0.0
        apart = abs(mean[there][:, None] - mean[there]) > margin
        differ = ((better | better.T) & apart)[np.ix_(order, order)]
        for row, letter in zip(found[order], statistics.letters(differ), strict=True):
            letters[row] = letter
        known = [n for n, row in enumerate(found) if names[row] in BASELINES]
        beats[there] = better[:, known].all(axis=1)
    return Column(mean, low, high, letters, beats, int(kept.sum()), ranked)


def better_than(values: np.ndarray, groups: Any) -> np.ndarray:
    """Whether each column of values (N, M) has a larger mean than each other one: (M, M)."""
    number = len(np.unique(statistics.numbered(groups, len(values))))
    if number < statistics.ENOUGH:
        return np.zeros((values.shape[1],) * 2, bool)
    means = statistics.resampled_means(values, groups)
    return np.stack([(one[:, None] <= means).mean(axis=0) < 0.025 for one in means.T])


@dataclass(frozen=True)
class Table:
    """The columns of one network, and the order of its rows."""

    part: str
    network: str
    rows: list[str]
    columns: dict[str, Column]
    by: str
    images: int
    cuts: list[str]
    left_out: dict[str, str]

    def said(self) -> str:
        """What was cut, in words."""
        return f"Cut: {', '.join(self.cuts)}." if self.cuts else "Nothing was cut."

    def order(self) -> list[int]:
        """The rows, the best first by the metric that orders them; if that one does not rank, by the first one that
        does."""
        by = self.columns[self.leading()].mean
        return sorted(range(len(self.rows)), key=lambda row: (np.isnan(by[row]), -by[row]))

    def leading(self) -> str:
        """The metric that orders the rows."""
        ranked = [name for name, of in self.columns.items() if of.ranked]
        return self.by if self.by in ranked or not ranked else ranked[0]

    def agreement(self, name: str) -> float:
        """Spearman's correlation of a metric with `single_deletion` over all rows but the oracle."""
        rows = [n for n, row in enumerate(self.rows) if row != "oracle"]
        both = np.array([self.columns[name].mean[rows], self.columns[TRUTH].mean[rows]])
        both = both[:, ~np.isnan(both).any(axis=0)]
        return float(spearman(*both)) if both.shape[1] > 2 else float("nan")


def table(part: str, network: str, found: Values, checks: Mapping[str, Checks], by: str, cuts: list[str]) -> Table:
    """The table of a network's values. A metric that was not checked, or failed, does not rank."""
    columns = {}
    for n, (name, (metric, _)) in enumerate(found.columns.items()):
        ranked = name in checks and checks[name].ranked
        higher = METRICS[metric].better == "higher"
        columns[name] = column(found.values[:, n], found.rows, found.groups, higher, ranked)
    return Table(part, network, found.rows, columns, by, found.values.shape[2], cuts, found.left_out)


def checked(checks: Mapping[str, Checks], names: list[str]) -> str:
    """The table of the checks of the metrics."""
    words = {True: "yes", False: "**no**", None: ""}
    lines = [["metric", "ranks", *CHECKS]]
    for name in names:
        if name not in checks:
            lines.append([name, "not checked", *[""] * len(CHECKS)])
            continue
        of = checks[name]
        lines.append([name, words[of.ranked], *(words[of.checks[check].passed] for check in CHECKS)])
    return rendered(lines)


def markdown(found: Table) -> str:
    """A network's table. Values that do not beat all maps that know nothing of the model are in italics. The names of
    these maps, and of the oracle, are in brackets."""
    leading = found.leading()
    head = [n if of.ranked else f"{n} (not ranked)" for n, of in found.columns.items()]
    lines = [["method", "letters", *head]]
    for row in found.order():
        name = f"({found.rows[row]})" if found.rows[row] in CONTROLS else found.rows[row]
        lines.append([name, found.columns[leading].letters[row], *(cell(of, row) for of in found.columns.values())])
    if TRUTH in found.columns:
        said = ("" if name == TRUTH else f"{found.agreement(name):.2f}" for name in found.columns)
        lines.append([f"**agreement with {TRUTH}**", "", *said])
    notes = [found.said()]
    notes += [
        f"{n}: {of.images} of {found.images} images have a value of all rows."
        for n, of in found.columns.items()
        if of.images < found.images
    ]
    if found.left_out:
        notes.append(f"Not possible for this network: {', '.join(found.left_out)}.")
    title = f"### {found.network}, {found.images} images, letters by {leading}"
    return "\n\n".join([title, " ".join(notes), rendered(lines)])


def cell(of: Column, row: int) -> str:
    """A mean with its interval; in italics if it does not beat all maps that know nothing of the model."""
    if np.isnan(of.mean[row]):
        return "–"
    said = f"{of.mean[row]:.3f} [{of.low[row]:.3f}, {of.high[row]:.3f}]"
    return said if of.beats[row] or not of.ranked else f"_{said}_"


def rendered(lines: list[list[str]]) -> str:
    """A table in Markdown, with columns of equal width."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    first, *others = [f"| {' | '.join(c.ljust(w) for c, w in zip(line, widths, strict=True))} |" for line in lines]
    return "\n".join([first, f"|{'|'.join('-' * (w + 2) for w in widths)}|", *others])


def to_csv(tables: list[Table], path: Path) -> None:
    """Write a line for each network, method and metric."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(
            [
                "part",
                "network",
                "method",
                "metric",
                "mean",
                "low",
                "high",
                "letters",
                "beats_baselines",
                "ranked",
                "images",
            ]
        )
        for found in tables:
            for row in found.order():
                for name, of in found.columns.items():
                    numbers = (float(of.mean[row]), float(of.low[row]), float(of.high[row]))
                    known = (of.letters[row], bool(of.beats[row]), of.ranked, of.images)
                    writer.writerow([found.part, found.network, found.rows[row], name, *numbers, *known])
