"""What the workflows, pre-commit and the contributors' page run exists, and is what a developer runs."""

import re
from pathlib import Path

import pytest

from support.selection import fast_on_torch

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
LATER = {"site"}  # made by the documentation's own recipe
pytestmark = [fast_on_torch, pytest.mark.skipif(not WORKFLOWS, reason="the workflows are not installed")]


def targets():
    recipe = (ROOT / "Makefile").read_text("utf-8")
    return {name for line in re.findall(r"^\.PHONY: (.*)$", recipe, re.MULTILINE) for name in line.split()}


def test_the_workflows_run_what_there_is():
    run = {name for file in WORKFLOWS for name in re.findall(r"run: make ([\w-]+)", file.read_text("utf-8"))}
    assert {"lint", "test", "dist", "audit"} <= run <= targets() | LATER


def test_tests_run_on_each_backend_and_python():
    text = (ROOT / ".github" / "workflows" / "test.yml").read_text("utf-8")
    assert "backend: [tensorflow, jax, torch]" in text
    named = re.search(r"python: \[(.*)\]", text)[1].replace('"', "").split(", ")
    classified = re.findall(r"Python :: (3\.\d+)", (ROOT / "pyproject.toml").read_text("utf-8"))
    assert named == classified == ["3.11", "3.12", "3.13"]


def test_a_release_needs_no_password():
    text = (ROOT / ".github" / "workflows" / "release.yml").read_text("utf-8")
    assert "id-token: write" in text and "secrets." not in text and "password" not in text.split("\n", 2)[2]


def test_a_commit_runs_what_make_lint_runs():
    assert "entry: make lint" in (ROOT / ".pre-commit-config.yaml").read_text("utf-8")


def test_reports_of_errors_ask_for_the_doctor():
    for name in ("bug.yml", "model.yml"):
        assert "keras-explainable doctor" in (ROOT / ".github" / "ISSUE_TEMPLATE" / name).read_text("utf-8")
