"""Metrics that compare a map's sums over random subsets of cells with the drop of the score without these cells.

The masked images do not depend on maps. Each subset is evaluated once, for all units, methods and metrics."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from keras_explainable.masking.segments import grid, sizes
from keras_explainable.metrics.case import Case
from keras_explainable.metrics.masked import masked, units_of
from keras_explainable.metrics.measuring import Measured
from keras_explainable.metrics.metric import metric
from keras_explainable.metrics.order import order
from keras_explainable.metrics.ranks import pearson, residual, spearman
from keras_explainable.numerics import random
from keras_explainable.runtime.compile_cache import frozen
from keras_explainable.runtime.repetition import check_passes
from keras_explainable.runtime.validation import check_choice, check_number

SHARED = "n forward, shared by all maps"
CORRELATIONS = {"pearson": pearson, "spearman": spearman}


class Drops(NamedTuple):
    """Subsets of cells, and how much the score drops without each.

    `labels` (*S) numbers the cells, `subsets` (M, n) are 1 where a cell is removed, `drops` is (B, K, M)."""

    labels: np.ndarray
    subsets: np.ndarray
    drops: np.ndarray

    def sums(self, maps: np.ndarray) -> np.ndarray:
        """The sums (B, K, M) of maps (B, *S, K) over the removed cells."""
        return np.einsum("bkn,mn->bkm", self.cells(maps), self.subsets)

    def cells(self, maps: np.ndarray) -> np.ndarray:
        """The sums (B, K, n) of maps (B, *S, K) over each cell."""
        number = self.subsets.shape[1]
        flat = np.moveaxis(maps, -1, 1).reshape(-1, self.labels.size).astype("float64")
        sums = np.stack([np.bincount(self.labels.ravel(), row, number) for row in flat])
        return sums.reshape(len(maps), maps.shape[-1], number)


def covered(labels: Any, subsets: Any) -> Any:
    """Masks (P, 1, *S) of the cells in each of P subsets (P, n)."""
    return ops.take(subsets, labels, axis=1)[:, None]


def draw(number: int, cells: int, least: float, most: float, seed: int) -> np.ndarray:
    """Subsets (number, cells) of cells, 1 for those in it. Their shares are uniform from `least` to `most`."""
    share = least + (most - least) * random.on_host((number,), seed, 0, 11).astype("float64")
    size = np.clip(np.floor(share * cells + 0.5), 1, cells)
    ranks = np.argsort(np.argsort(random.on_host((number, cells), seed, 0, 12), axis=1, kind="stable"), axis=1)
    return (ranks < size[:, None]).astype("float32")


def drops(case: Case, units: int, cells: Any, fill: Any, quantity: str, subsets: Callable) -> Drops:
    """How much the quantity of each unit drops without each subset of cells. `subsets(n)` returns M of them, (M, n)."""
    assert case.view is not None
    size = tuple(case.view.size)
    counts = sizes("cells", cells, size)
    chosen = subsets(math.prod(counts))

    def evaluated() -> Drops:
        labels, number = grid(size, counts)
        of = units_of(case, units)
        evaluate = masked(case, covered, fill, quantity)
        whole = evaluate(labels, [np.zeros((1, number), "float32")], of)
        without = evaluate(labels, [chosen], of)
        return Drops(labels, chosen, np.moveaxis(whole - without, 1, -1).astype("float64"))

    return case.once(("drops", counts, frozen(fill), quantity, chosen.tobytes()), evaluated)


def _drawn(case: Case, maps: np.ndarray, subsets: int, share: Any, cells: Any, fill: Any, quantity: str) -> tuple:
    """The sums of maps over random subsets, the drops, both (B, K, M), and the number of removed cells (M,)."""
    check_number("subsets", subsets, lambda n: float(n).is_integer() and n >= 2, "a whole number, two or more,")
    check_passes(f"{subsets} subsets", int(subsets), "give fewer subsets=")
    ends = tuple(share) if isinstance(share, Sequence) else (share, share)
    for end in ends:
        check_number("share", end, lambda s: 0 < s < 1, "a share of the cells between 0 and 1, or two of them,")
    found = drops(
        case, maps.shape[-1], cells, fill, quantity, lambda n: draw(int(subsets), n, min(ends), max(ends), case.seed)
    )
    return found.sums(maps), found.drops, found.subsets.sum(axis=1)


@metric("faithfulness", {"model"}, "higher", SHARED, "0", "arXiv:2005.00631")
def faithfulness_correlation(
    case: Case,
    maps: np.ndarray,
    subsets: int = 128,
    share: float | Sequence[float] = (0.1, 0.9),
    cells: int | Sequence[int] = 8,
    fill: Any = "mean",
    correlation: str = "pearson",
    quantity: str = "logit",
) -> Measured:
    """The correlation, over random subsets R of cells, of the map's sum over R with the drop of the score without R.

    corr over R of sum over R of A, and s(x) - s(x without R), given |R|

    This is a partial correlation: the effect of the number of removed cells is subtracted from both, by linear
    regression. Larger subsets have larger sums of any positive map, and larger drops. A plain correlation would give
    .68 to maps of positive noise on the scenes of `ke.demo`, nearly as much as to good maps; the partial one gives 0.

    NaN if the map's sums or the drops depend only on the number of removed cells.

    Args:
        subsets: n, the number of subsets.
        share: the share of cells in a subset: a number, or the two ends of a uniform distribution.
        cells: the number of cells along all axes or each.
        correlation: "pearson" or "spearman".
        fill, quantity: see `ke.metrics`.

    Reference: Bhatt et al., Evaluating and Aggregating Feature-based Model Explanations, arXiv:2005.00631.
    """
    check_choice("correlation", correlation, CORRELATIONS)
    sums, dropped, count = _drawn(case, maps, subsets, share, cells, fill, quantity)
    return Measured(CORRELATIONS[correlation](residual(sums, count), residual(dropped, count)))


@metric("faithfulness", {"model"}, "higher", SHARED, "0", "arXiv:1711.06104")
def sensitivity_n(
    case: Case,
    maps: np.ndarray,
    share: float = 0.3,
    subsets: int = 128,
    cells: int | Sequence[int] = 8,
    fill: Any = "mean",
    quantity: str = "logit",
) -> Measured:
    """The Pearson correlation of a map's sum with the drop of the score, over random subsets of the same size.

    Args:
        share: the share of cells in each subset. The paper plots a curve over it.
        subsets, cells, fill, quantity: as in `faithfulness_correlation`.

    Reference: Ancona et al., Towards better understanding of gradient-based attribution methods for Deep Neural
    Networks, arXiv:1711.06104.
    """
    check_number("share", share, lambda s: 0 < s < 1, "a share of the cells between 0 and 1")
    return Measured(pearson(*_drawn(case, maps, subsets, share, cells, fill, quantity)[:2]))


@metric("faithfulness", {"model"}, "higher", SHARED, "0", "arXiv:2009.04521")
def mu_fidelity(
    case: Case,
    maps: np.ndarray,
    share: float = 0.2,
    subsets: int = 128,
    cells: int | Sequence[int] = 9,
    fill: Any = "mean",
    quantity: str = "logit",
) -> Measured:
    """The Spearman correlation of a map's sum with the drop of the score, over random subsets of the same size.

    Args:
        share, subsets, cells, fill, quantity: as in `sensitivity_n`.

    Reference: Fel et al., How Good is your Explanation? Algorithmic Stability Measures to Assess the Quality of
    Explanations for Deep Neural Networks, arXiv:2009.04521.
    """
    check_number("share", share, lambda s: 0 < s < 1, "a share of the cells between 0 and 1")
    return Measured(spearman(*_drawn(case, maps, subsets, share, cells, fill, quantity)[:2]))


@metric("faithfulness", {"model"}, "lower", SHARED, "about 1 - 1 / cells, if maps have both signs", "arXiv:1901.09392")
def infidelity(
    case: Case,
    maps: np.ndarray,
    subsets: int = 128,
    share: float | Sequence[float] = (0.1, 0.9),
    cells: int | Sequence[int] = 8,
    fill: Any = "mean",
    normalize: bool = True,
    quantity: str = "logit",
) -> Measured:
    """The mean squared difference between a map's sum over removed cells and the drop of the score.

    With u = sum over R of A, and D = s(x) - s(x without R):
    min over b of E (b u - D)^2 / E D^2 = 1 - (E u D)^2 / (E u^2 E D^2)

    NaN if the score never drops, or the map is 0. A map without negative values is better than chance here even if it
    is noise: larger subsets have larger sums, and larger drops.

    Args:
        normalize: False gives E (u - D)^2, which depends on the scale of the map.
        subsets, share, cells, fill, quantity: as in `faithfulness_correlation`.

    Reference: Yeh et al., On the (In)fidelity and Sensitivity of Explanations, arXiv:1901.09392.
    """
    sums, dropped, _ = _drawn(case, maps, subsets, share, cells, fill, quantity)
    if not normalize:
        return Measured(np.mean((sums - dropped) ** 2, axis=-1))
    both, one, other = (np.mean(a * b, axis=-1) for a, b in ((sums, dropped), (sums, sums), (dropped, dropped)))
    defined = (one > 0) & (other > 0)
    return Measured(np.where(defined, 1 - both**2 / np.where(defined, one * other, 1), np.nan))


@metric(
    "axioms", {"model"}, "lower", "cells forward, shared by all maps", "the share of such cells", "arXiv:2007.07584"
)
def non_sensitivity(
    case: Case,
    maps: np.ndarray,
    cells: int | Sequence[int] = 8,
    threshold: float = 0.01,
    fill: Any = "mean",
    quantity: str = "logit",
) -> Measured:
    """The share of cells without an effect among the half of the cells that are most important according to the map.

    A cell has no effect if |s(x) - s(x without it)| is below `threshold` times the largest such value of the image. The
    map's importance is the absolute value of its sum over a cell.

    Args:
        threshold: relative to the cell with the largest effect.
        cells, fill, quantity: as in `faithfulness_correlation`.

    Reference: Nguyen & Martinez, On quantitative aspects of model interpretability, arXiv:2007.07584.
    """
    check_number("threshold", threshold, lambda t: 0 <= t < 1, "a number from 0 to 1")
    found = drops(case, maps.shape[-1], cells, fill, quantity, lambda n: np.eye(n, dtype="float32"))
    effect = np.abs(found.drops)
    most = effect.max(axis=-1, keepdims=True)
    ranks = np.moveaxis(order(np.moveaxis(np.abs(found.cells(maps)), 1, -1), case.seed), -1, 1)
    top = ranks < -(-ranks.shape[-1] // 2)
    share = ((effect < threshold * most) & top).sum(axis=-1) / top.sum(axis=-1)
    return Measured(np.where(most[..., 0] > 0, share, np.nan))
