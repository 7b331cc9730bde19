"""Charts of an evaluation in matplotlib: intervals, curves, and methods that cannot be told apart."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_explainable.viz.figure import canvas

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Colours of Okabe & Ito (2008), which colour-blind readers can tell apart; without black and yellow.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
GREY = "#9a9a9a"
FAINT = 0.18  # the opacity of bands
NAMED = 10  # lines that are all named; of more, those in colour are
ORACLE, CHANCE = "#009e73", "#555555"


@dataclass(frozen=True)
class Bar:
    """A method's mean with its interval. `letters` group methods that cannot be told apart. A method is grey if it is
    not better than all baselines, or is one."""

    name: str
    mean: float
    low: float
    high: float
    letters: str = ""
    grey: bool = False
    baseline: bool = False


@dataclass(frozen=True)
class Intervals:
    """The bars of one metric; what maps reach by chance, and what the oracle reaches, if that is known."""

    metric: str
    bars: Sequence[Bar]
    chance: float | None = None
    oracle: float | None = None
    better: str = ""

    @property
    def title(self) -> str:
        """The metric, and which values are better."""
        return f"{self.metric} ({self.better} is better)" if self.better else self.metric


@dataclass(frozen=True)
class Line:
    """A method's mean curve (T,) and the ends (T,) of its interval."""

    name: str
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    grey: bool = False


@dataclass(frozen=True)
class Curves:
    """The curves of methods over `share` (T,), and the band of random maps, if these were measured."""

    title: str
    share: np.ndarray
    lines: Sequence[Line]
    random: Line | None = None


@dataclass(frozen=True)
class Ranks:
    """The mean ranks of methods by one metric, and their letters."""

    metric: str
    ranks: dict[str, float]
    letters: dict[str, str] = field(default_factory=dict)


def colors(lines: Sequence[Line]) -> dict[str, str]:
    """A colour for each of the first lines that are not grey, or for the first ones if all are; grey for the others."""
    names = [line.name for line in lines if not line.grey] or [line.name for line in lines]
    return {line.name: GREY for line in lines} | dict(zip(names, COLORS, strict=False))


def intervals(panels: Sequence[Intervals]) -> "Figure":
    """Draw a panel for each metric, with a bar for each method from the low to the high end of its interval.

    Raises: BackendError: matplotlib is not installed.
    """
    rows = max(len(panel.bars) for panel in panels)
    drawn, axes = canvas(1, len(panels), (1.6 + 3.2 * len(panels), 1.1 + 0.27 * rows), (0.08, 0))
    for number, (axis, panel) in enumerate(zip(axes.flat, panels, strict=True)):
        for row, bar in enumerate(panel.bars):
            color = GREY if bar.grey else COLORS[0]
            axis.barh(row, bar.high - bar.low, left=bar.low, height=0.6, color=color, alpha=0.55)
            axis.plot(bar.mean, row, marker="|", markersize=9, markeredgewidth=2, color=color)
            axis.annotate(bar.letters, (1.01, row), xycoords=("axes fraction", "data"), va="center", fontsize="small")
        for value, style, label in ((panel.chance, ":", "chance"), (panel.oracle, "--", "oracle")):
            if value is not None:
                axis.axvline(value, linestyle=style, color=ORACLE if label == "oracle" else CHANCE, label=label)
        axis.set_yticks(range(len(panel.bars)), [bar.name for bar in panel.bars] if number == 0 else [])
        axis.set_ylim(len(panel.bars) - 0.4, -0.6)
        axis.set_title(panel.title, fontsize="small")
        for label, bar in zip(axis.get_yticklabels(), panel.bars, strict=False):
            label.set_color(GREY if bar.grey else "black")
        _plain(axis)
    _legend(drawn, axes.flat[0])
    return drawn


