"""How the command line starts: quickly, with the backend that is asked for, and without the log lines of frameworks."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import keras_explainable as ke

pytest.importorskip("typer")
from architecture.arrows import FRAMEWORKS
from keras_explainable import cli
from keras_explainable.cli import backends
from support.selection import BACKEND, slow

SRC = str(Path(__file__).resolve().parents[3] / "src")
IMPORTED = re.compile(r"^import time: .*\| +([\w.-]+)\n", re.M)
HEAVY = {"keras", "numpy", "h5py", "scipy", "matplotlib", "PIL", *FRAMEWORKS}
WRONG = {
    ("explode",): "No such command 'explode'",
    ("explain", "photo.png", "--colour"): "No such option: --colour",
    ("explain", "photo.png", "--backend", "mxnet"): "'mxnet' is not one of",
    ("explain",): "Missing argument 'IMAGE'",
    ("explain", "photo.png", "-m", "gradcm"): "no method 'gradcm'. Did you mean gradcam?",
    ("compare", "photo.png", "--method", "Integrated-Gradients"): "Did you mean integrated_gradients?",
    ("trust", "photo.png", "-m", "qqq"): "no method 'qqq': use one of ablationcam,",
}


def program(*words, options=(), **environment):
    """What a command returns and writes as a program of its own, in a terminal that sets nothing for frameworks."""
    quiet = backends.QUIET.keys()
    environment = {k: v for k, v in os.environ.items() if k not in quiet} | {"PYTHONPATH": SRC} | environment
    command = [sys.executable, *options, "-m", "keras_explainable.cli", *words]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    return done.returncode, done.stdout, done.stderr


def light(*words, **environment):
    """The same of a command that imports nothing heavy."""
    code, out, err = program(*words, options=["-X", "importtime"], **environment)
    imported = {name.partition(".")[0] for name in IMPORTED.findall(err)}
    assert "keras_explainable" in imported and HEAVY.isdisjoint(imported)
    return code, out, IMPORTED.sub("", err.replace("import time: self [us] | cumulative | imported package\n", ""))


@pytest.mark.parametrize("command", [None, *(command.callback.__name__ for command in cli.app().registered_commands)])
def test_help_imports_no_framework(command):
    code, out, err = light(*filter(None, [command]), "--help")
    assert code == 0 and err == "" and "Usage: keras-explainable" in out


def test_the_version_imports_no_framework():
    assert light("--version") == (0, f"keras-explainable {ke.__version__}\n", "")


@pytest.mark.parametrize("words", WRONG)
def test_wrong_words_are_refused_without_a_framework(words):
    code, out, err = light(*words)
    assert code == 2 and out == ""
    assert WRONG[words] in " ".join(err.replace("│", " ").split())


@pytest.mark.parametrize(
    "words", [["explain", "no.png"], ["explain", "no.png", "--model", "no.keras"], ["layers", "no.h5"]]
)
def test_a_wrong_path_is_refused_without_a_framework(words):
    code, out, err = light(*words)
    assert code == 1 and out == "" and err.startswith("Error: There is no ") and "Check the path." in err


def test_help_needs_no_backend():
    assert light("--help", KERAS_BACKEND="openvino")[0] == 0
    code, out, err = program("methods", KERAS_BACKEND="openvino")
    assert (code, out, err.count("\n")) == (1, "", 1) and err.startswith("Error: KERAS_BACKEND='openvino'")


@slow
def test_no_log_line_of_a_framework_is_in_the_output():
    code, out, err = program("layers", "demo", KERAS_BACKEND=BACKEND)
    assert (code, err) == (0, "") and out.startswith("layer ")


@slow
def test_users_of_the_library_keep_their_log_lines():
    code = "import os, keras; before = {**os.environ}; import keras_explainable as ke; ke.gradcam; assert before == os.environ"
    command = [sys.executable, "-c", code]
    assert subprocess.run(command, env=os.environ | {"PYTHONPATH": SRC}).returncode == 0


@pytest.mark.parametrize("words", [["--backend", "torch"], ["--backend=torch"], ["--model", "net.pt2"]])
def test_a_backend_is_set_before_keras_is_imported(monkeypatch, words):
    monkeypatch.delitem(sys.modules, "keras")
    monkeypatch.setenv("KERAS_BACKEND", "jax" if words[0] != "--model" else "")
    monkeypatch.setattr(backends, "find_spec", lambda name: True)
    monkeypatch.setattr(os, "execv", lambda *_: pytest.fail("the process was restarted"))
    backends.select(["layers", *words])
    assert os.environ["KERAS_BACKEND"] == "torch"


def test_what_is_written_while_keras_is_imported_is_dropped(capfd):
    with pytest.raises(ImportError), backends._quiet():
        os.write(2, b"a line of C++\n")
        raise ImportError
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "after\n"
