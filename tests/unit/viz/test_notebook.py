"""`ke.show`: pictures for a notebook, still and with the viewer."""

import base64
import html
import json
import re
from importlib.resources import files

import numpy as np
import pytest

import keras_explainable as ke
from keras_explainable.errors import InputError
from keras_explainable.viz import notebook, viewer_files
from support.compare import close
from support.selection import fast_on_torch

pytestmark = [fast_on_torch, pytest.mark.filterwarnings("ignore::UserWarning")]


def data_of(text):
    return json.loads(re.search(r'<script type="application/json">(.*?)</script>', text, re.DOTALL)[1])


def decoded(picture):
    steps = np.frombuffer(base64.b64decode(picture["values"]), "<u2").reshape(picture["height"], picture["width"])
    return picture["low"] + steps * (picture["high"] - picture["low"]) / 65535


@pytest.fixture(scope="module")
def explained():
    model, images = ke.demo.load_model(), ke.demo.load_scenes(2, seed=1)[0]
    return images, ke.gradcam(model, images, [[1, 2], [3, 4]], verbose=0)


def test_the_values_are_kept_to_16_bits(explained):
    images, result = explained
    for shown in (ke.show(images, result), result.show(images)):
        data = data_of(shown._repr_html_())
        assert [p["photo"] for p in data["pictures"]] == [0, 0, 1, 1] and len(data["photos"]) == 2
        for picture, (i, k) in zip(data["pictures"], np.ndindex(2, 2), strict=True):
            span = picture["high"] - picture["low"]
            close(decoded(picture), result.maps[i, ..., k], atol=max(1e-9, span / 65535))
            assert picture["label"] == f"gradcam, units[{k}], {result.scores[i, k]:.3g}"
        assert set(data["colors"]) == {"turbo", "inferno", "bwr"}


def test_several_methods_names_and_arrays(explained):
    images, result = explained
    shown = ke.show(images, {"a": result, "b": result}, names=["cat", "dog"])
    labels = [p["label"] for p in data_of(shown._repr_html_())["pictures"]]
    assert len(labels) == 8 and labels[0].startswith("a, cat, ") and labels[3].startswith("b, dog, ")
    assert len(ke.show(images, result.maps[..., 0]).pictures) == 2
    assert len(ke.show(images[0], result.maps[:1]).pictures) == 2
    assert repr(ke.show(images, result)) == "4 maps of 2 images, which a notebook shows."


def test_without_scripts_and_styles_each_map_is_a_picture(explained):
    images, result = explained
    text = result.show(images)._repr_html_()
    still = re.sub(r"<(script|style)\b.*?</\1>", "", text, flags=re.DOTALL)
    assert len(re.findall(r'<img src="data:image/png;base64,[^"]{100,}" alt="gradcam, [^"]+"', still)) == 4
    assert "<script" not in still and not re.search(r'(?:src|href)="(?!data:)', text)


def test_foreign_text_stays_text():
    values = np.random.default_rng(0).random((1, 4, 4, 1))
    evil = '</script><img src=x onerror="alert(1)">'
    text = notebook.show(np.zeros((1, 8, 8, 3)), values, names=[evil])._repr_html_()
    assert "<img src=x" not in text and text.count("</script>") == 2
    assert data_of(text)["pictures"][0]["label"] == evil and html.escape(evil) in text


def test_large_photos_are_made_smaller_and_many_maps_are_left_out():
    shown = notebook.show(np.zeros((1, 1000, 500, 3)), np.random.default_rng(0).random((1, 3, 3, 60)))
    assert shown.photos[0].shape == (512, 256, 3)
    assert "12 more maps are not shown" in shown._repr_html_() and len(shown.pictures) == notebook.MOST


@pytest.mark.parametrize("maps", [np.zeros((2, 4, 4)), np.zeros((1, 4)), np.zeros((1, 2, 2, 2, 2))])
def test_what_does_not_fit_is_refused(maps):
    with pytest.raises(InputError, match="1 images and maps of shape"):
        ke.show(np.zeros((1, 8, 8, 3)), maps)


def test_names_fit_the_units():
    with pytest.raises(InputError, match="3 names came for 2 units"):
        ke.show(np.zeros((1, 8, 8, 3)), np.zeros((1, 4, 4, 2)), names="abc")


def test_the_modules_become_one_script():
    script = viewer_files.script(viewer_files.CELL)
    assert not re.search(r"^(?:import|export)\b", script, re.MULTILINE) and "function start(root)" in script
    names = re.findall(r"^(?:const|let|class|function) (\w+)", script, re.MULTILINE)
    assert len(names) == len(set(names)) > 15
    folder = files(viewer_files.__package__) / "viewer"
    assert {f.name for f in folder.iterdir() if f.name.endswith(".js")} == {
        f"{name}.js" for name in (*viewer_files.MODULES, viewer_files.CELL)
    }