def curves(panels: Sequence[Curves]) -> "Figure":
    """Draw a panel for each kind of curve: each method's mean and its interval, and the band of random maps in grey.

    The first methods that are better than all baselines have colours; the others are thin lines without interval.

    Raises: BackendError: matplotlib is not installed.
    """
    drawn, axes = canvas(1, len(panels), (1.6 + 3.6 * len(panels), 3.6), (0.04, 0))
    chosen = colors(panels[0].lines)
    for axis, panel in zip(axes.flat, panels, strict=True):
        if panel.random is not None:
            axis.fill_between(panel.share, panel.random.low, panel.random.high, color=GREY, alpha=0.4, linewidth=0)
            axis.plot(panel.share, panel.random.mean, linestyle=":", color=CHANCE, label=panel.random.name)
        for line in panel.lines:
            color = chosen[line.name]
            if color == GREY:
                label = line.name if len(panel.lines) <= NAMED else "_" + line.name
                axis.plot(panel.share, line.mean, color=GREY, label=label, linewidth=0.9, alpha=0.7, zorder=1.5)
            else:
                axis.plot(panel.share, line.mean, color=color, label=line.name, linewidth=1.8)
                axis.fill_between(panel.share, line.low, line.high, color=color, alpha=FAINT, linewidth=0)
        axis.set_title(panel.title, fontsize="small")
        axis.set_xlabel("share of the pixels", fontsize="small")
        _plain(axis)
    drawn.legend(*axes.flat[0].get_legend_handles_labels(), loc="outside right upper", fontsize="small", frameon=False)
    return drawn


def groups(panel: Ranks) -> "Figure":
    """Draw methods at their mean ranks, and a line through those that share a letter.

    Raises: BackendError: matplotlib is not installed.
    """
    names = sorted(panel.ranks, key=panel.ranks.__getitem__)
    letters = sorted({letter for name in names for letter in _split(panel.letters.get(name, ""))}, key=_place)
    drawn, axes = canvas(1, 1, (6.4, 1.1 + 0.27 * len(names) + 0.2 * len(letters)))
    axis = axes.flat[0]
    for number, letter in enumerate(letters):
        inside = [panel.ranks[name] for name in names if letter in _split(panel.letters.get(name, ""))]
        at = -1 - number * 0.7
        axis.plot([min(inside), max(inside)], [at, at], color="black", linewidth=3, solid_capstyle="round")
        axis.plot(inside, [at] * len(inside), "o", color="black", markersize=5)
        axis.annotate(letter, (min(inside), at), (-9, 0), textcoords="offset points", va="center", ha="right")
    for row, name in enumerate(names):
        axis.plot([panel.ranks[name]] * 2, [-1 - (len(letters) - 1) * 0.7, row], color=GREY, linewidth=0.8, zorder=0)
        axis.plot(panel.ranks[name], row, "o", color=COLORS[0])
    axis.set_yticks(range(len(names)), [f"{name}  {panel.letters.get(name, '')}".rstrip() for name in names])
    axis.set_ylim(len(names) - 0.4, -1.6 - (len(letters) - 1) * 0.7)
    axis.set_xlim(0.5, len(names) + 0.5)
    axis.set_title(f"Mean rank by {panel.metric}. Lines join methods that cannot be told apart.", fontsize="small")
    _plain(axis)
    return drawn


def _split(letters: str) -> list[str]:
    """The letters of a method: a to z, then a1 to z1, and so on."""
    found: list[str] = []
    for character in letters:
        if character.isalpha():
            found.append(character)
        else:
            found[-1] += character
    return found


def _place(letter: str) -> tuple[int, str]:
    return int(letter[1:] or 0), letter[0]


def _plain(axis: Any) -> None:
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize="small")


def _legend(drawn: "Figure", axis: Any) -> None:
    handles, labels = axis.get_legend_handles_labels()
    if handles:
        drawn.legend(handles, labels, loc="outside lower right", ncols=2, fontsize="small", frameon=False)
