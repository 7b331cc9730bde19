"""The report: every image and map is in it, pixel by pixel, nothing comes from elsewhere, and text is no markup."""

import base64
import csv
import io
import json
import re
from hashlib import sha256
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from keras_explainable.errors import InputError
from keras_explainable.viz import data_uris
from keras_explainable.viz.html_report import FIRST, Finding, Row, Subject, paper_of, report
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
    assert head in ("data:image/png;base64", "data:image/webp;base64")
    return Image.open(io.BytesIO(base64.b64decode(data)))


def data_of(page):
    """What the script draws."""
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page)[1])


def drawn(row):
    """The values (n, h, w) of a row's maps, as the script reads them."""
    whole = np.asarray(decoded(row["uri"]).convert("L"))
    (high, wide), found = row["tile"], []
    for i, (greys, values) in enumerate(row["levels"]):
        y, x = i // row["columns"] * high, i % row["columns"] * wide
        found.append(np.interp(whole[y : y + high, x : x + wide], greys, values))
    return np.array(found)


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
    assert all(words in script for words in ("// Sort the methods", "class Enlarged", "new Enlarged(", "new Controls("))
    assert "import " not in script and "export " not in script and script.count("class Stage ") == 1


def test_nothing_is_loaded_from_elsewhere(page):
    """Links lead elsewhere; the page itself takes nothing from there."""
    assert not re.search(r"@import|<link|<script[^>]+src|<iframe|url\(", page)
    for tag, attributes in Page(page).tags:
        for name in ("src", "xlink:href", "srcset", "poster"):
            assert attributes.get(name, "data:").startswith("data:"), (tag, attributes)
        href = attributes.get("href", "#")
        assert href.startswith(("#", "data:text/csv")) or (tag == "a" and href.startswith("https://")), (tag, href)
    assert re.findall(r"https?://[^\"'<\s]+", page.split("<script>")[1]) == ["http://www.w3.org/2000/svg"]  # a name


def test_the_policy_lets_this_script_run_alone(page):
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page and "default-src 'none'; img-src data:" in page


def test_each_image_is_there_once_and_unchanged(page, subjects):
    data = data_of(page)
    assert [column["photo"] for column in data["subjects"]] == [0, 0, 1] and len(data["photos"]) == 2
    for uri, subject in zip(data["photos"], (subjects[0], subjects[2]), strict=True):
        np.testing.assert_array_equal(np.asarray(decoded(uri)), subject.image)


def test_each_map_has_words_for_it(page):
    words = [b["aria-label"] for b in Page(page).all("button") if b.get("tabindex") == "-1"]
    assert [one.split("; ")[0] for one in words[:3]] == [
        "gradcam of cat in Scene 1",
        "gradcam of dog in Scene 1",
        "gradcam of <i>&\"'</i> in Scene 2",
    ]
    assert words[0].endswith("on the object") and words[1].endswith("beside the object") and len(words) == 6


def test_each_map_is_there_to_a_few_percent_of_its_range(rng):
    y, x = np.mgrid[0:48, 0:64]
    maps = [np.exp(-((x - 20 * i) ** 2 + (y - 20) ** 2) / 200) * (i + 1) for i in range(3)]
    subjects = [Subject(rng.random((48, 64, 3)), "a", str(i)) for i in range(3)]
    page = report("", "", subjects, [Row("m", maps=maps), Row("signed", maps=[m - 0.3 for m in maps])])
    for row, shift, signed in zip(data_of(page)["rows"], (0, 0.3), (False, True), strict=True):
        assert row["tile"] == [48, 64] and row["shared"] is False
        for got, m, (_, values) in zip(drawn(row), maps, row["levels"], strict=True):
            most = np.abs(m - shift).max()
            high = np.percentile(np.abs(m - shift), 99)
            assert np.abs(got - (m - shift)).mean() < 0.03 * high
            assert values == pytest.approx([-most, -high, high, most] if signed else [m.min(), high, most], rel=1e-3)


def test_values_above_the_percentile_are_there(rng):
    """One value of 9,216 is a hundred times as large as the rest, which keep nearly all greys."""
    values = rng.random((96, 96))
    values[40, 50] = 100
    page = report("", "", [Subject(rng.random((96, 96)), "a", "b")], [Row("m", maps=[values], shared=True)])
    (row,) = data_of(page)["rows"]
    got = drawn(row)[0]
    rest = np.delete(np.abs(got - values).ravel(), 40 * 96 + 50)
    assert row["shared"] is True and row["levels"][0][1][2] == 100 and got[40, 50] > 30
    assert np.median(rest) < 0.15  # noise does not fit a lossy picture well


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


def test_the_peak_is_marked_in_shares_of_the_image(page):
    peaks = [row["peaks"] for row in data_of(page)["rows"]]
    assert peaks[0][:2] == [[0.45, 0.4375, 1], [0.45, 0.4375, 0]]  # row 3, column 4 of (8, 10): on one object alone
    constant = report("", "", [Subject(np.zeros((4, 4, 3)), "a", "b")], [Row("flat", maps=[np.ones((4, 4))])])
    assert data_of(constant)["rows"][0]["peaks"] == [[]] and "the same everywhere" in constant


