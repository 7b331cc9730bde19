"""The page in Chromium: cards, drawing, progress, links, exports, keys, small and dark windows."""

import io
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import keras_explainable as ke
from support.chromium import SECONDS, Tab
from support.compare import close
from support.web_server import within

playwright = pytest.importorskip("playwright.sync_api")
expect = playwright.expect
pytestmark = pytest.mark.browser
PIXELS = "canvas => [...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data].join()"


def pixels(tab, method="gradcam"):
    return tab.card(method).locator("canvas.kx-map").evaluate(PIXELS)


def busy_rise(tab, number=1000):
    tab.locator("#most").fill(str(number))
    tab.locator("#most").press("Enter")
    tab.tick("rise")
    expect(tab.card("rise").locator(".state")).to_contain_text("/", timeout=60 * SECONDS)


def test_drawing_asks_for_nothing(tab):
    tab.scene()
    number, before = len(tab.requests), pixels(tab)
    tab.get_by_label("Colours").select_option("inferno")
    inferno = pixels(tab)
    assert inferno != before
    tab.locator("input[type=range]").nth(1).fill("95")
    assert pixels(tab) != inferno
    tab.locator("input[type=range]").nth(0).fill("20")
    expect(tab.card("gradcam").locator("canvas.kx-map")).to_have_css("opacity", "0.2")
    expect(tab.card("gradcam").locator("img")).to_have_css("filter", "grayscale(1)")
    tab.get_by_label("Grey photo").uncheck()
    expect(tab.card("gradcam").locator("img")).to_have_css("filter", "none")
    tab.get_by_label("Peak").check()
    expect(tab.card("gradcam").locator(".kx-peak")).to_be_visible()
    tab.get_by_label("Outline").check()
    assert "h1" in tab.card("gradcam").locator("path").first.get_attribute("d")
    tab.locator("#theme").click()
    assert tab.requests[number:] == []


def test_colours_limits_and_peak_are_those_of_the_library(tab, server):
    tab.scene()
    loaded = server.room.loaded
    values = ke.gradcam(loaded.model, loaded.preprocess(ke.demo.load_scenes(8, seed=7)[0][2:3]), 8, verbose=0).maps[
        0, ..., 0
    ]
    tab.get_by_label("Peak").check()
    from keras_explainable.viz import colormaps, image

    low, high = colormaps.limits_of([values.astype(float)], False, 99)
    drawn = np.array(list(map(int, pixels(tab).split(",")))).reshape(96, 96, 4)
    at = colormaps.scale(values.astype(float), (low, high))
    opaque = at > 0.9  # a canvas keeps colours times their opacity, in 8 bits
    assert opaque.any() and np.abs(drawn[..., :3][opaque] - 255 * colormaps.colorize(at, "turbo")[opaque]).max() < 6
    assert np.abs(drawn[..., 3] - 255 * image.opacity(at, False)).max() < 2
    places = (
        tab.card("gradcam").locator(".kx-peak").evaluate("e => [parseFloat(e.style.top), parseFloat(e.style.left)]")
    )
    close(places, [100 * (at + 0.5) / 96 for at in image.peak(values)], atol=1e-3)
    ends = tab.card("gradcam").locator(".kx-ends span").all_inner_texts()
    close([float(ends[0]), float(ends[2])], [low, high], atol=5e-4)


def test_signed_maps_have_their_own_key(tab, server, monkeypatch):
    from keras_explainable.web import work

    ramp = np.linspace(-2, 1, 96 * 96, dtype="<f4").reshape(96, 96)
    monkeypatch.setattr(work, "explained", lambda *given: ramp)
    tab.locator("#most").fill("77")
    tab.locator("#most").press("Enter")
    tab.scene(7)
    tab.tick("smoothgrad")
    tab.done(3)
    tab.locator("input[type=range]").nth(1).fill("100")
    assert tab.card("smoothgrad").locator(".kx-ends span").all_inner_texts() == ["-2", "0", "2"]
    drawn = np.array(list(map(int, pixels(tab, "smoothgrad").split(",")))).reshape(96, 96, 4)
    assert drawn[0, 0, 2] > 240 and drawn[0, 0, 0] < 10  # blue below zero
    assert drawn[-1, -1, 0] > 240 and drawn[-1, -1, 3] < 160  # red above, half as far


