"""The demo: by default a few methods and one file, with verdicts; pictures and all methods only when asked for."""

import re

import pytest

import keras_explainable as ke
from keras_explainable.gallery import __main__ as program
from keras_explainable.gallery import gallery, provenance
from keras_explainable.gallery.gallery import SHOWN
from keras_explainable.viz.html_report import FIRST
from support.selection import fast_on_torch

pytestmark = fast_on_torch


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A demo of two methods on few objects, with pictures."""
    patch = pytest.MonkeyPatch()
    patch.setattr(gallery, "SHOWN", ("gradcam", "smoothgrad"))
    patch.setattr(gallery, "COUNT", 16)
    patch.setattr(gallery, "DRAWS", {ke.registry.Need.GRADIENT: 2, ke.registry.Need.BLACK_BOX: 4})
    yield gallery.make(tmp_path_factory.mktemp("demo"), images=2, progress=False, pictures=True, command="make demo")
    patch.undo()


def test_the_report_has_findings_verdicts_and_how_it_was_made(made):
    page = made.report.read_text("utf-8")
    assert "The network looks at the object that it names." in page and "By srg on 16 images, gradcam has" in page
    footer = page.split('<footer class="made">')[1]
    assert f"keras-explainable {ke.__version__} · Keras" in footer and "seed 7" in footer and "make demo" in footer
    verdicts = {row.name: row.doubtful for row in made.rows}
    assert verdicts["gradcam"] is False and verdicts["smoothgrad"] is True
    row = page.split('<article class="row" id="smoothgrad"')[1].split("</header>")[0]
    assert gallery.IGNORANT in row


def test_pictures_are_small_files_and_come_when_asked_for(made):
    names = sorted(path.name for path in made.report.parent.iterdir())
    expected = [f"scene-0{scene}_{method}.jpg" for scene in (1, 2) for method in ("gradcam", "smoothgrad")]
    assert names == sorted([*expected, "report.html"])
    assert all(path.stat().st_size < 60_000 for path in made.pictures)


def test_the_terminal_says_where_it_lies_and_what_to_do_next(made):
    text = gallery.summary(made, "make demo ARGS=--all")
    assert f"Report:   {made.report.absolute()}" in text and "make demo ARGS=--all" in text
    assert all(word in text for word in ("your own photo", "your own model", "keras-explainable web"))


def test_the_methods_that_are_shown_first_are_registered():
    assert set(SHOWN) <= set(ke.registry.METHODS) and len(SHOWN) == FIRST


def test_a_row_below_chance_is_marked():
    row = gallery.Row("m", points=0.05, verdict="Worse.")
    marked = gallery._remarked(row, 0.08)
    assert marked.doubtful and marked.verdict == "Worse. Its peaks are no better than chance."
    assert gallery._remarked(row, 0.04) == row and gallery._remarked(row, None) == row


def test_it_opens_on_a_desktop_only(monkeypatch):
    for name in ("CI", "SSH_CONNECTION", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    assert program.on_a_desktop()
    monkeypatch.setenv("CI", "true")
    assert not program.on_a_desktop()
    monkeypatch.delenv("CI")
    monkeypatch.delenv("DISPLAY")
    assert not program.on_a_desktop()


def test_the_footer_names_versions_seed_and_command():
    line = provenance.line(3, "make demo")
    assert re.fullmatch(
        r"keras-explainable [\d.]+ · Keras .+ on \w+ .* · Python 3.* · seed 3 · \d+ \w+ \d{4} · make demo", line
    )
    assert "seed" not in provenance.line()
