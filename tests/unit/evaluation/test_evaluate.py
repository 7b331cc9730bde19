"""`ke.evaluate`: the same values as metrics alone, once what is shared, and what it concludes."""

import csv
import sys

import keras
import numpy as np
import pytest

import keras_explainable as ke
from keras_explainable.metrics.baselines import BASELINES, edges
from support import keras_models
from support.compare import close
from support.left_as_found import same, state
from support.selection import fast, fast_on_torch, slow_compiled

pytestmark = fast_on_torch

X = keras_models.images("functional", 6)
Y = np.array([0, 1, 2, 3, 4, 0])
FEW = {"srg": ("srg", {"points": 4}), "correlation": ("faithfulness_correlation", {"subsets": 16, "cells": 4})}
METHODS = ["gradcam", "input_x_gradient", "occlusion"]


def model():
    return keras_models.build_once("functional")


def evaluate(methods=("gradcam", "input_x_gradient"), metrics=FEW, x=X, y=Y, **params):
    return ke.evaluate(model(), x, y, methods, metrics, verbose=0, **params)


@fast
def test_values_are_those_of_the_metrics_alone():
    found = evaluate(baselines=False, batch_size=4)
    for row, method in enumerate(found.methods):
        maps = ke.explain(method, model(), X, Y, verbose=0).maps
        alone = ke.metrics.srg(model(), X, Y, maps, points=4).values
        close(found.values[row, 0], alone, atol=1e-5)
        other = ke.metrics.faithfulness_correlation(model(), X, Y, maps, subsets=16, cells=4).values
        close(found.values[row, 1], other, atol=1e-4)


def test_what_does_not_depend_on_maps_runs_once_for_all_methods():
    seen = []

    def black_box(images):
        seen.append(len(images))
        return np.asarray(images).sum(axis=(1, 2))

    maps = np.random.default_rng(0).normal(size=(4, 3, 8, 8, 1))
    x = np.random.default_rng(1).normal(size=(3, 8, 8, 3)).astype("float32")
    metrics = {"a": ("faithfulness_correlation", {"subsets": 32}), "b": ("infidelity", {"subsets": 32})}

    def forwards(number):
        seen.clear()
        ke.evaluate(
            black_box, x, 0, dict(zip("pqrs"[:number], maps, strict=False)), metrics, baselines=False, verbose=0
        )
        return sum(n for n in seen if n > 3)

    one = forwards(1)
    assert one == 3 * 32 and forwards(4) == one


@slow_compiled
def test_batches_change_nothing_and_the_model_is_left_as_it_was():
    fresh = keras_models.build("functional")
    before = state(fresh)
    whole = ke.evaluate(fresh, X, Y, ["gradcam"], FEW, verbose=0)
    same(before, state(fresh))
    close(whole.values, evaluate(["gradcam"], batch_size=2).values, atol=1e-4)
    assert np.array_equal(whole.values, ke.evaluate(fresh, X, Y, ["gradcam"], FEW, verbose=0).values)


def test_methods_of_all_kinds():
    maps = ke.explain("gradcam", model(), X, Y, verbose=0).maps
    methods = {"by name": "gradcam", "with": ("occlusion", {"patch": 6}), "given": maps, "mine": _mine}
    found = evaluate(methods, baselines=False)
    assert found.methods == list(methods)
    close(found.values[0], found.values[2], atol=1e-6)


def _mine(model, inputs, indices=None, score=None):
    return ke.methods.gradient.gradients(model, inputs, indices, score)


def test_a_method_that_cannot_explain_the_model_is_left_out():
    found = evaluate(["gradcam", "attention_rollout"], baselines=False)
    assert found.methods == ["gradcam"] and "attention" in found.about["left_out"]["attention_rollout"]
    assert "Left out: attention_rollout" in str(found)
    with pytest.raises(ke.errors.InputError, match="No method can explain this model"):
        evaluate(["attention_rollout"])