def test_space_held_shows_the_photo_alone(tab):
    tab.scene()
    canvas = tab.card("gradcam").locator("canvas.kx-map")
    tab.locator("body").press("Tab")
    tab.page.evaluate("document.activeElement.blur()")
    tab.keyboard.down(" ")
    expect(canvas).to_have_css("opacity", "0")
    expect(tab.card("gradcam").locator("img")).to_have_css("filter", "none")
    tab.keyboard.up(" ")
    expect(canvas).to_have_css("opacity", "0.75")


def test_the_enlarged_map_tells_the_value_under_the_pointer(tab, server):
    tab.scene()
    loaded = server.room.loaded
    values = ke.gradcam(loaded.model, loaded.preprocess(ke.demo.load_scenes(8, seed=7)[0][2:3]), 8, verbose=0).maps[
        0, ..., 0
    ]
    tab.card("gradcam").focus()
    tab.keyboard.press("Enter")
    dialog, value = tab.locator("dialog.kx-large"), tab.locator(".kx-value")
    expect(dialog).to_be_visible()
    expect(dialog.locator("h2")).to_have_text("gradcam of cross")
    row, column = np.unravel_index(values.argmax(), values.shape)
    expect(value).to_contain_text(f"row {row}, column {column}: ")
    box = dialog.locator(".kx-stage").bounding_box()
    tab.mouse.move(box["x"] + box["width"] * 70.5 / 96, box["y"] + box["height"] * 30.5 / 96)
    expect(value).to_contain_text("row 30, column 70: ")
    close(float(value.inner_text().split(": ")[1]), values[30, 70], atol=5e-4)
    tab.keyboard.press("Shift+ArrowDown")
    expect(value).to_contain_text("row 31, column 70: ")
    tab.keyboard.press("ArrowRight")
    expect(dialog.locator("h2")).to_have_text("full_gradients of cross")
    tab.keyboard.press("ArrowLeft")
    tab.keyboard.press("]")
    expect(dialog.locator("canvas.kx-map")).to_have_css("opacity", "0.8")
    tab.keyboard.press("Escape")
    expect(dialog).to_be_hidden()


def test_progress_and_stop_and_no_card_changes_its_height(tab):
    tab.scene()
    heights = lambda: {c.get_attribute("data-method"): c.bounding_box()["height"] for c in tab.locator("article").all()}  # noqa: E731
    before = heights()
    busy_rise(tab)
    during = heights()
    count = tab.card("rise").locator(".state").inner_text()
    done, of = map(int, count.split(" / "))
    assert 0 < done <= of
    start = time.perf_counter()
    tab.card("rise").get_by_role("button", name="Stop").click()
    expect(tab.card("rise").locator(".state")).to_have_text("stopped")
    assert time.perf_counter() - start < 1
    after = heights()
    assert before.items() <= during.items() and during == after and len(set(after.values())) == 1


def test_escape_stops_all(tab, server):
    tab.scene()
    busy_rise(tab)
    tab.tick("lime")
    expect(tab.card("lime").locator(".state")).to_have_text("waits for 1")  # its place
    tab.page.evaluate("document.activeElement.blur()")
    tab.keyboard.press("Escape")
    for method in ("rise", "lime"):
        expect(tab.card(method).locator(".state")).to_have_text("stopped")
    assert within(2, lambda: server.room.lanes.running["long"] is None)
    expect(tab.card("gradcam").locator(".kx-map")).to_be_visible()


def test_errors_are_on_the_card_in_the_words_of_the_library(tab, server, monkeypatch):
    from keras_explainable.web import work

    tab.scene()
    height = tab.card("gradcam").bounding_box()["height"]

    def fail(*given):
        raise ke.errors.LayerError("This model has no <b>layer</b>: give another one. " * 20)

    monkeypatch.setattr(work, "explained", fail)
    tab.tick("hirescam")
    card = tab.card("hirescam")
    expect(card.locator(".state")).to_have_text("failed")
    expect(card.locator(".text")).to_contain_text("This model has no <b>layer</b>: give another one.")
    assert card.bounding_box()["height"] == height


