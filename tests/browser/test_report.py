"""The report in Chromium: the viewer that the page and notebooks have, in one file that may load nothing."""

import re

import numpy as np
import pytest

from keras_explainable.viz.html_report import Row, Subject, report

playwright = pytest.importorskip("playwright.sync_api")
expect = playwright.expect
pytestmark = pytest.mark.browser
HEIGHT, WIDTH = 24, 32
HARMFUL = "</script><script>document.title = 'run'</script><img src=x onerror=\"document.title = 'run'\">"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A report of three subjects, of which the last has another shape and no known object, and its maps."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    hill = np.exp(-((x - 8) ** 2 + (y - 6) ** 2) / 60)
    mask = (abs(x - 8) < 5) & (abs(y - 6) < 5)
    image = rng.integers(0, 256, (HEIGHT, WIDTH, 3), "uint8")
    subjects = [
        Subject(image, "scene", "cat", "score 1", mask),
        Subject(image, "scene", "dog", "score 0", ~mask),
        Subject(rng.random((30, 20, 3)), HARMFUL, HARMFUL),
    ]
    rows = [
        Row("gradcam", "cam", "A hill.", "arXiv:1610.02391", 0.01, 0.5, 0.5, [hill, hill, hill]),
        Row("signed", "gradient", "Ups and downs.", maps=[hill - 0.5, hill - 0.5, hill - 0.5]),
        Row("together", "cam", "On one scale.", maps=[hill, 3 * hill, hill], shared=True),
        Row("flat", "cam", caveat=HARMFUL, maps=[np.ones_like(hill)] * 3),
    ]
    place = tmp_path_factory.mktemp("report") / "report.html"
    place.write_text(report("T", "L", subjects, rows, [HARMFUL]), encoding="utf-8")
    return place.as_uri(), hill


@pytest.fixture
def opened(chromium, made):
    contexts = []

    def open_(address="", width=1400, **options):
        contexts.append(chromium.new_context(viewport={"width": width, "height": 900}, **options))
        page = contexts[-1].new_page()
        page.said, page.asked = [], []
        page.on("console", lambda line: page.said.append(line.text) if "willReadFrequently" not in line.text else None)
        page.on("pageerror", lambda error: page.said.append(str(error)))
        page.on("request", lambda request: page.asked.append(request.url[:40]))
        page.goto(made[0] + address)
        page.wait_for_selector("html[data-ready]")
        return page

    yield open_
    for context in contexts:
        assert context.pages[0].said == []
        context.close()


def maps(page, row):
    return page.locator(f'[id="{row}"] .strip .kx-stage')


def colors(stage):
    """The colours (H, W, 4) on a stage's canvas."""
    found = stage.locator("canvas").evaluate(
        "c => [c.height, c.width, ...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]"
    )
    return np.array(found[2:]).reshape(found[0], found[1], 4)


def changed(page, stage, act):
    """The colours after an act, once they are painted."""
    before = colors(stage)
    act()
    page.wait_for_timeout(200)
    return before, colors(stage)


def test_the_controls_ask_for_nothing(opened):
    page = opened()
    stage = maps(page, "gradcam").first
    page.asked.clear()
    page.locator(".kx-controls input[type=range]").first.fill("30")
    expect(page.locator(".kx-controls output").first).to_have_text("30 %")
    page.wait_for_timeout(200)
    assert colors(stage)[..., 3].max() == round(0.3 * 255)
    before, after = changed(page, stage, lambda: page.get_by_label("Colours").select_option("inferno"))
    assert before[6, 8, 3] > 70 and (before != after).any()
    before, after = changed(page, stage, lambda: page.locator(".kx-controls input[type=range]").nth(1).fill("90"))
    assert (before != after).any()
    expect(stage.locator("img")).to_have_css("filter", "grayscale(1)")
    page.get_by_role("checkbox", name="Grey photo").uncheck()
    expect(stage.locator("img")).to_have_css("filter", "none")
    page.keyboard.press("]")
    page.wait_for_timeout(200)
    assert colors(stage)[..., 3].max() == round(0.35 * 255)
    page.locator("#gradcam .strip button").first.focus()
    page.keyboard.down(" ")
    expect(stage.locator("canvas")).to_have_css("opacity", "0")
    page.keyboard.up(" ")
    expect(stage.locator("canvas")).to_have_css("opacity", "1")
    assert [url for url in page.asked if not url.startswith(("data:", "blob:"))] == []


def test_signed_maps_have_their_own_colours_and_key(opened):
    page = opened()
    expect(page.locator("#signed-scale")).to_be_visible()
    at_peak, far = colors(maps(page, "signed").first)[6, 8], colors(maps(page, "signed").first)[-1, -1]
    assert at_peak[0] > 200 > at_peak[2] and far[2] > 200 > far[0]  # red for the class, blue against it