def test_the_table_the_oracle_and_the_files(tmp_path):
    masks = np.zeros(X.shape[:-1], bool)
    masks[:, 5:12, 4:14] = True
    found = evaluate(["gradcam"], masks=masks)
    assert found.methods == ["gradcam", *BASELINES, "oracle"]
    text = str(found)
    assert "(sobel)" in text and "By srg on 6 images, gradcam has the best mean" in text
    found.to_csv(tmp_path / "values.csv")
    rows = list(csv.DictReader((tmp_path / "values.csv").open()))
    assert len(rows) == found.values.size
    first = [r for r in rows if (r["method"], r["metric"], r["image"], r["unit"]) == ("sobel", "srg", "2", "0")]
    sobel = found.methods.index("sobel")
    assert float(first[0]["value"]) == found.values[sobel, 0, 2, 0]
    cell = found.summary()["srg"]["sobel"]
    assert cell.mean == pytest.approx(found.values[sobel, 0].mean()) and cell.low <= cell.mean <= cell.high


def test_a_data_frame_has_a_row_for_each_value():
    pandas = pytest.importorskip("pandas")
    groups = np.array(["x", "x", "y", "y", "z", "z"])
    found = evaluate(groups=groups, baselines=False)
    frame = found.to_pandas()
    assert list(frame.columns) == ["method", "metric", "image", "unit", "value", "group"]
    means = frame.pivot_table("value", "method", "metric")
    assert means["srg"]["gradcam"] == pytest.approx(found.summary()["srg"]["gradcam"].mean)
    assert frame[frame.group == "y"].image.unique().tolist() == [2, 3]
    assert evaluate(["gradcam"], baselines=False).to_pandas().eval("group == image").all()
    assert isinstance(frame, pandas.DataFrame) and len(frame) == found.values.size


def test_without_pandas_its_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ke.errors.BackendError, match=r"pip install \"keras-explainable\[tables\]\""):
        evaluate(["gradcam"], baselines=False).to_pandas()


def test_verdicts_and_conclusion():
    rng = np.random.default_rng(0)
    base = rng.normal(0.5, 0.1, (40, 1))
    values = np.stack([base + 0.3, base, base + 0.001 * rng.normal(size=base.shape), rng.normal(0, 0.1, (40, 1))])[
        :, None
    ]
    metrics = evaluate(["gradcam"]).applied
    found = ke.evaluation.Evaluation(
        values,
        ["a", "b", "c", "uniform_noise"],
        ["srg"],
        {"a": False, "b": False, "c": False, "uniform_noise": True},
        metrics,
    )
    assert found.margin("srg") == pytest.approx(0.05 * (values[0].mean() - values[3].mean()))
    assert [str(found.compare(*pair, "srg")) for pair in ("ab", "ba", "bc")] == ["better", "worse", "equal"]
    assert found.conclusion() == (
        f"By srg on 40 images, a has the best mean ({values[0].mean():.3g}). It is better than all other methods: use it."
    )
    values[0, 0, 3] = np.nan  # then image 3 is left out, for all
    assert found.undefined("srg") == 1 and np.isnan(found.of("srg")[:, 3]).all()
    with pytest.raises(ke.errors.InputError, match="No method is named 'd' here"):
        found.compare("a", "d", "srg")


def test_methods_that_cannot_be_told_apart_share_a_letter():
    rng = np.random.default_rng(0)
    base, few = rng.normal(0.5, 0.1, (40, 1)), rng.normal(0, 0.1, (40, 1))
    values = np.stack([base - 0.3, base, base + 0.001 * rng.normal(size=base.shape), few])[:, None]
    known = {"a": False, "b": False, "c": False, "uniform_noise": True}
    applied = evaluate(["gradcam"]).applied
    found = ke.evaluation.Evaluation(values, list(known), ["srg"], known, applied)
    assert [cell.letters for cell in found.summary()["srg"].values()] == ["b", "a", "a", ""]
    lines = str(found).splitlines()
    assert [line.split("] ")[1:] for line in lines[1:5]] == [["b"], ["a"], ["a"], []]
    assert lines[5] == "Methods with the same letter cannot be told apart by that metric."


