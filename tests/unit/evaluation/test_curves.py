"""Mean curves of an evaluation: the mean and spread of the metric's own curves, in the memory of one."""

import numpy as np
import pytest

import keras_explainable as ke
from keras_explainable.evaluation.curves import Curve, add
from keras_explainable.metrics.curves import area
from support import keras_models
from support.compare import close
from support.selection import fast_on_torch

pytestmark = fast_on_torch

X = keras_models.images("functional", 6)
Y = np.array([0, 1, 2, 3, 4, 0])


def test_a_running_mean_and_spread_are_those_of_all_curves(rng):
    values = 5 + rng.normal(size=(30, 4))
    values[7, 2] = np.nan
    curve = Curve.over(np.linspace(0, 1, 4))
    for start in range(0, 30, 7):
        curve.add(values[start : start + 7])
    kept = np.delete(values, 7, axis=0)
    assert curve.images == 29
    close(curve.mean, kept.mean(axis=0), rtol=1e-12)
    close(curve.deviation, kept.std(axis=0, ddof=1), rtol=1e-12)
    low, high = curve.band
    close(high - low, 2 * 1.96 * kept.std(axis=0, ddof=1) / np.sqrt(29), rtol=1e-12)


def test_curves_at_other_shares_are_read_at_the_first_ones():
    kept = {}
    lines = [np.linspace(0, 1, t)[None, None] for t in (5, 9)]
    for share in lines:
        add(kept, {"deletion": 3 - 2 * share, "share": share})
    close(kept["deletion"].mean, 3 - 2 * lines[0][0, 0], rtol=1e-7)
    close(kept["deletion"].deviation, 0, atol=1e-12)
    add(kept, {"score": lines[0]})
    assert list(kept) == ["deletion"]


def test_an_evaluation_keeps_the_mean_curves_of_its_metrics():
    model = keras_models.build_once("functional")
    metrics = {"area": ("srg", {"points": 4}), "entropy": "entropy"}
    found = ke.evaluate(model, X, Y, ["gradcam"], metrics, verbose=0, batch_size=4)
    assert set(found.curves["area"]) == set(found.methods) and found.curves["entropy"] == {}
    maps = ke.explain("gradcam", model, X, Y, verbose=0).maps
    alone = ke.metrics.srg(model, X, Y, maps, points=4).curves
    for name in ("deletion", "insertion"):
        curve = found.curves["area"]["gradcam"][name]
        close(curve.mean, alone[name][:, 0].mean(axis=0), atol=1e-5)
        close(curve.deviation, alone[name][:, 0].std(axis=0, ddof=1), atol=1e-5)
        assert curve.images == 6
    one, other = (found.curves["area"]["gradcam"][name] for name in ("insertion", "deletion"))
    between = area(one.mean - other.mean, one.share)
    assert between == pytest.approx(found.summary()["area"]["gradcam"].mean, abs=1e-6)


def test_curves_of_segments_are_kept_although_images_differ_in_their_number(rng):
    model = keras_models.build_once("functional")
    labels = np.stack([np.arange(X[0, ..., 0].size).reshape(X.shape[1:3]) % (3 + n) for n in range(6)])
    metrics = {"irof": ("irof", {"segments": labels})}
    maps = rng.normal(size=(*X.shape[:-1], 1)).astype("float32")
    found = ke.evaluate(model, X, Y, {"mine": maps}, metrics, baselines=False, verbose=0)
    curve = found.curves["irof"]["mine"]["deletion"]
    alone = ke.metrics.irof(model, X, Y, maps, segments=labels).curves
    expected = [np.interp(curve.share, alone["share"][n, 0], alone["deletion"][n, 0]) for n in range(6)]
    close(curve.mean, np.mean(expected, axis=0), atol=1e-6)
