"""The leaderboard: what is cut to end in time, which metrics rank, and the values of `ke.evaluate`."""

import csv
import time

import numpy as np
import pytest
from tools.leaderboard import __main__ as board
from tools.leaderboard import measure, table
from tools.leaderboard.budget import Setting, counts, cut, repetitions, too_expensive
from tools.leaderboard.data import COLUMNS, Part, parts, scenes

import keras_explainable as ke
from keras_explainable import demo
from keras_explainable.evaluation import budget
from keras_explainable.evaluation.check import CHECKS, Check, Checks
from keras_explainable.metrics.baselines import BASELINES
from support.compare import close
from support.selection import fast_on_torch, very_slow_compiled

pytestmark = fast_on_torch

# Seconds for an image: gradcam 1, and smoothgrad 2 at an eighth of its repetitions; curves of 4 points 0.5 for each row.
TIMES = budget.Times(
    {"gradcam": 1.0, "smoothgrad": 2.0, "sobel": 0.0},
    {"srg": 0.5, "srg (blur)": 0.5, "srg (linear)": 4.0, "mass_accuracy": 0.25},
    {"srg": 1.0, "srg (blur)": 1.0, "srg (linear)": 2.0, "mass_accuracy": 0.0},
)
THREE = {name: COLUMNS[name] for name in TIMES.metrics}
WHOLE = Setting(100)


def test_the_time_of_a_setting_is_arithmetic():
    least = Setting(10, 0.125, 4, ("blur", "linear"))
    assert least.seconds(TIMES, THREE) == pytest.approx(10 * (1 + 2 + 3 * (0.5 + 0.25) + 1))
    # 8 times the repetitions; 18 shares between the ends, where 2 were timed
    assert WHOLE.seconds(TIMES, THREE) == pytest.approx(100 * (1 + 16 + 3 * (9 * (0.5 + 0.5 + 4) + 0.25) + 4))


def test_cuts_come_in_order_and_are_said():
    order = ["repetitions", "points", "fill 'linear'", "fill 'blur'", "images"]
    found = [cut(TIMES, THREE, WHOLE, 48, seconds, 1e9) for seconds in np.linspace(16000, 1, 200)]
    assert found[0] == (WHOLE, [])
    seen = [[next(name for name in order if text.startswith(name)) for text in said] for _, said in found]
    assert all(names == order[: len(names)] for names in seen) and {len(names) for names in seen} == {0, 1, 2, 3, 4, 5}
    assert [setting.images for setting, said in found if len(said) < 5] == [100] * sum(len(n) < 5 for n in seen)
    assert found[-1][0] == Setting(48, 0.125, 10, ("linear", "blur")) and "images to 48 of 100" in found[-1][1]
    for (setting, _), seconds in zip(found, np.linspace(16000, 1, 200), strict=True):
        assert setting.seconds(TIMES, THREE) <= seconds or setting.images == 48


def test_fewer_images_where_there_is_no_time_for_the_least():
    assert cut(TIMES, THREE, Setting(20), 48, 1, 1e9)[0].images == 20
    each = Setting(1, 0.125, 10, ("linear", "blur")).seconds(TIMES, THREE)
    assert cut(TIMES, THREE, WHOLE, 48, 1, 30.5 * each)[0].images == 30
    assert cut(TIMES, THREE, WHOLE, 48, 1, 1)[0].images == 6


def test_methods_that_take_too_long_are_known_by_their_cost(monkeypatch):
    """At an eighth of the repetitions, RISE takes 126 passes and Score-CAM 34. Ablation-CAM takes 2 and 256 tails."""
    methods = ["gradcam", "ablationcam", "scorecam", "rise"]
    assert too_expensive(methods, 1.0, 1.0) == []
    monkeypatch.setattr("tools.leaderboard.budget.MOST", 30)
    assert too_expensive(methods, 1.0, 127.0) == [] and too_expensive(methods, 1.0, 125.0) == ["rise"]
    assert too_expensive(methods, 2.0, 1.0) == ["scorecam", "rise"]


def test_a_setting_gives_methods_and_metrics_their_parameters():
    found = Setting(10, 0.125, 10, ("linear",))
    assert found.methods(["gradcam", "smoothgrad", "rise", "scorecam"]) == {
        "gradcam": ("gradcam", {}),
        "smoothgrad": ("smoothgrad", {"repetitions": 4}),
        "rise": ("rise", {"repetitions": 125}),
        "scorecam": ("scorecam", {"max_channels": 32}),
    }
    assert repetitions("smoothgrad", 1) == {} and counts("uniform_noise") == {}
    assert found.columns(THREE)["srg (blur)"] == ("srg", {"fill": "blur", "points": 10})
    assert list(found.columns(THREE)) == ["srg", "srg (blur)", "mass_accuracy"]


