"""The report of an evaluation: it holds the numbers, loads nothing, runs its own script alone, and shows text as text."""

import base64
import re
from hashlib import sha256
from html.parser import HTMLParser

import numpy as np
import pytest

import keras_explainable as ke
from keras_explainable.evaluation.curves import Curve
from keras_explainable.evaluation.report import disagreements
from keras_explainable.evaluation.selection import chosen_metrics
from support.selection import fast_on_torch

pytestmark = fast_on_torch

MARKED = "<b>\"'&</b>"
KNOWN = {"good": False, MARKED: False, "uniform_noise": True, "oracle": True}


@pytest.fixture
def found(rng):
    base, noise = rng.normal(0.5, 0.1, (20, 1)), rng.normal(0, 0.1, (20, 1))
    rows = [base, noise - 0.02, noise, base + 0.3]
    applied = chosen_metrics({"srg": ("srg", {"points": 5}), MARKED: "infidelity", "entropy": "entropy"}, False)
    values = np.stack([np.stack([row, 3 - row, row]) for row in rows])
    values[:, 2] = np.nan
    curves = {name: {"deletion": Curve.over(np.linspace(0, 1, 5))} for name in KNOWN}
    for curve in curves.values():
        curve["deletion"].add(rng.normal(0, 0.1, (20, 5)))
    about = {"seed": 3, "seconds": {"good": 1.5}, "left_out": {MARKED: MARKED}, "params": {MARKED: {"a": MARKED}}}
    drawn = {name: curves if name == "srg" else {} for name in applied}
    groups = np.repeat(np.arange(10), 2)
    return ke.evaluation.Evaluation(values, list(KNOWN), list(applied), KNOWN, applied, groups, about, drawn)


def page(found, tmp_path, **params):
    return found.to_html(tmp_path / "page.html", **params).read_text("utf-8")


def rows_of(text):
    table = text.split("<tbody>")[1].split("</tbody>")[0]
    return re.findall(r'<tr class="([^"]*)"><th scope="row">(.*?)</th>(.*?)</tr>', table)


def test_the_table_holds_the_numbers_and_bars_are_as_long_as_intervals(found, tmp_path):
    rows, summary = rows_of(page(found, tmp_path)), found.summary()
    assert [(kind, name) for kind, name, _ in rows] == [
        ("", "good"),
        ("grey baseline", "uniform_noise"),
        ("grey", "&lt;b&gt;&quot;&#x27;&amp;&lt;/b&gt;"),
    ]
    cells = [re.findall(r"<td.*?</td>", row) for _, _, row in rows]
    for column, metric in enumerate(("srg", MARKED)):
        shown = [summary[metric][name] for name in ("good", "uniform_noise", MARKED)]
        every = [end for cell in shown for end in (cell.low, cell.high)]
        every += [c for c in (found.chance(metric), found.oracle(metric)) if c is not None]
        width = (max(every) - min(every)) * 1.06
        for cell, row in zip(shown, cells, strict=True):
            text = row[column]
            assert f"{cell.mean:.3f} <small>[{cell.low:.3f}, {cell.high:.3f}]</small>" in text
            assert float(re.search(r'data-value="([^"]+)"', text)[1]) == pytest.approx(cell.mean, rel=1e-5)
            assert f'<span class="letters">{cell.letters}</span>' in text
            long = float(re.search(r'class="span" x="[^"]+" y="3" width="([^"]+)"', text)[1])
            assert long == pytest.approx(100 * (cell.high - cell.low) / width, rel=1e-3)
    assert all('data-value="-Infinity">–' in row[2] for row in cells)


def test_what_is_said(found, tmp_path):
    text = page(found, tmp_path)
    assert "By srg on 20 images, good has the best mean" in text.split('class="lead">')[1]
    assert "<small>higher is better</small><small>chance 0 · oracle " in text and 'class="number low"' in text
    assert "srg(points=5): The symmetric relevance gain" in text and "good 1.5" in text
    assert "10, which are resampled as a whole" in text and "entropy: 20 images without a value" in text
    points = re.search(r"stroke=\"#0072b2\" points='([^']+)'", text)[1].split()
    assert len(points) == 5 and points[0].startswith("46.0,") and points[-1].startswith("440.0,")
    random = re.search(r'<polygon class="random" points="([^"]+)"', text)[1].split()
    assert len(random) == 10


def test_nothing_is_loaded_no_other_script_runs_and_text_is_text(found, tmp_path):
    names = [MARKED] * 20
    text = page(found, tmp_path, images=np.zeros((20, 8, 8, 3), "uint8"), names=names)
    (policy,) = re.findall(r'<meta http-equiv="Content-Security-Policy" content="([^"]+)">', text)
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy and "default-src 'none'" in policy and "// Sort the" in script
    tags, attributes, words = [], [], []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, given: (tags.append(tag), attributes.extend(given))
    parser.handle_data = words.append
    parser.feed(text)
    assert "b" not in tags and not [name for name, _ in attributes if name.startswith("on")]
    assert all(v.startswith("data:image/png") for n, v in attributes if n in ("src", "href"))
    assert words.count(MARKED) > 5 and not re.search(r"https?://|@import|<link|url\(", text)


def test_images_on_which_methods_disagree_are_shown_small(found, tmp_path, rng):
    values = found.values[:2, 0, :, 0]
    expected = np.argsort(-values.std(axis=0))[:6].tolist()
    assert list(disagreements(found)) == expected
    assert disagreements(found)[expected[0]]["good"] == values[0, expected[0]]
    text = page(found, tmp_path, images=rng.integers(0, 256, (20, 400, 500, 3), "uint8"))
    assert [int(n) for n in re.findall(r'alt="image (\d+)"', text)] == expected
    import io

    from PIL import Image

    data = base64.b64decode(re.search(r"data:image/png;base64,([^\"]+)", text)[1])
    assert Image.open(io.BytesIO(data)).size == (200, 160)
    assert 'class="empty"' in page(found, tmp_path) and "<img" not in page(found, tmp_path)
    for given in ({"images": np.zeros((3, 4, 4, 3))}, {"names": ["one"]}):
        with pytest.raises(ke.errors.InputError, match="came for an evaluation of 20 images"):
            found.to_html(tmp_path / "page.html", **given)


def test_what_was_measured_is_in_its_page(tmp_path):
    from support import keras_models

    x = keras_models.images("functional", 6)
    metrics = {"srg": ("srg", {"points": 3})}
    found = ke.evaluate(keras_models.build_once("functional"), x, 0, {"mine": ("gradcam", {})}, metrics, verbose=0)
    text = page(found, tmp_path)
    assert f"{found.summary()['srg']['mine'].mean:z.3f} <small>" in text and '<th scope="row">Versions' in text
