"""Statistics of metrics over images: intervals, comparisons, ranks, and agreement.

Images of one scene or photo are not independent. If `groups` are given, whole groups are resampled, not single images.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_explainable.errors import InputError
from keras_explainable.metrics.ranks import rank_range

RESAMPLES = 10_000
TOGETHER = 2_000_000  # numbers in memory at once
ENOUGH = 6  # groups: with five, no permutation test reaches 5 %, and 16 % of intervals exclude 0 although it is true


def numbered(groups: Any, images: int) -> np.ndarray:
    """The number of each image's group, from 0; each image alone if `groups` is None.

    Raises:
        InputError: there is not a group for each image.
    """
    if groups is None:
        return np.arange(images)
    found = np.asarray(groups)
    if found.shape != (images,):
        raise InputError(f"groups= of shape {found.shape} came for {images} images: give a group for each image.")
    return np.unique(found, return_inverse=True)[1].reshape(-1)


def resampled_means(values: np.ndarray, groups: Any = None, resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """The means (resamples, M) of values (N, M) over images whose groups were drawn with replacement, all columns from
    the same draws."""
    of = numbered(groups, len(values))
    number = of.max() + 1
    sums = np.zeros((number, values.shape[1]))
    np.add.at(sums, of, values)
    counts = np.bincount(of, minlength=number)
    rng, parts = np.random.default_rng(seed), []
    for start in range(0, resamples, step := max(1, TOGETHER // number)):
        drawn = rng.multinomial(number, np.full(number, 1 / number), min(step, resamples - start))
        parts.append((drawn @ sums) / (drawn @ counts)[:, None])
    return np.concatenate(parts)


def interval(
    values: np.ndarray, groups: Any = None, level: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> np.ndarray:
    """The percentile bootstrap interval (M, 2) of the means of values (N, M) over images.

    Reference: Efron, Bootstrap Methods: Another Look at the Jackknife, Annals of Statistics 7 (1979).
    """
    means = resampled_means(values, groups, resamples, seed)
    return np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=0).T


def sign_flip(differences: np.ndarray, groups: Any = None, resamples: int = RESAMPLES, seed: int = 0) -> float:
    """The p value of a paired permutation test: the share of sign changes of the groups' differences (N,) whose mean is
    at least as far from 0 as the observed one.

    All sign changes are taken if there are at most `resamples`. Otherwise they are drawn, and the observed one counts
    as one of them."""
    return float(sign_flips(differences[:, None], groups, resamples, seed)[0])


def sign_flips(differences: np.ndarray, groups: Any = None, resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """The p values (P,) of `sign_flip` for differences (N, P), all columns with the same sign changes."""
    of = numbered(groups, len(differences))
    number = of.max() + 1
    sums = np.zeros((number, differences.shape[1]))
    np.add.at(sums, of, differences)
    observed = abs(sums.sum(axis=0)) * (1 - 1e-12)
    if number <= 40 and 2**number <= resamples:
        signs = 1 - 2.0 * (np.arange(2**number)[:, None] >> np.arange(number) & 1)
        return _as_far(signs, sums, observed) / len(signs)
    rng, count = np.random.default_rng(seed), np.zeros(len(observed))
    for start in range(0, resamples, step := max(1, TOGETHER // number)):
        signs = 1 - 2.0 * rng.integers(0, 2, (min(step, resamples - start), number))
        count += _as_far(signs, sums, observed)
    return (1 + count) / (1 + resamples)


def _as_far(signs: np.ndarray, sums: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """How many sign changes (R, G) make each column (G, P) at least as far from 0 as observed (P,)."""
    step = max(1, TOGETHER // len(signs))
    parts = [slice(start, start + step) for start in range(0, sums.shape[1], step)]
    return np.concatenate([(abs(signs @ sums[:, part]) >= observed[part]).sum(axis=0) for part in parts])


def holm(p_values: Any) -> np.ndarray:
    """p values adjusted for their number: max over i <= j of (m - i) p_(i), in ascending order from i = 0.

    Reference: Holm, A Simple Sequentially Rejective Multiple Test Procedure, Scandinavian Journal of Statistics 6
    (1979).
    """
    found = np.asarray(p_values, "float64")
    order = np.argsort(found)
    adjusted = np.minimum(1, np.maximum.accumulate((len(found) - np.arange(len(found))) * found[order]))
    return adjusted[np.argsort(order)]


@dataclass(frozen=True)
class Comparison:
    """Whether one method is better than another.

    Args:
        verdict: "better", "worse", "equal" or "cannot tell".
        difference: the mean of the first minus that of the second; positive if the first is better.
        low, high: the 95 % interval of the difference.
        p: of the paired permutation test.
        margin: a difference that matters.
        images: how many images were compared.
        needed: about how many images would decide it, if these do not; None otherwise.
    """

    verdict: str
    difference: float
    low: float
    high: float
    p: float
    margin: float
    images: int
    needed: int | None = None

    def __str__(self) -> str:
        if self.verdict != "cannot tell":
            return self.verdict
        return f"cannot tell: about {self.needed} images needed" if self.needed else "cannot tell"


def compare(
    a: np.ndarray, b: np.ndarray, margin: float, higher: bool = True, groups: Any = None, seed: int = 0
) -> Comparison:
    """Compare values (N,) of two methods on the same images.

    "better" or "worse" if the bootstrap interval of the mean difference excludes 0; else "equal" if it lies inside of
    -margin to margin; else "cannot tell", with the number of images n = (2.8 sigma / margin)^2 that shows a difference
    of `margin` four times out of five. sigma / sqrt(n) is the standard error of the mean; with `groups`, that between
    groups. A difference that is certain but below the margin is "better" too: `difference` and `margin` say how much it
    matters. With fewer than six images or groups, the verdict is always "cannot tell".

    Raises:
        InputError: no image has both values, or a and b have other shapes.
    """
    a, b = np.asarray(a, "float64"), np.asarray(b, "float64")
    if a.ndim != 1 or a.shape != b.shape:
        raise InputError(f"Values of shapes {a.shape} and {b.shape} came: give a value for each image of both methods.")
    defined = ~(np.isnan(a) | np.isnan(b))
    if not defined.any():
        raise InputError("No image has values of both methods, so they cannot be compared.")
    differences = (a - b)[defined] * (1 if higher else -1)
    of = numbered(groups, len(a))[defined]
    low, high = interval(differences[:, None], of, seed=seed)[0]
    p = sign_flip(differences, of, seed=seed)
    number = len(np.unique(of))
    verdict = "cannot tell"
    if number >= ENOUGH:
        verdict = "better" if low > 0 else "worse" if high < 0 else verdict
        verdict = "equal" if verdict == "cannot tell" and -margin <= low and high <= margin else verdict
    needed = None
    if verdict == "cannot tell" and number > 1 and margin > 0:
        variance = _variance_of_mean(differences, of) * len(differences)
        needed = max(ENOUGH * len(differences) // number, int(np.ceil(2.8**2 * variance / margin**2)))
    return Comparison(verdict, float(differences.mean()), float(low), float(high), p, margin, len(differences), needed)


def _variance_of_mean(values: np.ndarray, of: np.ndarray) -> float:
    """The variance of the mean over images whose groups were drawn: that of a ratio of sums over groups."""
    number = numbered(of, len(values))
    residuals = np.bincount(number, values - values.mean())
    return float(len(residuals) / (len(residuals) - 1) * (residuals**2).sum() / len(values) ** 2)


def rank_intervals(
    values: np.ndarray, higher: bool = True, groups: Any = None, level: float = 0.95, seed: int = 0
) -> np.ndarray:
    """The bootstrap intervals (M, 2) of the ranks of M methods by the means of values (N, M). Rank 1 is the best.
    Methods with equal means share their ranks: the interval has the least and the largest of them."""
    means = resampled_means(values, groups, seed=seed) * (-1 if higher else 1)
    least, largest = rank_range(_without_rounding(means))
    low = np.quantile(least, (1 - level) / 2, axis=0, method="nearest")
    high = np.quantile(largest, (1 + level) / 2, axis=0, method="nearest")
    return np.stack([low, high], axis=1) + 1


def _without_rounding(means: np.ndarray) -> np.ndarray:
    """Means that differ only by the order of a sum are made equal."""
    size = np.abs(means).max()
    return np.round(means / size, 12) if size > 0 else means


def intervals_between(
    values: np.ndarray, one: np.ndarray, other: np.ndarray, groups: Any = None, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """The ends (P,) of the 95 % bootstrap intervals of the mean differences of P pairs of columns of values (N, M): of
    each column in `one` minus that in `other`. They are those of `compare`."""
    means = resampled_means(values, groups, seed=seed)
    parts = np.array_split(np.arange(len(one)), -(-len(one) * len(means) // TOGETHER))
    ends = [np.quantile(means[:, one[part]] - means[:, other[part]], [0.025, 0.975], axis=0) for part in parts]
    low, high = np.concatenate(ends, axis=1)
    return low, high


def told_apart(values: np.ndarray, groups: Any = None, seed: int = 0) -> np.ndarray:
    """Booleans (M, M): whether one of two methods with values (N, M) is better than the other.

    It is if the interval of the mean difference excludes 0 and the p value of `sign_flip`, adjusted for the number of
    pairs by `holm`, is at most .05. With fewer than six images or groups, no methods are told apart. The number of sign
    changes grows with the number of pairs, so that an adjusted p value can be small."""
    of, count = numbered(groups, len(values)), values.shape[1]
    apart = np.zeros((count, count), bool)
    if count < 2 or of.max() + 1 < ENOUGH:
        return apart
    one, other = np.triu_indices(count, 1)
    low, high = intervals_between(values, one, other, of, seed)
    p = holm(sign_flips(values[:, one] - values[:, other], of, max(RESAMPLES, 40 * len(one)), seed))
    apart[one, other] = ((low > 0) | (high < 0)) & (p <= 0.05)
    return apart | apart.T


def better_than_all(
    values: np.ndarray, rows: list[int], others: list[int], groups: Any = None, seed: int = 0
) -> np.ndarray:
    """Booleans (R,): whether each of some columns of values (N, M), of which higher ones are better, is "better" by
    `compare` than all others."""
    of = numbered(groups, len(values))
    if not rows or not others or len(np.unique(of)) < ENOUGH:
        return np.full(len(rows), not others)
    low, _ = intervals_between(values, np.repeat(rows, len(others)), np.tile(others, len(rows)), of, seed)
    return np.asarray(low.reshape(len(rows), len(others)).min(axis=1) > 0)


def letters(differ: Any) -> list[str]:
    """Letters for M methods: two methods share one if and only if they cannot be told apart.

    Args:
        differ: booleans (M, M), symmetric: whether one of the two is better. Put the best method first: its letter is
            "a".

    Each maximal set of methods without a difference among them has a letter.

    Reference: Piepho, An Algorithm for a Letter-Based Representation of All-Pairwise Comparisons, Journal of
    Computational and Graphical Statistics 13 (2004).

    Raises:
        InputError: `differ` is not a symmetric square.
    """
    found = np.asarray(differ, bool)
    if found.ndim != 2 or found.shape[0] != found.shape[1] or (found != found.T).any():
        raise InputError(
            f"differ= of shape {found.shape} came: give a symmetric table, a row and column for each method."
        )
    columns = [frozenset(range(len(found)))] if len(found) else []
    for a, b in zip(*np.nonzero(np.triu(found, 1)), strict=True):
        split = {c - {int(drop)} for c in columns for drop in ((a, b) if {a, b} <= c else (-1,))}
        columns = [c for c in split if not any(c < other for other in split)]
    columns.sort(key=sorted)
    return ["".join(_letter(n) for n, column in enumerate(columns) if m in column) for m in range(len(found))]


def _letter(number: int) -> str:
    """a to z, then a1 to z1, and so on."""
    return chr(ord("a") + number % 26) + (str(number // 26) if number >= 26 else "")


def split_half(
    values: np.ndarray, correlation: Callable, groups: Any = None, splits: int = 100, seed: int = 0
) -> float:
    """How well two halves of the images agree on the order of methods: the median over random splits of
    `correlation(means of one half, means of the other)`, for values (N, M)."""
    of = numbered(groups, len(values))
    number, rng, found = of.max() + 1, np.random.default_rng(seed), []
    for _ in range(splits):
        half = np.isin(of, rng.permutation(number)[: number // 2])
        if half.any() and not half.all():
            found.append(correlation(values[half].mean(axis=0), values[~half].mean(axis=0)))
    return float(np.median(found)) if found else float("nan")


def kendall_tau(a: np.ndarray, b: np.ndarray) -> float:
    """Kendall's tau-b of two rankings (M,): concordant minus discordant pairs, relative to the pairs without ties."""
    one, other = (np.sign(v[:, None] - v[None])[np.triu_indices(len(v), 1)] for v in (np.asarray(a), np.asarray(b)))
    norm = np.sqrt((one**2).sum() * (other**2).sum())
    return float((one * other).sum() / norm) if norm else float("nan")


def krippendorff_alpha(ranks: np.ndarray) -> float:
    """Krippendorff's alpha of ranks (images, methods): how well images agree on the order of methods.

    alpha = 1 - D_observed / D_expected, with squared differences of ranks: within each method over pairs of images, and
    over all pairs of values. 1 is perfect, 0 is chance.

    Reference: Krippendorff, Computing Krippendorff's Alpha-Reliability (2011). For metrics of maps: Tomsett et al.,
    Sanity Checks for Saliency Metrics, arXiv:1912.01451.
    """
    ranks = np.asarray(ranks, "float64")
    expected = ranks.var(ddof=1)
    return float(1 - ranks.var(axis=0, ddof=1).mean() / expected) if expected > 0 else float("nan")
