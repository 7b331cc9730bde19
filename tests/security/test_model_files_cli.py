"""The command line: modules come from what is installed, and from folders that were said aloud; nowhere else."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest

from keras_explainable import cli, versions
from support.selection import very_slow_compiled

pytestmark = very_slow_compiled

SOURCE = Path(cli.__file__).resolve().parents[2]
NETS = """
import keras

def make():
    return keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(2, 3), keras.layers.Flatten()])
"""
pytest.importorskip("typer")


@pytest.fixture
def started(tmp_path):
    """Runs the command as it is installed, from a folder in which modules are planted; returns the process."""
    script = tmp_path / "bin" / "keras-explainable"
    script.parent.mkdir()
    script.write_text("from keras_explainable.cli import main\nmain()\n")
    here = tmp_path / "here"
    here.mkdir()
    (here / "nets.py").write_text(NETS)
    for name in ("typer", "rich", "PIL", "keras_cv", "numpy", "sitecustomize", "nets2"):
        (here / f"{name}.py").write_text(f"open({str(tmp_path / 'marker')!r}, 'a').write({name!r})\n")

    def run(*words, **settings):
        environment = {k: v for k, v in os.environ.items() if k not in ("KERAS_BACKEND", "PYTHONPATH")}
        environment |= {"PYTHONPATH": str(SOURCE), "KERAS_BACKEND": keras.backend.backend(), **settings}
        command = [sys.executable, str(script), *map(str, words)]
        return subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True, timeout=300)

    yield run
    assert not (tmp_path / "marker").exists(), "a module was imported from the current folder"


def test_nothing_is_imported_from_the_current_folder_when_the_command_starts_itself_anew(started):
    other = next(name for name in ("torch", "jax", "tensorflow") if name != keras.backend.backend())
    pytest.importorskip(other)
    made = started("layers", "demo", "--backend", other)
    assert made.returncode == 0 and "conv" in made.stdout.lower(), made.stderr


def test_a_factory_comes_from_a_folder_that_is_said(started):
    refused = started("layers", "nets:make")
    assert refused.returncode == 1 and "--path DIR" in refused.stderr, refused.stderr
    found = started("layers", "nets:make", "--path", ".")
    assert found.returncode == 0 and "Conv2D" in found.stdout, found.stderr


@pytest.mark.parametrize(("library", "old"), [("keras", "3.15.0"), ("keras", "3.9"), ("keras", "2.15.0rc1")])
def test_files_are_not_given_to_readers_with_known_holes(library, old, tmp_path, monkeypatch):
    from keras_explainable import demo, loading
    from keras_explainable.errors import ModelFileError

    demo.load_model().save(tmp_path / "model.keras")
    monkeypatch.setattr(versions, "version", lambda name: {library: old}[name])
    with pytest.raises(ModelFileError, match=f'keras {old} is installed.*pip install "keras>=3.15.1"'):
        loading.load(tmp_path / "model.keras")
    assert loading.load("demo").size == (96, 96)  # which is our own


@pytest.mark.parametrize("old", ["10.4.0", "12.3.0"])
def test_images_are_not_given_to_a_pillow_with_known_holes(old, tmp_path, monkeypatch):
    image = pytest.importorskip("PIL.Image")
    from keras_explainable import viz
    from keras_explainable.errors import ModelFileError

    image.new("RGB", (3, 2)).save(tmp_path / "image.png")
    assert viz.image_files.read_image(tmp_path / "image.png").shape == (2, 3, 3)
    monkeypatch.setattr(versions, "version", lambda name: old)
    with pytest.raises(ModelFileError, match=f'pillow {old} is installed.*pip install "pillow>=13"'):
        viz.image_files.read_image(tmp_path / "image.png")


def test_the_bounds_are_those_of_the_package():
    import tomllib

    project = tomllib.loads((SOURCE.parent / "pyproject.toml").read_text())["project"]
    bounds = {
        *project["dependencies"],
        *(bound for extra in project["optional-dependencies"].values() for bound in extra),
    }
    for library, first in versions.FIRST.items():
        assert f"{library}>={'.'.join(map(str, first))}" in bounds
        assert not any(b.startswith(f"{library}>=") and b != f"{library}>={'.'.join(map(str, first))}" for b in bounds)
        versions.check(library)