def test_text_is_escaped_and_the_page_is_well_formed(page):
    parsed = Page(page)
    assert parsed.open == []
    assert "<i>&\"'</i>" in parsed.text and "What <b>it</b> is" in parsed.text and "One & two." in parsed.text
    assert "$" not in re.sub(r"\$x", "", page.split("<body>")[1].split("<script>")[0])
    assert "${" in page.split("<script>")[1] and "$${" not in page
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
    assert '<main class="no-truth">' in page and data_of(page)["subjects"][0]["outline"] == ""
    assert "the object" not in re.findall(r'tabindex="-1" aria-label="([^"]*)"', page)[0]


def test_any_image_can_be_a_subject(rng):
    grey = rng.random((3, 4, 5)).astype("float32")[:, :, :1]
    page = report("", "", [Subject(grey, "a", "b")], [Row("m", maps=[rng.random((3, 4))])])
    (uri,) = data_of(page)["photos"]
    np.testing.assert_array_equal(np.asarray(decoded(uri)), to_rgb(grey))


def test_a_row_needs_a_map_for_each_subject(subjects, rows):
    with pytest.raises(InputError, match="gradcam has 2 maps for 3 subjects"):
        report("", "", subjects, [Row("gradcam", maps=rows[0].maps[:2])])


def test_it_begins_with_what_was_found(subjects, rows):
    claim = Finding("It looks <there>.", "In 9 of 10.", [(subjects[0].image, "a cat")])
    page = report("T", "L", subjects, rows, ["A note"], [claim], ["Use gradcam."], "version 1 · seed 7")
    body = page.split("<main")[1]
    order = [
        "<h1>T",
        "It looks &lt;there&gt;.",
        "Which method to use here",
        "Use gradcam.",
        "<h2>Maps",
        "<h2>Methods",
        "A note",
    ]
    places = [body.index(text) for text in order]
    assert places == sorted(places) and "version 1 · seed 7" in body.split("<footer")[1]
    small = np.asarray(decoded(re.search(r'<img src="(data:[^"]+)" alt="a cat"', page)[1]).convert("RGB"))
    assert small.shape == subjects[0].image.shape
    assert "hidden><h2>Which" in report("T", "L", subjects, rows)


def test_all_but_the_first_methods_are_folded_by_family(subjects, rng):
    families = ["cam"] * FIRST + ["gradient", "gradient", "attention"]
    rows = [Row(f"m{i}", family, maps=rng.random((3, 8, 10))) for i, family in enumerate(families)]
    page = report("", "", subjects, rows)
    assert re.findall(r"<summary>(.*?)</summary>", page) == ["gradient: 2 more methods", "attention: 1 more method"]
    first = page.split('id="first">')[1].split("<details>")[0]
    assert re.findall(r'class="row" id="(m\d)"', first) == [f"m{i}" for i in range(FIRST)]
    assert len(data_of(page)["rows"]) == 9


def test_what_is_doubtful_is_said_where_the_maps_are(subjects, rows):
    doubtful = Row(
        "bad", "cam", points=0.1, maps=rows[0].maps, caveat="It shows edges.", verdict="Worse.", doubtful=True
    )
    row = report("", "", subjects, [doubtful]).split('<article class="row" id="bad"')[1].split("</header>")[0]
    assert '<small class="doubt">Worse.</small><small class="doubt">It shows edges.</small>' in row


def test_links_to_papers_and_pages_and_a_table_as_a_file(subjects, rows):
    assert paper_of("arXiv:1610.02391") == "https://arxiv.org/abs/1610.02391"
    assert paper_of("10.1371/journal.pone.0130140") == "https://doi.org/10.1371/journal.pone.0130140"
    linked = Row("m", reference="arXiv:1", maps=rows[0].maps, docs="https://example.org/m")
    page = report("", "", subjects, [linked, *rows])
    assert '<a href="https://example.org/m">docs</a> · <a href="https://arxiv.org/abs/1">paper</a>' in page
    text = base64.b64decode(re.search(r'href="data:text/csv;base64,([^"]+)"', page)[1]).decode()
    found = list(csv.DictReader(io.StringIO(text)))
    assert [row["method"] for row in found] == ["m", "gradcam", "signed", "random pixel"]
    assert (found[1]["seconds_per_map"], found[1]["peak_on_object"]) == ("0.0123", "0.75")


def test_the_chart_has_a_point_for_each_method_with_both_values(subjects, rows):
    chart = re.search(r'<svg class="scatter".*?</svg>', report("", "", subjects, rows))[0]
    points = re.findall(r'data-row="(\w+)"><circle cx="([\d.]+)" cy="([\d.]+)"', chart)
    assert [name for name, _, _ in points] == ["gradcam", "signed"] and "chance 10%" in chart
    (_, fast, high), (_, slow, low) = points
    assert float(fast) < float(slow) and float(high) < float(low)  # 75 % stands above 25 %
    assert "scatter" not in report("", "", subjects, rows[:1]).split("<main")[1].split("<script")[0]
