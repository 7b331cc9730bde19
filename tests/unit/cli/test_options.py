"""Options that explain, compare and dump share: units by name, layers, repetitions, maps as numbers, and one scale."""

import re

import keras
import numpy as np
import pytest
from PIL import Image

import keras_explainable as ke

pytest.importorskip("typer")
from typer.testing import CliRunner

from keras_explainable import cli
from keras_explainable.cli.explanation_job import Job, Sources
from support.compare import close
from support.selection import fast_on_torch

pytestmark = fast_on_torch
NAMES = [f"class {i}" for i in range(len(ke.demo.CLASSES))]


def run(*words):
    return CliRunner().invoke(cli.app(), [str(word) for word in words])


@pytest.fixture
def photos(tmp_path):
    """A folder of two scenes, and a file of other names for the classes."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, scene in zip("ab", ke.demo.load_scenes(2, seed=7)[0], strict=True):
        Image.fromarray(scene).save(folder / f"{name}.png")
    (tmp_path / "labels.txt").write_text("\n".join(NAMES))
    return folder


def words_of(command, photos):
    return [command, photos] if command == "dump" else [command, photos / "a.png", photos / "b.png"]


@pytest.mark.parametrize("command", ["explain", "compare", "dump"])
def test_all_three_take_the_same_options_and_write_into_the_same_folder(command, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = ["--unit", "class 3", "--labels", tmp_path / "labels.txt", "--layer", "block1_output", "--fit", "crop"]
    result = run(*words_of(command, photos), "--method", "gradcam", "--repetitions", 3, "--npz", *options)
    assert result.exit_code == 0, result.output
    name = "compared" if command == "compare" else "gradcam"
    assert {path.name for path in (tmp_path / "explained").iterdir()} == {f"a_{name}.png", f"b_{name}.png", "maps.npz"}
    found = np.load(tmp_path / "explained" / "maps.npz")
    scenes = ke.demo.load_scenes(2, seed=7)[0].astype("float32")
    maps = ke.gradcam(ke.demo.load_model(), scenes, 3, layer="block1_output", verbose=0).maps
    close(found["gradcam"].reshape(maps.shape), maps, atol=1e-5)
    assert found["images"].tolist() == ["a.png", "b.png"]
    again = run(*words_of(command, photos), "--method", "gradcam", "--npz", "--unit", 3)
    assert again.exit_code == 1 and "exists" in again.stderr


@pytest.mark.parametrize("command", ["compare", "dump"])
def test_one_unit_only(command, photos, tmp_path):
    result = run(*words_of(command, photos), "--unit", "top-2", "--out", tmp_path / "out")
    assert result.exit_code == 2 and "one unit of each image" in " ".join(result.stderr.replace("│", " ").split())


def test_labels_of_another_number(photos, tmp_path):
    (tmp_path / "labels.txt").write_text("cat\ndog\n")
    result = run("explain", photos / "a.png", "--labels", tmp_path / "labels.txt")
    text = " ".join(result.stderr.replace("│", " ").split())
    assert result.exit_code == 2 and f"has 2 lines, and the model has {len(NAMES)} units" in text


def test_quick_is_six_methods_of_different_families(photos, tmp_path):
    from keras_explainable.gallery import QUICK

    result = run("explain", photos / "a.png", "-m", "quick", "--repetitions", 2, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert {path.name for path in (tmp_path / "out").iterdir()} == {f"a_{name}.png" for name in QUICK}
    assert len({ke.registry.METHODS[name].family for name in QUICK}) == 5


def test_comparing_all_methods_says_how_long_it_takes(photos, tmp_path, monkeypatch):
    chosen = {name: ke.registry.METHODS[name] for name in ("gradcam", "gradients", *ke.gallery.QUICK)}
    monkeypatch.setattr(ke.registry, "METHODS", chosen)
    result = run("compare", photos / "a.png", "--repetitions", 1, "--out", tmp_path / "out")
    assert re.search(
        r"^7 methods take about \d+ (seconds|minutes); --method quick runs 6 of them, in about", result.stderr
    )


def job(photos, **params):
    loaded = ke.load()
    return Job(loaded, Sources([photos / "a.png"], [""], 10**6), "top-2", {}, **params)


def test_on_one_scale_the_weaker_class_is_weaker(photos):
    apart, together = job(photos), job(photos, shared_scale=True)
    each = apart.run(["gradcam"], {})["gradcam"][1][0]
    both = together.run(["gradcam"], {})["gradcam"][1][0]
    assert each.max(axis=(0, 1)).min() > 0.9 and both.max(axis=(0, 1))[1] < 2 * both.max(axis=(0, 1))[0]
    raw = ke.gradcam(
        ke.demo.load_model(), together.inputs, together.units, postprocessing=ke.filters.positive, verbose=0
    )
    close(both, raw.maps[0], atol=1e-5)
    low, high = together._limits(both)
    assert low == 0 and high == pytest.approx(np.percentile(both, 99)) and apart._limits(each) is None


def test_the_probability_is_said_where_the_model_has_one(photos, tmp_path):
    images = keras.Input((96, 96, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(keras.layers.Rescaling(1 / 255)(images)))
    model = keras.Model(images, keras.layers.Dense(3, activation="softmax")(x))
    model.save(tmp_path / "model.keras")
    result = run("explain", photos / "a.png", "--model", tmp_path / "model.keras", "--unit", 1, "--out", tmp_path)
    scene = ke.demo.load_scenes(1, seed=7)[0].astype("float32")
    share = model.predict(scene, verbose=0)[0, 1]
    assert re.search(rf"unit 1 -?[\d.]+ \({share:.0%}\)", result.stdout), result.output
    assert job(photos).shares is None  # the embedded model ends without a softmax


def test_a_file_that_shows_no_layers_is_explained_at_its_input():
    from keras_explainable.cli import options

    assert options.chosen_methods(None, "net.pt2") == options.chosen_methods([], "a/net.pth") == ["gradients"]
    assert options.chosen_methods(None, None) == ["gradcam"] and options.chosen_methods(["rise"], "x.pt") == ["rise"]