def test_the_peak_and_the_object_are_marked(opened):
    page = opened()
    on, beside = maps(page, "gradcam").nth(0), maps(page, "gradcam").nth(1)
    for stage, is_beside in ((on, False), (beside, True)):
        expect(stage.locator(".kx-peak")).to_be_visible()
        assert ("kx-beside" in stage.locator(".kx-peak").get_attribute("class")) == is_beside
    style = on.locator(".kx-peak").get_attribute("style")
    assert f"top: {100 * 6.5 / HEIGHT:.4f}"[:11] in style and f"left: {100 * 8.5 / WIDTH:.4f}"[:12] in style
    expect(on.locator("path")).to_have_count(2)
    expect(maps(page, "gradcam").nth(2).locator("path")).to_have_count(0)  # its object is not known
    page.get_by_role("checkbox", name="Object").uncheck()
    expect(on.locator("path")).to_have_count(0)
    page.get_by_role("checkbox", name="Outline").check()
    expect(on.locator("path")).to_have_count(2)
    page.get_by_role("checkbox", name="Peak").uncheck()
    expect(on.locator(".kx-peak")).to_be_hidden()
    expect(maps(page, "flat").first.locator(".kx-peak")).to_be_hidden()


def test_maps_on_one_scale_can_be_compared(opened):
    page = opened()
    weak, strong, other = (colors(stage)[6, 8] for stage in maps(page, "together").all())
    own = colors(maps(page, "gradcam").first)[6, 8]
    assert (strong == own).all() and (other == own).all()  # of another image
    assert (weak != own).any() and weak[3] < 150  # a third of the scale


def test_the_enlarged_map_reads_values_and_follows_the_arrows(opened, made):
    page, hill = opened("#signed/2"), made[1]
    dialog = page.locator("dialog.kx-large")
    expect(dialog).to_be_visible()
    expect(page.locator("h2", has_text="signed of dog in scene")).to_be_visible()
    box = dialog.locator(".kx-stage").bounding_box()
    for row, column in ((3, 4), (20, 30), (12, 8)):
        page.mouse.move(
            box["x"] + (column + 0.5) * box["width"] / WIDTH, box["y"] + (row + 0.5) * box["height"] / HEIGHT
        )
        text = dialog.locator(".kx-value").inner_text()
        assert text.startswith(f"row {row}, column {column}: about ")
        assert abs(float(text.split()[-1]) - (hill[row, column] - 0.5)) < 0.05
    page.keyboard.press("ArrowUp")
    expect(page.locator("h2", has_text="gradcam of dog in scene")).to_be_visible()
    expect(dialog.locator(".kx-about a")).to_have_attribute("href", "https://arxiv.org/abs/1610.02391")
    page.keyboard.press("ArrowRight")
    assert page.url.endswith("#gradcam/3")
    box = dialog.locator(".kx-stage").bounding_box()
    assert abs(box["width"] / box["height"] - 20 / 30) < 0.01
    page.get_by_label("The photo alone").click()
    expect(dialog.locator("canvas.kx-map")).to_have_css("opacity", "0")
    page.keyboard.press("Escape")
    expect(page).to_have_url(re.compile("#gradcam$"))
    assert page.evaluate("document.activeElement.ariaLabel").startswith("gradcam of </script>")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.ariaLabel").startswith("signed of dog")


def test_a_phone_shows_one_at_a_time_and_nothing_sideways(opened):
    page = opened(width=390)
    expect(page.locator("#gradcam .strip button:visible")).to_have_count(1)
    page.get_by_role("button", name="On", exact=True).click()
    expect(page.locator("#where")).to_have_text("2 of 3")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    maps(page, "gradcam").nth(1).click()
    box = page.locator("dialog.kx-large").bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= 390


def test_names_are_text(opened):
    page = opened("#flat/3")
    assert page.title() == "T" and page.locator("img[src=x]").count() == 0
    expect(page.locator(".kx-about p").first).to_contain_text("<script>document.title = 'run'</script>")


def test_every_map_is_printed(opened):
    page = opened(width=390)
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    expect(page.locator(".row .strip button:visible")).to_have_count(12)
    assert all(colors(stage)[..., 3].min() > 0 for stage in page.locator(".row .kx-stage").all())
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    expect(page.locator(".row .strip button:visible")).to_have_count(4)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 390])
def test_nothing_that_axe_knows_is_wrong(opened, width, theme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = opened("#gradcam/1", width=width, color_scheme=theme, bypass_csp=True)
    for _ in range(2):  # enlarged, and not
        found = axe.run(page).response["violations"]
        assert [(rule["id"], [node["html"][:200] for node in rule["nodes"]]) for rule in found] == []
        page.keyboard.press("Escape")
