"""What editors and type checkers see of the shortcuts: the signatures that they have when they are used."""

import subprocess
import sys
from pathlib import Path

import pytest

import keras_explainable as ke
from keras_explainable import public_names
from support.selection import fast_on_torch, very_slow_compiled

pytestmark = fast_on_torch
ROOT = Path(__file__).resolve().parents[2]
CODE = """
import keras_explainable as ke

scores, maps = ke.gradcam(object(), [1], "predicted", layer="conv")
ke.smoothgrad(object(), [1], repetitions="many")
ke.gradcam(object(), [1], layr="conv")
reveal_type(ke.rise)
"""


@pytest.mark.skipif(not (ROOT / "tools" / "stubs.py").exists(), reason="the tools are not installed with the package")
def test_the_file_is_up_to_date(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    from tools import stubs

    assert stubs.FILE.read_text(encoding="utf-8") == stubs.text(), "out of date: run make stubs"


def test_it_names_every_method():
    assert public_names.method_names() == sorted(ke.registry.METHODS)


@very_slow_compiled
def test_mypy_sees_wrong_arguments(tmp_path):
    pytest.importorskip("mypy")
    (tmp_path / "user.py").write_text(CODE)
    command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), str(tmp_path / "user.py")]
    said = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300).stdout
    assert 'user.py:5: error: Argument "repetitions" to "smoothgrad" has incompatible type "str"' in said, said
    assert 'user.py:6: error: Unexpected keyword argument "layr" for "gradcam"' in said
    assert "user.py:7: note: Revealed type" in said and "Explanation" in said and "user.py:4" not in said