def test_a_metric_without_values_leaves_all_methods_grey():
    found = evaluate(["gradcam"])
    found.values[:, 0] = np.nan
    assert "(gradcam)" in str(found) and "srg: 6 images without a value" in str(found)
    assert found.chance("srg") == 0 and found.oracle("srg") is None


def test_minutes_cut_the_images():
    with pytest.warns(UserWarning, match="minutes=1e-06 is too short: a single image takes about"):
        found = evaluate(["gradcam"], {"srg": ("srg", {"points": 3})}, minutes=1e-6, baselines=False)
    assert found.about["images"] == found.values.shape[2] == 1
    assert "Cut to 1 image by" in str(found)
    whole = evaluate(["gradcam"], {"srg": ("srg", {"points": 3})}, minutes=5, baselines=False)
    assert whole.values.shape[2] == 6
    close(whole.values[:, :, :1], found.values, atol=1e-5)


def test_what_was_measured_is_kept():
    def breaks(model, inputs, indices=None, score=None):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        evaluate({"gradcam": "gradcam", "breaks": breaks}, baselines=False)
    assert caught.value.partial.methods == ["gradcam"]
    close(caught.value.partial.values, evaluate(["gradcam"], baselines=False).values, atol=1e-5)


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"methods": "grad_cm"}, "No method is named"),
        ({"methods": []}, r"methods=\[\] came"),
        ({"methods": {}}, r"methods=\{\} came"),
        ({"methods": {"a": ("gradcam", {"lyr": 2})}}, "gradcam takes no lyr="),
        ({"methods": {"sobel": np.zeros((6, 20, 24, 1))}}, "'sobel' is the name of a baseline"),
        ({"x": (X[i : i + 2] for i in (0, 2, 4))}, "can be read only once"),
        ({"metrics": ["sgr"]}, "No metric is named 'sgr'"),
        ({"metrics": []}, r"metrics=\[\] came"),
        ({"minutes": 0}, "minutes=0"),
        ({"methods": {"given": np.zeros((6, 3, 3, 1))}}, "Maps of shape"),
        ({"groups": [1, 2]}, "a group for each image"),
        ({"masks": np.zeros((6, 3, 3))}, "Masks of shape"),
        ({"masks": np.zeros((6, 5, 20, 24))}, r"\(6, 20, 24, 1\), one for each image and unit"),
    ],
)
def test_bad_arguments_are_refused(given, match):
    with pytest.raises(ke.errors.ExplainError, match=match):
        str(evaluate(**given))


def test_metrics_may_be_functions():
    assert evaluate(["gradcam"], [ke.metrics.entropy, "gini"], baselines=False).metrics == ["entropy", "gini"]


def test_more_metrics_can_follow_the_default_ones():
    usual = evaluate(["gradcam"], "default", baselines=False).metrics
    assert evaluate(["gradcam"], ["default", "gini"], baselines=False).metrics == [*usual, "gini"]


def test_a_result_is_shown_as_its_table():
    found = evaluate(["gradcam"], ["entropy"])
    assert repr(found) == str(found)


def test_few_images_conclude_nothing():
    found = evaluate(x=X[:5], y=Y[:5])
    assert "Fewer than six images, or groups of them, cannot tell any methods apart" in found.conclusion()
    assert "know nothing" not in found.conclusion()
    assert "Fewer than six" not in evaluate().conclusion()
    assert "Fewer than six" in evaluate(groups=[0, 0, 1, 1, 2, 2]).conclusion()


def test_baselines():
    x = np.random.default_rng(0).random((3, 10, 12, 2)).astype("float32")
    for name, baseline in BASELINES.items():
        maps = baseline(x, 2, 0, 0)
        assert maps.shape == (3, 10, 12, 2), name
        np.testing.assert_array_equal(maps[1:], baseline(x[1:], 2, 1, 0), err_msg=name)  # each image by itself
    i, j = 4, 7
    window = x[1, i - 1 : i + 2, j - 1 : j + 2].astype("float64")
    smooth = np.array([1, 2, 1])
    across = np.einsum("abc,a->bc", window, smooth)[2] - np.einsum("abc,a->bc", window, smooth)[0]
    down = np.einsum("abc,b->ac", window, smooth)[2] - np.einsum("abc,b->ac", window, smooth)[0]
    assert edges(x)[1, i, j] == pytest.approx(np.sqrt((across**2 + down**2).sum()))
    assert BASELINES["center_gaussian"](x, 1, 0, 0)[0, 4, 5, 0] == pytest.approx(
        np.exp(-((0.5 / 2.5) ** 2) / 2 - (0.5 / 3) ** 2 / 2)
    )
    assert keras.config.floatx() == "float32"


