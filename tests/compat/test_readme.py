"""The README: each of its programs runs as it stands, after those above it, and its commands and files exist."""

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from support.selection import BACKEND, fast_on_torch

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
pytestmark = [
    fast_on_torch,
    pytest.mark.skipif(not (ROOT / "docs" / "zoo.md").exists(), reason="the documents are not installed"),
]


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README.read_text("utf-8"), re.DOTALL)


@pytest.mark.skipif(BACKEND != "torch", reason="one of the programs explains a PyTorch module")
@pytest.mark.filterwarnings("ignore")
def test_each_program_runs_as_it_stands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    programs = blocks("python")
    assert len(programs) >= 4
    for program in programs:
        exec(compile(program, "README.md", "exec"), names)
    assert names["maps"].shape == (2, 32, 32, 1)
    assert {path.name for path in tmp_path.iterdir()} == {"maps.png", "report.html"}


def test_each_command_takes_the_options_that_it_is_given():
    pytest.importorskip("typer")
    from typer.main import get_command

    from keras_explainable import cli

    commands = get_command(cli.app()).commands
    lines = [line.split("#")[0].split() for block in blocks("bash") for line in block.splitlines()]
    given = [words[1:] for words in lines if words[:1] == ["keras-explainable"]]
    assert len(given) >= 3
    if find_spec("keras_explainable.web") is None:
        given = [words for words in given if words[0] != "web"]
    for name, *words in given:
        known = {option for parameter in commands[name].params for option in parameter.opts}
        assert {word for word in words if word.startswith("-")} <= known, name
    made = {words[1] for words in lines if words[:1] == ["make"]}
    makefile = (ROOT / "Makefile").read_text("utf-8")
    assert made and all(re.search(rf"^(\S+ )*{target}( \S+)*:", makefile, re.MULTILINE) for target in made)


def test_files_that_it_names_are_there():
    linked = re.findall(r"\]\((?!https?:|#)([^)#]+)", README.read_text("utf-8"))
    assert len(linked) > 20
    assert [path for path in linked if not (ROOT / path).exists()] == []


def test_it_can_be_read_in_one_go():
    assert len(README.read_text("utf-8").splitlines()) < 150