def test_a_link_restores_the_page_in_a_second_tab(tab, context):
    tab.scene(3)
    tab.tick("gradients")
    tab.done(3)
    tab.locator("#unit").fill("5")
    tab.locator("#unit").press("Enter")
    tab.done(3)
    tab.get_by_label("Colours").select_option("inferno")
    tab.locator("input[type=range]").nth(0).fill("40")
    tab.locator("#copy-link").click()
    expect(tab.locator("#said")).to_contain_text("The link is copied.")
    link = tab.evaluate("navigator.clipboard.readText()")
    second = Tab(context, link)
    second.done(3)
    assert [c.get_attribute("data-method") for c in second.locator("article").all()] == [
        "gradcam",
        "full_gradients",
        "gradients",
    ]
    expect(second.locator("#classes input:checked")).to_have_value("5")
    expect(second.get_by_label("Colours")).to_have_value("inferno")
    expect(second.card("gradcam").locator(".kx-map")).to_have_css("opacity", "0.4")
    assert pixels(second) == pixels(tab) and second.url == link and second.errors == []


def test_a_link_to_an_upload_works_as_long_as_it_is_here(tab, context, server):
    buffer = io.BytesIO()
    Image.new("RGB", (50, 50), "teal").save(buffer, "PNG")
    tab.locator("#file").set_input_files([{"name": "a.png", "mimeType": "image/png", "buffer": buffer.getvalue()}])
    tab.done(2)
    second = Tab(context, tab.url)
    second.done(2)
    assert second.locator("#photo").get_attribute("src") == tab.locator("#photo").get_attribute("src")
    third = Tab(context, tab.url.split("#")[0] + "#i=" + "0" * 32)
    expect(third.locator("#problem")).to_have_text("The image of this link is no longer here: give it again.")


def test_a_link_can_only_name_what_is_known(context, server):
    wrong = "#m=gradcam,__proto__,%3Cimg%20src=x%3E,nothing&u=-1&v=x&l=..%2F..%2Fetc&w=99&o=900&c=%3Cb%3E&s=99&n=0"
    tab = Tab(context, server.url.split("?")[0] + f"?token={server.guard.token}" + wrong)
    expect(tab.locator("#empty")).to_be_visible()
    tab.scene()
    expect(tab.locator("article")).to_have_count(1)
    assert tab.errors == []


def test_exports(tab, server):
    tab.scene()
    with tab.page.expect_download() as picture:
        tab.locator("#save-png").click()
    assert (
        Path(picture.value.path()).read_bytes().startswith(b"\x89PNG")
        and picture.value.suggested_filename == "maps.png"
    )
    with tab.page.expect_download() as report:
        tab.locator("#save-report").click()
    text = Path(report.value.path()).read_text()
    assert report.value.suggested_filename == "report.html" and "full_gradients" in text and "http://127" not in text
    with tab.page.expect_download() as arrays:
        tab.locator("#save-arrays").click()
    found = np.load(io.BytesIO(Path(arrays.value.path()).read_bytes()))
    assert sorted(found) == ["full_gradients", "gradcam", "image", "unit"] and str(found["unit"]) == "cross"


def test_copied_code_makes_the_same_maps(tab, server):
    tab.scene()
    tab.tick("full_gradients")
    tab.tick("smoothgrad")
    tab.locator("#most").fill("7")
    tab.locator("#most").press("Enter")
    tab.tick("gradcam")
    tab.tick("gradcam")
    tab.locator("#layer").select_option(list(server.room.layers)[4])
    tab.done(2)
    tab.locator("#copy-code").click()
    expect(tab.locator("#said")).to_contain_text("copied")
    code = tab.evaluate("navigator.clipboard.readText()")
    assert "repetitions=7" in code and 'layer="' in code and code.startswith("import keras_explainable as ke\n")
    made = {}
    exec(code.replace("ke.utils.visualize", "(lambda *given, **named: None)"), made)
    with tab.page.expect_download() as arrays:
        tab.locator("#save-arrays").click()
    found = np.load(io.BytesIO(Path(arrays.value.path()).read_bytes()))
    (name,) = [key for key in found if key.startswith("gradcam")]
    close(made["maps"][0, ..., 0], found[name])


