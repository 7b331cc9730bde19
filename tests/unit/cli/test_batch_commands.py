"""`keras-explainable batch` and `status`."""

import json

import pytest

pytest.importorskip("typer")
pytest.importorskip("zarr")
from typer.testing import CliRunner

from keras_explainable import cli, distributed
from support import tiny_network
from support.selection import fast_on_torch

pytestmark = fast_on_torch
MODEL = ["--model", "support.tiny_network:make"]
QUICK = [*MODEL, "--engine", "local", "--batch-size", "8", "--quiet"]


def run(*words):
    return CliRunner().invoke(cli.app(), [str(word) for word in words])


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return tiny_network.folder(tmp_path_factory.mktemp("photos"), 20)


def test_batch_explains_and_status_tells(photos, tmp_path):
    out = tmp_path / "out"
    words = ["batch", photos, out, *QUICK, "-m", "gradcam", "-m", "smoothgrad", "--repetitions", 2, "--unit", "top-2"]
    done = run(*words)
    assert done.exit_code == 0, done.output
    assert "20 of 23 images explained, 0 left, 3 set aside" in done.output
    assert distributed.open(out, "smoothgrad")["a/0001.png"].shape == (16, 16, 2)
    settings = json.loads((out / "run.json").read_text())["settings"]
    assert settings["method"]["smoothgrad"] == ["smoothgrad", {"repetitions": 2}]
    told = run("status", out, "--verify")
    assert told.exit_code == 0 and "b/text.jpg: " in told.output
    assert run(*words, "--strict").exit_code == 1
    (out / "parts" / "00001.json").unlink()
    told = run("status", out)
    assert told.exit_code == 1 and "8 left" in told.output
    assert run(*words).exit_code == 0


def test_what_is_damaged_is_told_and_redone(photos, tmp_path):
    out = tmp_path / "out"
    assert run("batch", photos, out, *QUICK).exit_code == 0
    shard = out / "maps.zarr/maps/c/0/0/0/0"
    shard.write_bytes(shard.read_bytes()[:-1])
    told = run("status", out, "--verify")
    assert told.exit_code == 1 and "Damaged: 1 parts, such as 00000" in told.output
    assert run("batch", photos, out, *QUICK, "--verify").exit_code == 0
    assert run("status", out, "--verify").exit_code == 0


@pytest.mark.parametrize(
    "words, message",
    [
        (["--method", "gradcamm"], "Did you mean gradcam?"),
        (["--unit", "-1"], "y='-1' came, and unit indices were expected"),
        (["--storage-options", "{"], "JSON was expected"),
        (["--storage-options", "[]"], "an object was expected"),
        (["--engine", "spark"], "'spark' is not one of"),
        (["--part-size", "12"], "a multiple of batch_size=8"),
        (["--size", "axb"], "HxW such as 240x320"),
    ],
)
def test_what_is_wrong_is_said(photos, tmp_path, words, message):
    done = run("batch", photos, tmp_path / "out", *QUICK, *words)
    assert done.exit_code in (1, 2)
    assert message in " ".join(done.output.replace("│", " ").split())
    assert not (tmp_path / "out" / "run.json").exists()


def test_a_folder_without_a_run(tmp_path):
    told = run("status", tmp_path)
    assert told.exit_code == 1 and "There is no run in" in told.output
