"""The report: every image and map is in it, pixel by pixel, nothing comes from elsewhere, and text is no markup."""

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from keras_explainable.errors import InputError
from keras_explainable.viz import data_uris
from keras_explainable.viz.html_report import Row, Subject, report
from keras_explainable.viz.image import to_rgb
from support.selection import fast_on_torch

pytestmark = fast_on_torch


class Page(HTMLParser):
    """The tags of a page with their attributes, and all text."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.open, self.text = [], [], ""
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "img", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag  # everything is closed in order

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data

    def all(self, name):
        return [attributes for tag, attributes in self.tags if tag == name]


def decoded(uri):
    head, data = uri.split(",")
    assert head == "data:image/png;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


@pytest.fixture
def subjects(rng):
    images = rng.integers(0, 256, (2, 8, 10, 3), "uint8")
    mask = np.zeros((8, 10), bool)
    mask[2:5, 3:7] = True
    return [
        Subject(images[0], "Scene 1", "cat", "score 1.50", mask),
        Subject(images[0], "Scene 1", "dog", "score 0.50", ~mask),
        Subject(images[1], "Scene 2", "<i>&\"'</i>", "$x"),
    ]


@pytest.fixture
def rows(rng):
    on = np.zeros((8, 10))
    on[3, 4] = 1
    maps = [on, on, rng.random((4, 5))]
    return [
        Row("gradcam", "cam", "One & two.", "arXiv:1610.02391", 0.0123, 0.75, 0.5, maps),
        Row("signed", "gradient", seconds=2.5, points=0.25, mass=0.125, maps=[m - 0.5 for m in maps]),
        Row("random pixel", "chance", points=0.1),
    ]


@pytest.fixture
def page(subjects, rows):
    return report("A title", "What <b>it</b> is", subjects, rows, ["First note"])


def test_the_script_sorts_and_enlarges(page):
    script = page.split("<script>")[1]
    assert all(words in script for words in ("// Sort the methods", "// Enlarge", 'one("#theme")', 'one("#heat")'))


def test_nothing_is_loaded_from_elsewhere(page):
    assert not re.search(r"https?://|@import|<link|<script[^>]+src|<iframe", page)
    for tag, attributes in Page(page).tags:
        for name in ("src", "href", "xlink:href", "srcset", "poster"):
            assert attributes.get(name, "#").startswith(("#", "data:")), (tag, attributes)
    assert set(re.findall(r"url\((.{5})", page)) == {"data:"}


def test_each_image_is_there_once_and_unchanged(page, subjects):
    photos = [np.asarray(decoded(uri)) for uri in re.findall(r"url\((data:[^)]+)\)", page)]
    assert len(photos) == 2
    np.testing.assert_array_equal(photos[0], subjects[0].image)
    np.testing.assert_array_equal(photos[1], subjects[2].image)


def test_each_map_is_there_with_words_for_it(page):
    maps = Page(page).all("img")
    assert [decoded(m["src"]).size for m in maps] == [(10, 8), (10, 8), (5, 4)] * 2
    assert [m["alt"].split("; ")[0] for m in maps[:3]] == [
        "gradcam of cat in Scene 1",
        "gradcam of dog in Scene 1",
        "gradcam of <i>&\"'</i> in Scene 2",
    ]
    assert maps[0]["alt"].endswith("on the object") and maps[1]["alt"].endswith("beside the object")


def test_a_map_is_red_and_opaque_at_its_peak_and_faint_at_its_lowest():
    values = np.zeros((20, 20))
    values[3, 5:15] = 1.0
    colors = np.asarray(decoded(data_uris.heat(values)).convert("RGBA"))
    np.testing.assert_array_equal(colors[3, 5], [128, 0, 0, 255])
    np.testing.assert_array_equal(colors[0, 0], [0, 0, 128, 26])
    signed = np.asarray(decoded(data_uris.heat(values - 2 * values.T)).convert("RGBA"))
    np.testing.assert_array_equal(signed[5, 3], [0, 0, 255, 255])  # lowest: blue
    assert signed[0, 0, :3].min() >= 254 and signed[0, 0, 3] <= 27  # zero: faint


@pytest.mark.parametrize("seed", range(5))
def test_the_outline_goes_around_every_pixel_of_the_mask(seed):
    mask = np.random.default_rng(seed).random((6, 7)) < 0.5
    walls = set()  # each unit of an edge, as its two ends
    for x, y, way, length in re.findall(r"M(\d+) (\d+)([hv])(\d+)", data_uris.edges(mask)):
        for step in range(int(length)):
            start = (int(x) + step, int(y)) if way == "h" else (int(x), int(y) + step)
            walls.add((start, way))
    inside = {(x, y) for y, x in np.argwhere(mask)}
    expected = set()
    for x in range(-1, 8):
        for y in range(-1, 7):
            if ((x, y) in inside) != ((x + 1, y) in inside):
                expected.add(((x + 1, y), "v"))
            if ((x, y) in inside) != ((x, y + 1) in inside):
                expected.add(((x, y + 1), "h"))
    assert walls == expected


def test_the_peak_is_marked_in_pixels_of_the_image(page):
    marks = re.findall(r'class="peak" transform="translate\(([\d.]+) ([\d.]+)\)', page)
    assert marks[0] == ("4.5", "3.5")  # row 3, column 4 of (8, 10)
    constant = report("", "", [Subject(np.zeros((4, 4, 3)), "a", "b")], [Row("flat", maps=[np.ones((4, 4))])])
    assert "translate(" not in constant.split("<main")[1].split('<div class="panel grid"')[1]
    assert "the same everywhere" in constant


def test_text_is_escaped_and_the_page_is_well_formed(page):
    parsed = Page(page)
    assert parsed.open == []
    assert "<i>&\"'</i>" in parsed.text and "What <b>it</b> is" in parsed.text and "One & two." in parsed.text
    assert "$" not in re.sub(r"\$x", "", page.split("<body>")[1].split("<script>")[0])
    for name in ("viewport", "lang", "prefers-color-scheme"):
        assert name in page


def test_the_table_says_what_each_row_is_worth(page):
    table = page.split("<h2>Methods</h2>")[1]
    cells = [re.sub(r"<[^>]+>", "|", row) for row in re.findall(r"<tr[^>]*><th scope=\"row\".*?</tr>", table)]
    numbers = [re.findall(r"[\d.]+ (?:%|s|ms)|–", row) for row in cells]
    assert numbers == [["12.3 ms", "75 %", "50 %"], ["2.50 s", "25 %", "12 %"], ["–", "10 %", "–"]]
    assert re.findall(r"--share:([\d.]+)", table) == ["0.7500", "0.5000", "0.2500", "0.1250", "0.1000"]


def test_without_masks_nothing_is_said_of_objects(rng):
    page = report("", "", [Subject(rng.random((4, 4)), "a", "b")], [Row("m", maps=[rng.random((4, 4))])])
    assert '<main class="no-truth">' in page and "<path id" not in page
    assert "the object" not in re.findall(r'alt="([^"]*)"', page)[0]


def test_any_image_can_be_a_subject(rng):
    grey = rng.random((3, 4, 5)).astype("float32")[:, :, :1]
    page = report("", "", [Subject(grey, "a", "b")], [Row("m", maps=[rng.random((3, 4))])])
    (uri,) = re.findall(r"url\((data:[^)]+)\)", page)
    np.testing.assert_array_equal(np.asarray(decoded(uri)), to_rgb(grey))


def test_a_row_needs_a_map_for_each_subject(subjects, rows):
    with pytest.raises(InputError, match="gradcam has 2 maps for 3 subjects"):
        report("", "", subjects, [Row("gradcam", maps=rows[0].maps[:2])])
