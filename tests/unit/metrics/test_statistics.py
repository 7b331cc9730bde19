"""Statistics: against exact enumeration, closed forms, simulation and SciPy."""

import itertools

import numpy as np
import pytest

from keras_explainable.errors import InputError
from keras_explainable.metrics import statistics as s
from keras_explainable.metrics.ranks import spearman
from support.compare import close
from support.selection import fast_on_torch

pytestmark = fast_on_torch

RNG = np.random.default_rng(0)


def test_an_interval_is_nearly_the_normal_one():
    values = RNG.exponential(size=(400, 2))
    for (low, high), column in zip(s.interval(values), values.T, strict=True):
        half = 1.96 * column.std() / np.sqrt(400)
        assert low == pytest.approx(column.mean() - half, abs=0.15 * half)
        assert high == pytest.approx(column.mean() + half, abs=0.15 * half)


def test_an_interval_equals_scipys():
    stats = pytest.importorskip("scipy.stats", reason="SciPy is the second witness")
    values = RNG.normal(size=60)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=10_000, method="percentile", rng=1).confidence_interval
    close(s.interval(values[:, None])[0], [theirs.low, theirs.high], atol=0.02)


def test_intervals_cover_the_mean_as_often_as_they_say():
    covered = 0
    for trial in range(300):
        low, high = s.interval(np.random.default_rng(trial).normal(size=(40, 1)), resamples=1000)[0]
        covered += low < 0 < high
    assert covered / 300 == pytest.approx(0.94, abs=0.035)  # the bootstrap of 40 values is a little too narrow


def test_groups_are_resampled_as_a_whole():
    scenes = RNG.normal(size=50)
    values, groups = np.repeat(scenes, 8)[:, None], np.repeat(np.arange(50), 8)
    (low, high), (narrow, wide) = s.interval(values, groups)[0], s.interval(scenes[:, None])[0]
    close([low, high], [narrow, wide], atol=1e-9)
    one, other = s.interval(values)[0]
    assert other - one < 0.5 * (high - low)
    with pytest.raises(InputError, match="a group for each image"):
        s.interval(values, groups[:3])


def test_the_permutation_test_is_exact_for_few_images():
    for trial in range(5):
        d = np.random.default_rng(trial).normal(0.4, size=8)
        every = [abs(np.dot(signs, d)) >= abs(d.sum()) - 1e-12 for signs in itertools.product((1, -1), repeat=8)]
        assert s.sign_flip(d) == pytest.approx(np.mean(every))


def test_the_permutation_test_of_many_images_is_near_the_normal_one():
    stats = pytest.importorskip("scipy.stats", reason="SciPy is the second witness")
    d = RNG.normal(0.12, size=300)
    p = stats.ttest_1samp(d, 0).pvalue
    assert s.sign_flip(d) == pytest.approx(p, abs=0.01) and 0.005 < p < 0.5
    assert abs(s.sign_flip(d) - stats.wilcoxon(d).pvalue) < 0.1
    assert s.sign_flip(np.zeros(5)) == 1


def test_holm():
    close(s.holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02], rtol=1e-7)
    close(s.holm([0.9, 0.8]), [1, 1], rtol=1e-7)


def test_verdicts():
    noise = RNG.normal(0, 0.1, 100)
    base = RNG.normal(size=100)
    assert s.compare(base + 0.2 + noise, base, 0.05).verdict == "better"
    assert s.compare(base + 0.2 + noise, base, 0.05, higher=False).verdict == "worse"
    noise -= noise.mean()
    assert s.compare(base + noise, base, 0.05).verdict == "equal"
    unsure = s.compare(base + noise, base, 0.001)
    needed = int(np.ceil((2.8 * noise.std(ddof=1) / 0.001) ** 2))
    assert str(unsure) == f"cannot tell: about {needed} images needed"
    assert unsure.difference == pytest.approx(0, abs=1e-12) and unsure.low < 0 < unsure.high and unsure.p > 0.9
    assert str(s.compare(base, base, 0.05)) == "equal"


def test_images_that_tell_nothing():
    assert str(s.compare(np.array([1.0]), np.array([0.0]), 0.1)) == "cannot tell"
    few = np.full(5, 1.0)
    assert str(s.compare(few, 0 * few, 0.1)) == "cannot tell: about 6 images needed"
    assert s.compare(np.ones(6), np.zeros(6), 0.1).verdict == "better"
    with pytest.raises(InputError, match="a value for each image of both"):
        s.compare(few, np.zeros(1), 0.1)
    left = s.compare(np.array([1.0, np.nan, 3.0]), np.array([0.0, 0.0, np.nan]), 0.1)
    assert left.images == 1
    with pytest.raises(InputError, match="No image has values of both"):
        s.compare(np.array([np.nan]), np.array([1.0]), 0.1)


def test_the_sample_size_shows_a_difference_four_times_out_of_five():
    n, found = int(np.ceil((2.8 / 0.5) ** 2)), 0
    for trial in range(200):
        d = np.random.default_rng(trial).normal(0.5, 1, n)
        found += s.compare(d, np.zeros(n), 0.5).verdict == "better"
    assert n == 32 and found / 200 == pytest.approx(0.8, abs=0.08)


def test_the_sample_size_counts_groups():
    """Ten equal images of a scene say as much as one: as many scenes are needed, ten times the images."""
    scenes = RNG.normal(size=30)
    alone = s.compare(scenes, np.zeros(30), 0.01)
    together = s.compare(np.repeat(scenes, 10), np.zeros(300), 0.01, groups=np.repeat(np.arange(30), 10))
    assert alone.verdict == together.verdict == "cannot tell"
    assert together.needed == pytest.approx(10 * alone.needed, rel=1e-4)


