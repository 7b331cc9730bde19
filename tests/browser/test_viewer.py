"""The viewer outside of the page: the output of a notebook's cell, in a page that allows nothing from elsewhere."""

import numpy as np
import pytest

from keras_explainable.viz import notebook

playwright = pytest.importorskip("playwright.sync_api")
expect = playwright.expect
pytestmark = pytest.mark.browser
HEAD = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>cell</title><meta http-equiv="Content-Security-Policy" '
    "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'\"></head><body{}><main>"
)
VALUES = np.linspace(-1, 3, 2 * 12 * 16).reshape(2, 12, 16, 1)


def cell(photos=2, **kept):
    images = np.random.default_rng(0).integers(0, 256, (photos, 24, 32, 3), "uint8")
    return notebook.show(images, VALUES[:photos], **kept)._repr_html_()


@pytest.fixture
def open_page(chromium, tmp_path):
    contexts = []

    def opened(text, body="", **options):
        path = tmp_path / "cell.html"
        path.write_text(HEAD.format(body) + text + "</main></body></html>")
        contexts.append(chromium.new_context(viewport={"width": 900, "height": 700}, **options))
        page = contexts[-1].new_page()
        page.lines = []
        page.on("console", lambda line: page.lines.append(line.text))
        page.on("pageerror", lambda error: page.lines.append(str(error)))
        page.goto(path.as_uri())
        return page

    yield opened
    for context in contexts:
        context.close()


def test_the_viewer_runs_in_a_cell(open_page):
    page = open_page(cell())
    expect(page.locator(".kx-card")).to_have_count(2)
    expect(page.locator(".kx-static")).to_have_count(0)
    ends = page.locator(".kx-card").nth(1).locator(".kx-ends span").all_inner_texts()
    assert ends[0] == "1.01" and float(ends[2]) < 3  # the 99th percentile
    page.get_by_label("Colours").select_option("inferno")
    page.locator("input[type=range]").first.fill("30")
    expect(page.locator(".kx-card canvas.kx-map").first).to_have_css("opacity", "0.3")
    page.locator(".kx-card").first.focus()
    page.keyboard.press("]")
    expect(page.locator(".kx-card canvas.kx-map").first).to_have_css("opacity", "0.35")
    page.keyboard.press("Enter")
    expect(page.locator("dialog.kx-large")).to_be_visible()
    box = page.locator("dialog .kx-stage").bounding_box()
    page.mouse.move(box["x"] + 1, box["y"] + 1)
    expect(page.locator(".kx-value")).to_have_text("row 0, column 0: -1")
    assert abs(box["width"] / box["height"] - 16 / 12) < 0.01 and page.lines == []


def test_several_cells_do_not_meddle(open_page):
    page = open_page(cell() + cell(1))
    expect(page.locator(".kx-card")).to_have_count(3)
    page.locator("input[type=range]").first.fill("10")
    shown = [
        c.evaluate("c => getComputedStyle(c.parentNode).getPropertyValue('--kx-opacity')")
        for c in page.locator(".kx-map").all()
    ]
    assert sorted(shown)[0] == "0.1" and "0.75" in shown and page.lines == []


def test_without_scripts_it_stands_still(open_page):
    page = open_page(cell(), java_script_enabled=False)
    pictures = page.locator(".kx-static img")
    expect(pictures).to_have_count(2)
    expect(pictures.first).to_be_visible()
    assert pictures.first.bounding_box()["width"] > 30


@pytest.mark.parametrize(
    ("body", "dark"), [(' data-jp-theme-light="false"', True), (' data-jp-theme-light="true"', False), ("", True)]
)
def test_it_is_dark_in_a_dark_notebook(body, dark, open_page):
    page = open_page(cell(1), body, color_scheme="dark")
    expect(page.locator(".kx-card")).to_have_count(1)
    background = page.locator(".kx-shown").evaluate("e => getComputedStyle(e).backgroundColor")
    assert (background == "rgb(20, 21, 24)") == dark


def test_nothing_that_axe_knows_is_wrong(open_page):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = open_page(cell())
    expect(page.locator(".kx-card")).to_have_count(2)
    found = axe.run(page, options={"rules": {"page-has-heading-one": {"enabled": False}}}).response["violations"]
    assert [(rule["id"], [node["html"][:200] for node in rule["nodes"]]) for rule in found] == []
