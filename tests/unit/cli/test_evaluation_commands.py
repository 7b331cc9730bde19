"""`keras-explainable evaluate`, `trust` and `metrics`."""

import csv
import html
import re

import numpy as np
import pytest
from PIL import Image

import keras_explainable as ke
from support.compare import close
from support.selection import very_slow_compiled

pytest.importorskip("typer")
from typer.testing import CliRunner

from keras_explainable import cli

FEW = ["--metric", "srg", "-m", "gradcam", "-m", "layercam"]


def run(*words):
    return CliRunner().invoke(cli.app(), [str(word) for word in words])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    images, labels, masks = ke.demo.load_scenes(3, seed=7)
    place = tmp_path_factory.mktemp("photos")
    (place / "masks").mkdir()
    for n, (image, label, mask) in enumerate(zip(images, labels, masks, strict=True)):
        Image.fromarray(image).save(place / f"{n}.png")
        Image.fromarray(mask[np.argmax(label)]).save(place / "masks" / f"{n}.png")
    return place


def test_metrics_are_listed_with_what_they_need():
    result = run("metrics")
    assert result.exit_code == 0
    row = next(line for line in result.output.splitlines() if line.startswith("srg "))
    assert row.split()[1:5] == ["faithfulness", "model", "higher", "0"]
    assert all(f"\n{record.name} " in result.output for record in ke.metrics.list())


@very_slow_compiled
def test_a_folder_without_masks_is_answered_in_words(folder, tmp_path):
    files = ["--csv", tmp_path / "values.csv", "--html", tmp_path / "report.html"]
    result = run("evaluate", folder, *FEW, *files)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["srg"] and "gradcam" in lines[1]
    assert "By srg on 3 images, " in lines[-1] and "has the best mean" in lines[-1]
    rows = list(csv.DictReader((tmp_path / "values.csv").open()))
    images = [np.asarray(Image.open(folder / f"{n}.png")) for n in range(3)]
    model, x = ke.demo.load_model(), np.stack(images).astype("float32")
    maps = ke.gradcam(model, x, "predicted", postprocessing=None, verbose=0).maps
    expected = ke.metrics.srg(model, x, "predicted", maps).values[:, 0]
    found = [float(r["value"]) for r in rows if r["method"] == "gradcam"]
    close(found, expected, atol=1e-4)
    page = (tmp_path / "report.html").read_text("utf-8")
    assert lines[-1] in html.unescape(page) and sorted(re.findall(r'alt="(.*?)"', page)) == ["0.png", "1.png", "2.png"]
    assert f"{np.mean(found):.3f} <small>[" in page
    (tmp_path / "values.csv").unlink()
    again = run("evaluate", folder, *FEW, *files)
    assert again.exit_code == 1 and "report.html exists: add --overwrite" in " ".join(again.stderr.split())
    (tmp_path / "values.csv").touch()
    again = run("evaluate", folder, *FEW, "--csv", tmp_path / "values.csv")
    assert again.exit_code == 1 and "exists: add --overwrite" in again.stderr


@very_slow_compiled
def test_masks_are_found_by_name(folder):
    result = run("evaluate", folder, *FEW, "--metric", "mass_accuracy", "--masks", folder / "masks")
    assert result.exit_code == 0, result.output
    oracle = next(line for line in result.stdout.splitlines() if line.startswith("(oracle)"))
    assert oracle.endswith("1.000 [1.000, 1.000]")
    other = run("evaluate", folder, *FEW, "--masks", folder)  # each image is its own mask
    assert other.exit_code == 0


@very_slow_compiled
def test_units_have_the_names_of_a_file(folder, tmp_path):
    names = [f"thing {n}" for n in range(len(ke.demo.CLASSES))]
    (tmp_path / "labels.txt").write_text("\n".join(names))
    given = ["--labels", tmp_path / "labels.txt", "--unit", "thing 3"]
    result = run("trust", folder / "0.png", "--quick", *given)
    assert result.exit_code == 0, result.output
    assert "The map of gradcam for thing 3 is " in result.stdout
    by_name, by_number = (run("evaluate", folder, *FEW, *words) for words in (given, ["--unit", "3"]))
    assert by_name.exit_code == 0, by_name.output
    assert by_name.stdout == by_number.stdout


def test_wrong_words_are_refused(folder, tmp_path):
    (tmp_path / "one.txt").write_text("cat")
    for words, said in (
        (["--metric", "sgr"], "No metric is named 'sgr'"),
        (["--metric", "mass_accuracy"], "mass_accuracy needs --masks DIR"),
        (["--metric", "single_deletion"], "Use ke.evaluate with objects="),
        (["-m", "gradcm"], "Did you mean"),
        (["--minutes", "0"], "minutes"),
        (["--masks", tmp_path], "No mask in"),
        (["--labels", tmp_path / "one.txt"], "the model has 10 units"),
    ):
        result = run("evaluate", folder, *words)
        assert result.exit_code in (1, 2) and said in " ".join(result.stderr.split()), result.stderr


@very_slow_compiled
def test_trust_prints_a_card_and_writes_it(folder, tmp_path):
    result = run("trust", folder / "0.png", "--quick", "--html", tmp_path / "card.html")
    assert result.exit_code == 0, result.output
    x = np.asarray(Image.open(folder / "0.png"))[None].astype("float32")
    card = ke.trust(ke.demo.load_model(), x, quick=True)
    name = ke.demo.CLASSES[card.unit]
    assert f"The map of gradcam for {name} is {card.verdict}." in result.stdout
    page = html.unescape((tmp_path / "card.html").read_text("utf-8"))
    for check in card.checks.values():
        assert check.said[1:] in result.stdout and check.said[1:] in page
    again = run("trust", folder / "0.png", "--quick", "--html", tmp_path / "card.html")
    assert again.exit_code == 1 and "exists: add --overwrite" in " ".join(again.stderr.split())
    two = run("trust", folder / "0.png", "--unit", "top-2")
    assert two.exit_code == 1 and "--unit top-2 names 2 units" in two.stderr