def test_few_images_are_wrong_no_more_often_than_many():
    for n, most in ((3, 0), (6, 0.2), (30, 0.1)):
        found = [s.compare(np.random.default_rng(i).normal(size=n), np.zeros(n), 0.1).verdict for i in range(200)]
        assert np.mean([f in ("better", "worse") for f in found]) <= most


def test_equal_methods_share_their_ranks():
    column = RNG.normal(size=(50, 1))
    values = np.concatenate([column, column - 9, column, column + 1e-17], axis=1)
    np.testing.assert_array_equal(s.rank_intervals(values), [[1, 3], [4, 4], [1, 3], [1, 3]])
    np.testing.assert_array_equal(s.rank_intervals(np.zeros((9, 2))), [[1, 2], [1, 2]])


def test_letters_say_what_cannot_be_told_apart():
    chain = np.array([[0, 0, 1], [0, 0, 0], [1, 0, 0]])  # only the first and the last differ
    assert s.letters(chain) == ["a", "ab", "b"]
    assert s.letters(1 - np.eye(3)) == ["a", "b", "c"] and s.letters(np.zeros((3, 3))) == ["a"] * 3
    assert s.letters(1 - np.eye(28))[-2:] == ["a1", "b1"]
    with pytest.raises(InputError, match="symmetric table"):
        s.letters([[0, 1], [0, 0]])
    for trial in range(20):
        differ = np.triu(np.random.default_rng(trial).random((7, 7)) < 0.5, 1)
        differ = differ | differ.T
        found = s.letters(differ)
        for a, b in itertools.combinations(range(7), 2):
            assert bool(set(found[a]) & set(found[b])) != differ[a, b]


def test_methods_are_told_apart_as_pairs_are_compared():
    rng = np.random.default_rng(1)
    base = rng.normal(size=(20, 1))
    values = np.concatenate([base + 1, base + rng.normal(0, 0.1, (20, 1)), base, rng.normal(size=(20, 1))], axis=1)
    groups = np.repeat(np.arange(10), 2)
    pairs = [(a, b) for a in range(4) for b in range(a)]
    each = [s.compare(values[:, a], values[:, b], 0, groups=groups) for a, b in pairs]
    sure = [
        f.verdict in ("better", "worse") and p <= 0.05 for f, p in zip(each, s.holm([f.p for f in each]), strict=True)
    ]
    found = s.told_apart(values, groups)
    assert [bool(found[pair]) for pair in pairs] == sure and found[0, 1] and not found[1, 2]
    assert not s.told_apart(values[:5]).any() and s.told_apart(values[:, :1]).tolist() == [[False]]
    alone = [s.sign_flip(column, groups, 100) for column in values.T]
    np.testing.assert_array_equal(s.sign_flips(values, groups, 100), alone)


def test_what_is_better_than_all_others_is_better_than_each():
    values = np.random.default_rng(2).normal([0.9, 0.3, 0, 0, 0.1], 0.5, (24, 5))
    for groups in (None, np.arange(24) // 2, np.arange(24) // 6):
        each = [[s.compare(values[:, a], values[:, b], 0.1, groups=groups).verdict for b in (2, 3, 4)] for a in (0, 1)]
        found = s.better_than_all(values, [0, 1], [2, 3, 4], groups)
        assert found.tolist() == [set(verdicts) == {"better"} for verdicts in each]
    assert found.tolist() == [False, False]  # four groups
    assert s.better_than_all(values, [0], []).all() and not s.better_than_all(values[:0], [0], [1]).any()


def test_many_methods_can_be_told_apart():
    """Of 45 methods, 990 pairs, so that the least p value of 10 000 sign changes would be too large."""
    values = np.arange(45) + np.random.default_rng(1).normal(0, 0.05, (30, 45))
    assert s.told_apart(values).sum() == 45 * 44


def test_ranks_have_intervals():
    values = RNG.normal([[0.0, 0.01, 3.0]], 1, (60, 3))
    ranks = s.rank_intervals(values)
    np.testing.assert_array_equal(ranks[2], [1, 1])
    np.testing.assert_array_equal(ranks[:2], [[2, 3], [2, 3]])
    np.testing.assert_array_equal(s.rank_intervals(values, higher=False)[2], [3, 3])


def test_agreement():
    order = np.tile(np.arange(5), (20, 1))
    assert s.krippendorff_alpha(order) == pytest.approx(1)
    random = np.array([np.random.default_rng(i).permutation(5) for i in range(400)])
    assert s.krippendorff_alpha(random) == pytest.approx(0, abs=0.02)
    # By its definition, over all pairs.
    ranks = random[:6].astype(float)
    within = [np.mean([(a - b) ** 2 for a, b in itertools.combinations(c, 2)]) for c in ranks.T]
    between = [(a - b) ** 2 for a, b in itertools.combinations(ranks.ravel(), 2)]
    assert s.krippendorff_alpha(ranks) == pytest.approx(1 - np.mean(within) / np.mean(between))
    signal = RNG.normal([[0, 1, 2, 3]], 0.5, (40, 4))
    assert s.split_half(signal, spearman) == pytest.approx(1)
    assert abs(s.split_half(RNG.normal(size=(40, 12)), spearman)) < 0.35


def test_kendalls_tau_equals_scipys():
    stats = pytest.importorskip("scipy.stats", reason="SciPy is the second witness")
    a, b = RNG.integers(0, 5, 30), RNG.integers(0, 5, 30)
    assert s.kendall_tau(a, b) == pytest.approx(stats.kendalltau(a, b).statistic)
    assert np.isnan(s.kendall_tau(np.zeros(4), np.arange(4)))
    close(spearman(a, b), stats.spearmanr(a, b).statistic, rtol=1e-7)