def test_the_first_row_pays_for_what_rows_share_and_compiling_is_not_counted():
    calls = []

    def timed(names, metrics):
        calls.append((names, metrics))
        if names == ["cannot"]:
            raise ke.errors.InputError("no")
        first = 8.0 if calls.count((names, metrics)) == 1 else 0.0  # it compiles
        shared = [4.0 * bool(metrics)] + [0.0] * (len(names) - 1)
        return {name: first + s + 2.0 for name, s in zip(names, shared, strict=True)}

    found = budget.timed(timed, ["a", "cannot", "b"], ["m"], 2)
    assert found == budget.Times({"a": 1.0, "b": 1.0}, {"m": 1.0}, {"m": 2.0})
    assert found.image == 2 * 1.0 + 2 * 1.0 + 2.0


def test_what_takes_long_is_measured_once(monkeypatch):
    monkeypatch.setattr(budget, "LONG", -1.0)
    calls = []
    budget.timed(lambda names, metrics: calls.append(names) or {"a": 1.0}, ["a"], [], 1)
    assert calls == [["a"]]


def test_settings_of_an_older_cache_are_read(tmp_path):
    cache = measure.Cache(tmp_path)
    chosen = measure.Chosen(Setting(3, without=("blur",)), ["images to 3 of 9"], ["rise"], False)
    cache.choose("new", chosen)
    cache.keep("old", {"dear" if key == "expensive" else key: of for key, of in cache.settings["new"].items()})
    kept = measure.Cache(tmp_path)
    assert kept.chosen("new") == kept.chosen("old") == chosen


def all_pass(name, ranked=True):
    checks = {check: Check(check, True, "as expected") for check in CHECKS}
    return Checks(name, checks | ({} if ranked else {"constant": Check("constant", False, "it wins")}), None)


def found_values(values, columns=("srg", "mass_accuracy")):
    rows = ["good", "bad", "undefined", *BASELINES, "oracle"]
    return measure.Values(rows, {name: COLUMNS[name] for name in columns}, values, None, {"cam": "no head"})


@pytest.fixture
def values(rng):
    """Good is better than bad, which is like the baselines; the third row has hardly a value."""
    means = np.array([1.0, 0.0, 0.5, *[0.0] * len(BASELINES), 2.0])
    found = means[:, None, None] + rng.normal(0, 0.1, (len(means), 2, 40))
    found[2, :, 5:] = np.nan
    found[0, 1, 3] = np.nan  # image 3 is then left out for all
    return found


def test_letters_grey_and_what_is_undefined(values):
    found = table.table("scenes", "net", found_values(values), {n: all_pass(n) for n in COLUMNS}, "srg", ["points"])
    srg, mass = found.columns.values()
    rows = found.rows
    assert (srg.images, mass.images) == (40, 39)
    assert srg.mean[0] == pytest.approx(values[0, 0].mean())
    assert mass.mean[1] == pytest.approx(np.delete(values[1, 1], 3).mean())
    assert srg.beats.tolist() == [name in ("good", "oracle") for name in rows]
    like = np.stack([values[0, 0], values[0, 0] - 0.001, values[0, 0] - 2, values[0, 0] + 1])
    close = table.column(like, ["a", "surely worse", "uniform_noise", "oracle"], None, True, True)
    assert close.letters[0] == close.letters[1] and close.mean[0] > close.mean[1]  # by less than what matters
    assert srg.letters[rows.index("oracle")] == "a" and srg.letters[0] == "b" and srg.letters[2] == ""
    assert "b" not in srg.letters[1] and set(srg.letters[1]) & set(srg.letters[rows.index("sobel")])
    text = table.markdown(found)
    assert [rows[n] for n in found.order()][:2] == ["oracle", "good"] and rows[found.order()[-1]] == "undefined"
    assert "Cut: points." in text and "cam" in text and "mass_accuracy: 39 of 40 images" in text
    assert f"_{srg.mean[1]:.3f} [" in text and f"_{srg.mean[0]:.3f}" not in text and "| –" in text


def test_a_metric_that_fails_is_shown_and_does_not_rank(values):
    checks = {"srg": all_pass("srg", ranked=False), "mass_accuracy": all_pass("mass_accuracy")}
    found = table.table("scenes", "net", found_values(values), checks, "srg", [])
    srg, mass = found.columns.values()
    assert not srg.ranked and set(srg.letters) == {""} and not srg.beats.any() and mass.letters[-1] == "a"
    assert found.leading() == "mass_accuracy"
    text = table.markdown(found)
    assert "srg (not ranked)" in text and f"| {srg.mean[1]:.3f} [" in text
    head, _, failed, *_ = table.checked(checks, ["srg", "road"]).splitlines()
    assert "constant" in head and "**no**" in failed and "not checked" in table.checked(checks, ["road"])
    assert board.failures(checks) == ["- srg, constant: it wins"]
    unchecked = table.table("scenes", "net", found_values(values), {}, "srg", [])
    assert not any(of.ranked for of in unchecked.columns.values())


def test_few_groups_cannot_tell(values):
    of = table.column(values[[0, 1], 0, :5], ["good", "sobel"], None, True, True)
    assert of.letters == ["a", "a"] and not of.beats.any()


