"""The page in Chromium: images, classes, layers and methods."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

import keras_explainable as ke
from support.chromium import SECONDS, Tab

playwright = pytest.importorskip("playwright.sync_api")
expect = playwright.expect
pytestmark = pytest.mark.browser


def photo(height=30, width=40, kind="PNG", seed=0):
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), "uint8")).save(buffer, kind)
    return buffer.getvalue()


def files(*given):
    return [{"name": name, "mimeType": "image/png", "buffer": data} for name, data in given]


def transfer(page, event, target, name, data):
    """Drop or paste a file, as the browser does."""
    page.evaluate(
        """([event, target, name, data]) => {
          const file = new File([Uint8Array.from(atob(data), (c) => c.charCodeAt(0))], name, { type: "image/png" });
          const moved = new DataTransfer();
          moved.items.add(file);
          const element = document.querySelector(target);
          element.dispatchEvent(event === "paste" ? new ClipboardEvent("paste", { clipboardData: moved, bubbles: true })
            : new DragEvent(event, { dataTransfer: moved, bubbles: true, cancelable: true }));
        }""",
        [event, target, name, base64.b64encode(data).decode()],
    )


def test_the_empty_page_says_what_to_do(tab):
    expect(tab.get_by_text("Choose an image, and see where the network looks.")).to_be_visible()
    expect(tab.locator("article")).to_have_count(0)
    samples = tab.locator("#samples img")
    expect(samples).to_have_count(8)
    assert all(samples.nth(i).evaluate("image => image.naturalWidth") == 96 for i in range(8))
    assert tab.asked("POST", "api/") == 0


def test_what_is_prepared_is_said(context, server, monkeypatch):
    monkeypatch.setattr(server.room, "preparing", ["gradcam", "layers"])
    tab = Tab(context, server.url)
    expect(tab.locator("#preparing")).to_have_text("Being prepared, once: gradcam, layers. First maps take longer.")
    monkeypatch.setattr(server.room, "preparing", [])
    expect(tab.locator("#preparing")).to_have_text("")
    count = tab.asked("GET", "api/status")
    tab.wait_for_timeout(1500)
    assert tab.asked("GET", "api/status") == count  # it asks no more


def test_a_scene_is_explained_by_two_methods(tab):
    tab.scene()
    expect(tab.locator("article")).to_have_count(2)
    expect(tab.card("gradcam").locator("canvas.kx-map")).to_have_attribute("aria-label", "gradcam of cross")
    expect(tab.locator("#photo")).to_be_visible()


def test_a_chosen_image_is_shown_as_the_model_sees_it(tab):
    tab.locator("#file").set_input_files(files(("my photo.png", photo(60, 80))))
    tab.done(2)
    expect(tab.locator("#fit")).to_have_text("80 x 60 stretched to 96 x 96")
    assert tab.locator("#photo").evaluate("image => [image.naturalWidth, image.naturalHeight]") == [96, 96]
    sources = {tab.locator("#photo").get_attribute("src")} | {
        tab.locator("article .kx-photo").nth(i).get_attribute("src") for i in range(2)
    }
    assert len(sources) == 1
    expect(tab.locator("#images button")).to_have_attribute("aria-label", "my photo.png")


@pytest.mark.parametrize("event", ["drop", "paste"])
def test_an_image_is_dropped_or_pasted(event, tab):
    transfer(tab.page, event, "#grid" if event == "drop" else "body", "photo.png", photo())
    tab.done(2)
    expect(tab.locator("#images button")).to_have_count(1)


def test_several_images_are_kept_and_each_can_be_shown(tab):
    tab.locator("#file").set_input_files(files(*((f"{i}.png", photo(seed=i)) for i in range(3))))
    expect(tab.locator("#images button")).to_have_count(3)
    tab.done(2)
    first = tab.locator("#photo").get_attribute("src")
    expect(tab.locator("#images button").nth(0)).to_have_attribute("aria-pressed", "true")
    tab.locator("#images button").nth(2).click()
    expect(tab.locator("#images button").nth(2)).to_have_attribute("aria-pressed", "true")
    assert tab.locator("#photo").get_attribute("src") != first
    tab.done(2)


def test_24_images_at_most(tab):
    tab.locator("#file").set_input_files(files(*((f"{i}.png", photo(8, 8, seed=i)) for i in range(26))))
    expect(tab.locator("#images button")).to_have_count(24)
    expect(tab.locator("#problem")).to_have_text("26 files came, and the first 24 are taken.")


def test_what_is_no_image_is_said_beside_the_drop_zone_and_the_image_stays(tab):
    tab.scene()
    before = tab.locator("#photo").get_attribute("src")
    tab.locator("#file").set_input_files(
        files(("run.exe.png", b"MZ" + bytes(200)), ("cut.png", photo()[:400]), ("large.png", bytes((20 << 20) + 1)))
    )
    expect(tab.locator("#problem")).to_contain_text("large.png has 20 MB, and 20 MB at most were expected.")
    said = tab.locator("#problem").inner_text()
    assert "run.exe.png: This file is not an image, and a PNG, JPEG or WebP file was expected." in said
    assert (
        "cut.png: This file cannot be read as an image. It may be cut short or damaged" in said and "Error" not in said
    )
    assert tab.locator("#photo").get_attribute("src") == before
    expect(tab.locator("article")).to_have_count(2)
    tab.errors = [line for line in tab.errors if "400" not in line]  # Chromium says so of every refused request


def test_the_top_classes_are_radios_with_scores(tab, server):
    tab.scene()
    radios = tab.locator("#classes input[type=radio]")
    expect(radios).to_have_count(5)
    expect(radios.first).to_be_checked()
    loaded = server.room.loaded
    scores = ke.loading.scores(loaded, loaded.preprocess(ke.demo.load_scenes(8, seed=7)[0][2:3]))[0]
    best = np.argsort(-scores)[:5]
    shown = tab.locator("#classes .score").all_inner_texts()
    assert shown == [f"{scores[i]:.2f}" for i in best]
    widths = tab.locator("#classes .bar span").evaluate_all("all => all.map(one => one.offsetWidth)")
    assert widths == sorted(widths, reverse=True) and widths[0] > 50
    tab.get_by_label("dotted disk").first.click()
    tab.done(2)
    expect(tab.card("gradcam").locator("canvas.kx-map")).to_have_attribute("aria-label", "gradcam of dotted disk")


def test_any_unit_by_number_or_name(tab):
    tab.scene()
    unit = tab.locator("#unit")
    for typed, name in (("3", ke.demo.CLASSES[3]), (ke.demo.CLASSES[9].upper(), ke.demo.CLASSES[9])):
        unit.fill(typed)
        unit.press("Enter")
        tab.done(2)
        expect(tab.card("gradcam").locator("canvas.kx-map")).to_have_attribute("aria-label", f"gradcam of {name}")
    for wrong, said in (("10", "The model has units 0 to 9."), ("zebra", "No unit is named zebra.")):
        unit.fill(wrong)
        unit.press("Enter")
        expect(tab.locator("#unit-problem")).to_have_text(said)


def test_a_second_unit_contrasts(tab):
    tab.scene()
    pixels = "canvas => [...canvas.getContext('2d').getImageData(0, 0, 96, 96).data].join()"
    alone = tab.card("gradcam").locator("canvas.kx-map").evaluate(pixels)
    tab.get_by_role("button", name="Contrast with dotted disk").click()
    expect(tab.locator("#against")).to_have_text("Why cross rather than dotted disk?")
    tab.done(2)
    expect(tab.card("gradcam").locator("canvas.kx-map")).to_have_attribute(
        "aria-label", "gradcam of cross rather than dotted disk"
    )
    assert tab.card("gradcam").locator("canvas.kx-map").evaluate(pixels) != alone
    tab.get_by_role("button", name="Contrast with dotted disk").click()
    expect(tab.locator("#against")).to_be_hidden()
    tab.done(2)
    assert tab.card("gradcam").locator("canvas.kx-map").evaluate(pixels) == alone


def test_layers_are_listed_in_order_and_compared(tab, server):
    options = tab.locator("#layer option").all_inner_texts()
    paths = list(server.room.layers)
    assert [option.split()[0] for option in options[1:]] == paths
    assert " ".join(options[1].split()[1:]) == " x ".join(map(str, server.room.layers[paths[0]]))
    tab.scene()
    tab.locator("#layer").select_option(paths[2])
    tab.done(2)
    expect(tab.card("gradcam", paths[2])).to_have_count(1)
    expect(tab.card("full_gradients")).to_have_count(1)  # it takes no layer
    for number in (3, 6):
        tab.locator("#compare").select_option(str(number))
        tab.done(number + 1)
        shown = [c.get_attribute("data-layer") for c in tab.locator('article[data-method="gradcam"]').all()]
        assert shown[0] == paths[0] and shown[-1] == paths[-1] and shown == [p for p in paths if p in shown]


def test_all_methods_are_listed_by_family_with_what_they_are(tab):
    methods = ke.methods.list()
    assert tab.locator(".method .name").all_inner_texts() == [record.name for record in methods]
    expect(tab.locator("#methods details")).to_have_count(6)
    row = tab.method("deconvnet")
    row.get_by_role("button", name="About deconvnet").click()
    record = ke.registry.METHODS["deconvnet"]
    for text in (record.summary, f"Cost: {record.cost}.", record.caveat):
        expect(row.locator(".more")).to_contain_text(" ".join(text.split()))
    assert row.locator(".more a").get_attribute("href").startswith("https://")
    assert row.locator(".more a").get_attribute("rel") == "noreferrer noopener"


def test_methods_are_found_by_name_and_by_what_they_do(tab):
    search = tab.locator("#search")
    search.fill("layer relevance")
    assert 0 < tab.locator(".method:visible").count() < 12
    search.fill("grad cam")
    assert {"gradcam", "gradcampp", "smooth_gradcampp"} <= set(tab.locator(".method:visible .name").all_inner_texts())
    search.fill("nothing has this name")
    assert tab.locator("#methods details:visible").count() == 0
    search.fill("")
    assert tab.locator(".method:visible").count() == len(ke.registry.METHODS)


def test_methods_that_cannot_run_are_disabled_with_the_reason(tab):
    row = tab.method("attention_rollout")
    expect(row.locator("input")).to_be_disabled()
    expect(row.locator(".why")).to_contain_text("No attention probabilities can be seen in this model")
    described = row.locator("input").get_attribute("aria-describedby")
    assert row.locator(".why").get_attribute("id") == described
    expect(tab.method("gradcam").locator("input")).to_be_enabled()


def test_ticking_adds_a_card_and_computes_nothing_else(tab):
    tab.scene()
    before = tab.asked("POST", "api/maps")
    tab.tick("gradients")
    tab.done(3)
    assert tab.asked("POST", "api/maps") == before + 1
    tab.tick("gradients")
    expect(tab.locator("article")).to_have_count(2)
    assert tab.asked("POST", "api/maps") == before + 1


def test_unticking_stops_what_is_computed(tab, server):
    tab.scene()
    tab.locator("#most").fill("1000")
    tab.locator("#most").press("Enter")
    tab.tick("rise")
    expect(tab.card("rise")).to_have_class("busy")
    with tab.page.expect_request(lambda request: request.method == "DELETE"):
        tab.tick("rise")
    expect(tab.locator("article")).to_have_count(2)
    tab.wait_for_timeout(1 * SECONDS)
    assert server.room.lanes.running["long"] is None
