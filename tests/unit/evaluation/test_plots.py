"""The plots of an evaluation: what is drawn are its numbers."""

import numpy as np
import pytest

import keras_explainable as ke
from keras_explainable.evaluation.curves import Curve
from keras_explainable.evaluation.selection import chosen_metrics
from keras_explainable.viz import charts
from support.compare import close
from support.selection import fast_on_torch

pytestmark = fast_on_torch

pytest.importorskip("matplotlib")
KNOWN = {"good": False, "same": False, "poor": False, "uniform_noise": True, "oracle": True}


def evaluation(images=30):
    rng = np.random.default_rng(0)
    base = rng.normal(0.5, 0.1, (images, 1))
    noise = rng.normal(0, 0.1, (images, 1))
    rows = [base, base + 0.001 * rng.normal(size=base.shape), noise - 0.02, noise, base + 0.3]
    values = np.stack([np.stack([row, 3 - row]) for row in rows])
    curves = {}
    for number, name in enumerate(KNOWN):
        curves[name] = {kind: Curve.over(np.linspace(0, 1, 5)) for kind in ("deletion", "insertion")}
        for curve in curves[name].values():
            curve.add(number + rng.normal(0, 0.1, (images, 5)))
    applied = chosen_metrics({"srg": "srg", "entropy": "entropy"}, False)
    drawn = {"srg": curves, "entropy": {}}
    return ke.evaluation.Evaluation(values, list(KNOWN), list(applied), KNOWN, applied, curves=drawn)


def test_a_bar_is_as_long_as_its_interval():
    found = evaluation()
    drawn = found.plot()
    srg, entropy = drawn.axes
    order = [label.get_text() for label in srg.get_yticklabels()]
    assert order == ["same", "good", "uniform_noise", "poor"] and srg.get_title() == "srg (higher is better)"
    for axis, metric in ((srg, "srg"), (entropy, "entropy")):
        for bar, name in zip(axis.patches, order, strict=True):
            cell = found.summary()[metric][name]
            assert bar.get_x() == pytest.approx(cell.low) and bar.get_width() == pytest.approx(cell.high - cell.low)
    grey = [bar.get_facecolor()[:3] for bar in srg.patches]
    assert grey[0] == grey[1] != grey[2] == grey[3]
    lines = {line.get_label(): line.get_xdata()[0] for line in srg.lines if not line.get_label().startswith("_")}
    assert lines == {"chance": 0.0, "oracle": pytest.approx(found.values[4, 0].mean())}
    assert [text.get_text() for text in srg.texts] == ["a", "a", "", "b"]
    assert len(found.plot("intervals", "entropy").axes) == 1


def test_curves_are_drawn_with_their_spread_over_the_band_of_random_maps():
    found = evaluation()
    drawn = found.plot("curves", metric="srg")
    for axis, kind in zip(drawn.axes, ("deletion", "insertion"), strict=True):
        lines = {line.get_label(): line.get_ydata() for line in axis.lines}
        assert list(lines) == ["uniform_noise", "same", "good", "poor"]
        for name, drawn_line in lines.items():
            close(drawn_line, found.curves["srg"][name][kind].mean, rtol=1e-7)
        low, high = found.curves["srg"]["uniform_noise"][kind].band
        box = axis.collections[0].get_paths()[0].get_extents()
        close([box.ymin, box.ymax], [low.min(), high.max()], rtol=1e-7)


def test_colours_are_for_what_is_better_than_baselines_if_anything_is():
    share = np.zeros(2)
    lines = [charts.Line(name, share, share, share, grey) for name, grey in (("a", True), ("b", False), ("c", True))]
    assert charts.colors(lines) == {"a": charts.GREY, "b": charts.COLORS[0], "c": charts.GREY}
    assert charts.colors(lines[::2]) == {"a": charts.COLORS[0], "c": charts.COLORS[1]}
    many = [charts.Line(str(n), share, share, share) for n in range(9)]
    assert list(charts.colors(many).values()) == [*charts.COLORS, *[charts.GREY] * 3]


def test_mean_ranks_are_joined_by_letters():
    found = evaluation()
    values = found.values[:3, 0, :, 0]
    expected = {n: 1 + np.mean([(values > row).sum(0)], axis=1)[0] for n, row in zip(KNOWN, values, strict=False)}
    (axis,) = found.plot("cd").axes
    dots = [line.get_xdata()[0] for line in axis.lines if line.get_marker() == "o" and len(line.get_xdata()) == 1]
    close(dots[-3:], sorted(expected.values()), rtol=1e-7)
    joined = [tuple(line.get_xdata()) for line in axis.lines if line.get_linewidth() == 3]
    assert joined == [tuple(sorted((expected["good"], expected["same"]))), (expected["poor"], expected["poor"])]


@pytest.mark.filterwarnings("error")
def test_rows_without_values_are_left_blank(tmp_path):
    found = evaluation()
    found.values[[1, 4], 0] = np.nan  # such as maps and masks, by a metric that needs the method
    assert found.oracle("srg") is None and found.summary()["srg"]["good"].letters == "a"
    assert found.grey() == {"same", "poor", "uniform_noise", "oracle"}
    (axis,) = found.plot("intervals", "srg").axes
    bars = {label.get_text(): bar for label, bar in zip(axis.get_yticklabels(), axis.patches, strict=True)}
    assert list(bars) == ["good", "uniform_noise", "poor", "same"] and np.isnan(bars["same"].get_width())
    assert "same" not in [label.get_text().split()[0] for label in found.plot("cd").axes[0].get_yticklabels()]
    page = found.to_html(tmp_path / "page.html", np.zeros((30, 4, 4, 3), "uint8")).read_text("utf-8")
    assert (
        'same</th><td class="number" data-label="srg" data-value="-Infinity">–' in page
        and "nan" not in page.split("<main>")[1]
    )


def test_what_cannot_be_drawn_is_refused(monkeypatch):
    found = evaluation()
    for words, said in (
        (("pie",), "No plot is named 'pie'"),
        (("curves", "entropy"), "entropy has no curves. There are those of srg"),
        (("cd", "entropy"), "entropy ranks no methods"),
        (("intervals", "sgr"), "No metric is named 'sgr'"),
    ):
        with pytest.raises(ke.errors.InputError, match=said):
            found.plot(*words)
    few = evaluation(1)
    assert np.isnan(few.curves["srg"]["good"]["deletion"].band).all()
    few.plot("curves")