def test_better_is_what_comparisons_say(values):
    pair = values[[0, 1], 0].T
    better = table.better_than(pair, None)
    assert better.tolist() == [[False, True], [False, False]]
    assert ke.evaluation.compare(*pair.T, 0.05).verdict == "better"


METRICS = ["single_deletion", "srg", "mass_accuracy"]


@pytest.fixture
def tiny(monkeypatch):
    """One network with few images, metrics whose checks pass, and the methods that `ke.evaluate` is asked for."""
    part = Part("Scenes", {"demo CNN": lambda seed: scenes(demo.load_model, seed, 9)}, METRICS, 3, 9, "single_deletion")
    monkeypatch.setattr(board, "parts", lambda *given: {"truth": part})
    monkeypatch.setattr(ke.metrics, "check", lambda name, *given, **own: all_pass(name))
    asked, evaluate = [], ke.evaluate
    monkeypatch.setattr(measure.ke, "evaluate", lambda *given, **own: asked.append(own) or evaluate(*given, **own))
    return asked


@very_slow_compiled
def test_values_are_those_of_evaluate_and_a_new_method_costs_one_row(tiny, tmp_path, capsys):
    shared = ["--cache", str(tmp_path / "kept"), "--out", str(tmp_path / "board.csv")]
    (first,) = board.main([*shared, "--methods", "gradcam"])
    assert list(tiny[0]["methods"]) == ["gradcam"] and tiny[0]["baselines"]
    (found,) = board.main([*shared, "--methods", "gradcam", "input_x_gradient"])
    assert [(list(own["methods"]), own["baselines"]) for own in tiny[1:]] == [(["input_x_gradient"], False)]

    data = demo.load_counterfactuals(3, 0, 3)
    x, given = data.images[data.scene].astype("float32"), {"masks": data.masks, "objects": data.objects()}
    alone = ke.evaluate(
        demo.load_model(),
        x,
        data.units,
        found.rows[:2],
        METRICS,
        groups=data.scene,
        baselines=False,
        verbose=0,
        **given,
    )
    assert found.rows[:2] == ["gradcam", "input_x_gradient"] and first.rows[1:] == found.rows[2:]
    for name in METRICS:
        close(found.columns[name].mean[:2], alone.of(name).mean(axis=1), atol=1e-5)
        np.testing.assert_array_equal(found.columns[name].mean[2:], first.columns[name].mean[1:])
    lines = list(csv.DictReader((tmp_path / "board.csv").open()))
    assert len(lines) == len(found.rows) * len(METRICS)
    page = capsys.readouterr().out
    assert "### demo CNN, 9 images" in page and "| gradcam" in page and "agreement with single_deletion" in page


@very_slow_compiled
def test_in_little_time_what_is_cut_is_printed_and_kept(tiny, tmp_path, capsys):
    given = ["--cache", str(tmp_path / "kept"), "--methods", "gradcam", "attention_rollout", "--minutes", "1e-6"]
    (found,) = board.main([*given, "--out", str(tmp_path / "board.md")])
    assert found.images == 6 and "points of srg to 10" in (tmp_path / "board.md").read_text()
    asked = len(tiny)
    (again,) = board.main(given)
    # What cannot explain the network is tried again, and nothing else.
    assert [list(own["methods"]) for own in tiny[asked:]] == [["attention_rollout"]]
    assert list(again.left_out) == list(found.left_out) == ["attention_rollout"] and again.cuts == found.cuts
    np.testing.assert_array_equal(again.columns["srg"].mean, found.columns["srg"].mean)


@very_slow_compiled
def test_networks_without_time_are_left_out(tiny, tmp_path):
    chosen = board.parts()
    chosen["truth"].networks["other"] = chosen["truth"].networks["demo CNN"]
    args, lines = board.arguments(["--methods", "gradcam", "--parts", "truth", "--minutes", "1"]), []
    found = board.measured(chosen, args, time.perf_counter(), measure.Cache(None), {}, lines)
    assert [of.network for of in found] == ["demo CNN"] and lines == ["Left out: network other (Scenes)."]


def test_without_photos_one_sentence_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(ke.metrics, "check", lambda name, *given, **own: all_pass(name))
    assert board.main(["--parts", "photos", "--data", str(tmp_path), "--cache", "."]) == []
    assert f"No photos part: there are no networks and photos in {tmp_path}." in capsys.readouterr().out


@pytest.mark.parametrize(
    "given",
    [["--minutes", "0"], ["--scenes", "3"], ["--methods", "grad_cm"], ["--parts", "none"], ["--out", "board.txt"]],
)
def test_bad_arguments_are_refused(given, capsys):
    with pytest.raises(SystemExit):
        board.main(given)
    assert given[1] in capsys.readouterr().err


def test_the_parts_have_the_metrics_of_the_specification():
    found = parts()
    assert list(found["truth"].networks) == ["demo CNN", "mask-robust CNN", "demo transformer"]
    assert set(found["photos"].columns) == {"srg", "faithfulness_correlation", "mass_accuracy", "pointing_game"}
    assert [of["fill"] for name, of in found["truth"].columns.values() if name == "srg"] == ["mean", "blur", "linear"]