def test_metrics_that_need_the_method():
    maps = ke.explain("gradcam", model(), X, Y, verbose=0).maps
    few = {"sensitivity": ("max_sensitivity", {"repetitions": 2}), "mprt": ("mprt", {"stages": 2})}
    few |= {"logit": "random_logit", "entropy": "entropy"}
    masks = np.zeros(X.shape[:-1], bool)
    masks[:, 5:12, 4:14] = True
    found = evaluate({"gradcam": "gradcam", "rise": ("rise", {"repetitions": 4}), "given": maps}, few, masks=masks)
    for row, method in enumerate(("gradcam", ("rise", {"repetitions": 4}))):
        for column, (metric, params) in enumerate(
            [("max_sensitivity", {"repetitions": 2}), ("mprt", {"stages": 2}), ("random_logit", {})]
        ):
            alone = getattr(ke.metrics, metric)(model(), X, Y, explain=method, **params).values
            close(found.values[row, column], alone, atol=1e-4)
    rows = dict(zip(found.methods, found.values[..., 0], strict=True))
    assert np.isnan(rows["given"][:3]).all() and (rows["given"][3] == rows["gradcam"][3]).all()
    assert (rows["sobel"][1:3] == 1).all() and (rows["oracle"][1:3] == 1).all()
    assert (rows["uniform_noise"][0] == 0).all() and (rows["uniform_noise"][1] == 1).all()
    assert abs(rows["uniform_noise"][2]).max() < 0.2  # independent for each unit
    assert not found.has("given", "mprt") and found.undefined("mprt") == 0
    assert np.isfinite(found.summary()["mprt"]["gradcam"].mean) and np.isnan(found.summary()["mprt"]["given"].mean)
    assert found.compare("gradcam", "rise", "mprt").images == 6
    line = next(line for line in str(found).splitlines() if "given" in line)
    assert line.split()[:4] == ["(given)", "-", "-", "-"]
    assert "given" not in found.conclusion("mprt")


def test_the_default_metrics():
    found = evaluate(["gradcam"], "default", baselines=False)
    assert found.metrics == ["srg", "srg (blur)", "faithfulness_correlation", "random_logit", "entropy"]
    given = {"given": ke.explain("gradcam", model(), X, Y, verbose=0).maps}
    assert np.isnan(evaluate(given, "default", baselines=False).values[0, 3]).all()


def test_methods_that_share_passes_make_their_maps_together(monkeypatch):
    names = ["gradcam", "hirescam", "attention_rollout", "gradients", "smoothgrad"]
    alone = {name: evaluate([name], baselines=False).values[0] for name in names if name != "attention_rollout"}
    seen, jacobian = [], ke.backend.jacobian
    monkeypatch.setattr(ke.backend, "jacobian", lambda *given: seen.append(1) or jacobian(*given))
    found = evaluate(names, metrics=["entropy"], baselines=False, run_eagerly=True, batch_size=2)
    assert len(seen) == 3 + 3 * 25  # batches of two images: one pass of gradients, and the noisy copies of smoothgrad
    assert found.methods == list(alone) and list(found.about["left_out"]) == ["attention_rollout"]
    found = evaluate(names, baselines=False)
    for values, name in zip(found.values, found.methods, strict=True):
        close(values, alone[name], atol=1e-5)
    monkeypatch.setattr("keras_explainable.evaluation.maps.KEPT", 1)  # no two maps fit into memory
    close(evaluate(names, baselines=False).values, found.values, atol=1e-5)