def test_keys(tab):
    tab.scene()
    tab.page.evaluate("document.activeElement.blur()")
    tab.keyboard.press("2")
    expect(tab.locator("#classes input").nth(1)).to_be_checked()
    tab.keyboard.press("[")
    expect(tab.locator("input[type=range]").first).to_have_value("70")
    tab.keyboard.press("/")
    expect(tab.locator("#search")).to_be_focused()
    tab.keyboard.type("5 ]")
    expect(tab.locator("#search")).to_have_value("5 ]")
    tab.locator("#search").fill("guided_gradcam")
    tab.keyboard.press("Enter")
    expect(tab.method("guided_gradcam").locator("input")).to_be_checked()
    tab.locator("#search").fill("")
    tab.keyboard.press("Escape")
    tab.keyboard.press("?")
    expect(tab.locator("#keys")).to_be_visible()
    tab.keyboard.press("Escape")
    expect(tab.locator("#keys")).to_be_hidden()


def test_cards_are_moved_by_alt_and_arrows(tab):
    order = lambda: [c.get_attribute("data-method") for c in tab.locator("article").all()]  # noqa: E731
    tab.scene()
    number = tab.asked("POST", "api/maps")
    tab.card("gradcam").focus()
    tab.keyboard.press("ArrowRight")
    expect(tab.card("full_gradients")).to_be_focused()
    tab.keyboard.press("Alt+ArrowLeft")
    assert order() == ["full_gradients", "gradcam"] and "m=full_gradients%2Cgradcam" in tab.url
    expect(tab.card("full_gradients")).to_be_focused()
    assert tab.asked("POST", "api/maps") == number


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 390])
def test_nothing_that_axe_knows_is_wrong(scheme, width, chromium, server):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()

    def wrong():
        found = axe.run(tab.page).response["violations"]
        return [(rule["id"], [node["html"][:200] for node in rule["nodes"]]) for rule in found]

    context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    try:
        tab = Tab(context, server.url)
        assert wrong() == []
        tab.scene()
        assert wrong() == []
        tab.card("gradcam").focus()
        tab.keyboard.press("Enter")
        assert wrong() == []
    finally:
        context.close()


def test_dark_by_the_button(tab):
    background = lambda: tab.page.evaluate("getComputedStyle(document.body).backgroundColor")  # noqa: E731
    light = background()
    tab.locator("#theme").click()
    assert background() != light
    expect(tab.locator("#theme")).to_have_text("Light")
    tab.locator("#theme").click()
    assert background() == light


def test_a_phone_shows_image_classes_maps_and_methods_in_a_sheet(chromium, server):
    context = chromium.new_context(viewport={"width": 390, "height": 844}, has_touch=True)
    try:
        tab = Tab(context, server.url)
        tab.scene()
        tops = [tab.locator(s).first.bounding_box()["y"] for s in ("#photo", "#classes", "article")]
        assert tops == sorted(tops)
        assert tab.page.evaluate("document.documentElement.scrollWidth") == 390
        expect(tab.locator("#search")).to_be_hidden()
        tab.locator("#open-sheet").click()
        expect(tab.locator("#search")).to_be_visible()
        tab.tick("gradients")
        tab.locator("#close-sheet").click()
        expect(tab.locator("#search")).to_be_hidden()
        tab.done(3)
        tab.card("gradients").locator(".kx-stage").tap()
        expect(tab.locator("dialog.kx-large")).to_be_visible()
        assert tab.page.evaluate("document.documentElement.scrollWidth") == 390
        tab.locator("dialog.kx-large").get_by_role("button", name="Close").click()
        assert tab.errors == []
    finally:
        context.close()
