"""Checks of metrics: the headline metrics pass them, and metrics that measure something else do not."""

import numpy as np
import pytest

import keras_explainable as ke
from keras_explainable.metrics import METRICS, Measured, metric
from support.selection import fast_on_torch, slow_compiled, very_slow, very_slow_compiled

pytestmark = fast_on_torch


@pytest.fixture
def registered():
    """Registers metrics, and forgets them."""
    before = dict(METRICS)
    yield metric("faithfulness", {"images"}, "higher", "none", "0", "none")
    METRICS.clear()
    METRICS.update(before)


def tried(name, **params):
    return ke.metrics.check(name, scenes=6, methods=("gradcam", "layercam", "input_x_gradient"), **params)


def failed(checks):
    return {name for name, check in checks.checks.items() if check.passed is False}


@slow_compiled
def test_a_metric_of_the_objects_passes_and_says_so():
    found = tried("mass_accuracy")
    assert found.passed and found.ranked
    assert found.checks["fills"].passed is None
    text = str(found)
    assert text.startswith("mass_accuracy passes all checks.") and "\n  8. not applicable: no second fill" in text
    values = found.evaluation.values[found.evaluation.methods.index("oracle"), 0]
    assert f"the oracle {np.nanmean(values):.3g}" in found.checks["oracle"].said


@pytest.mark.very_slow
@pytest.mark.parametrize("name, params", [("srg", {"points": 6}), ("faithfulness_correlation", {})])
def test_the_headline_metrics_pass_all_nine_checks(name, params):
    found = ke.metrics.check(name, scenes=36, **params)
    assert [check.passed for check in found.checks.values()] == [True] * 9


def test_a_metric_of_noise_fails_and_ranks_nothing(registered):
    """The mean distance of neighbours is largest for noise: the oracle loses, and noise is not at 0."""

    @registered
    def roughness(case, maps):
        """How much a map changes from pixel to pixel."""
        return Measured(np.abs(np.diff(maps, axis=2)).mean(axis=(1, 2)) / np.abs(maps).max(axis=(1, 2)))

    found = tried("roughness")
    assert {"oracle", "chance", "noise"} <= failed(found) and not found.ranked and not found.passed
    assert "and does not rank methods" in str(found) and "FAILED" in str(found)


def test_a_metric_of_large_maps_is_won_by_the_constant_map(registered):
    @registered
    def coverage(case, maps):
        """How much of the image a map covers."""
        return Measured(maps.clip(0).mean(axis=(1, 2)) / np.abs(maps).max(axis=(1, 2)))

    found = tried("coverage")
    assert "constant" in failed(found) and not found.ranked


def test_a_constant_map_is_as_good_as_any_by_average_drop():
    """A map that shows everything loses nothing."""
    assert "constant" in failed(tried("average_drop"))


@very_slow_compiled
@pytest.mark.parametrize("name", ["srg", pytest.param("faithfulness_correlation", marks=very_slow)])
def test_headline_metrics_pass_all_nine_checks(name):
    found = ke.metrics.check(name)
    assert found.passed, str(found)
    assert all(check.passed for check in found.checks.values())


def test_what_cannot_be_checked_is_refused():
    with pytest.raises(ke.errors.InputError, match="No metric is named 'srgg'"):
        ke.metrics.check("srgg")
    with pytest.raises(ke.errors.InputError, match="entropy describes maps"):
        ke.metrics.check(ke.metrics.entropy)
    with pytest.raises(ke.errors.InputError, match="takes no depth="):
        ke.metrics.check("srg", depth=3)
    for scenes in (0, 1.5, "many"):
        with pytest.raises(ke.errors.InputError, match="scenes=.* came, and a whole number from 1"):
            ke.metrics.check("srg", scenes=scenes)
