"""Which backend is taken, for every state that a machine can be in."""

import json
import sys

import pytest

from keras_explainable.errors import BackendError
from keras_explainable.runtime import selection


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine with some backends installed, settings of its own, and Keras not imported."""

    def prepare(installed, variable=None, file=None):
        monkeypatch.delitem(sys.modules, "keras")
        monkeypatch.setattr(selection, "find_spec", lambda name: name in installed or None)
        monkeypatch.setenv("KERAS_HOME", str(tmp_path))
        monkeypatch.delenv("KERAS_BACKEND", raising=False)
        if variable:
            monkeypatch.setenv("KERAS_BACKEND", variable)
        if file:
            (tmp_path / "keras.json").write_text(json.dumps({"backend": file}))
        selection.choose()
        return selection.configured()

    return prepare


@pytest.mark.parametrize(
    ("installed", "variable", "file", "taken"),
    [
        (["tensorflow", "jax", "torch"], None, None, "tensorflow"),
        (["jax", "torch"], None, None, "jax"),
        (["torch"], None, None, "torch"),
        (["torch"], None, "tensorflow", "torch"),  # Keras writes this file by itself
        (["tensorflow", "jax"], None, "jax", "jax"),
        (["tensorflow", "jax", "torch"], "torch", "jax", "torch"),
    ],
)
def test_a_backend_that_is_installed_is_taken(machine, installed, variable, file, taken):
    assert machine(installed, variable, file) == taken


def test_none_installed_says_how_to_install_one(machine):
    with pytest.raises(BackendError, match=r"pip install 'keras-explainable\[tensorflow\]'"):
        machine([])


def test_a_setting_that_is_not_installed_is_not_overruled(machine):
    with pytest.raises(BackendError, match=r"torch is not installed.*keras-explainable\[torch\].*KERAS_BACKEND=jax"):
        machine(["jax"], "torch")


def test_a_backend_that_we_do_not_serve(machine):
    with pytest.raises(BackendError, match="'openvino'.*runs on tensorflow, jax, torch"):
        machine(["jax"], "openvino")
