"""`make audit` never reports that no holes are known if nothing was looked up."""

import json
import runpy
import subprocess
from pathlib import Path

import pytest

AUDIT = Path(__file__).resolve().parents[2] / "requirements" / "audit.py"
HOLE = {"id": "CVE-1", "fix_versions": ["2"]}
SKIPPED = {"name": "torch", "skip_reason": "not found"}


@pytest.mark.parametrize(
    "found, status, words",
    [
        ([SKIPPED], 0, "so nothing was audited"),
        ([SKIPPED, {"name": "keras", "version": "3", "vulns": []}], 0, "Known holes: 0\nNot looked up: torch\n"),
        ([{"name": "pillow", "version": "1", "vulns": [HOLE]}], 1, "Known holes: 1\npillow 1: CVE-1, fixed in 2\n"),
    ],
)
def test_what_was_not_looked_up_is_said(monkeypatch, capsys, found, status, words):
    parts = iter([found])  # the first of several runs finds these, and others nothing

    def answer(*_, **__):
        return subprocess.CompletedProcess([], 0, json.dumps({"dependencies": next(parts, [])}), "")

    monkeypatch.setattr(subprocess, "run", answer)
    assert runpy.run_path(str(AUDIT))["main"]() == status
    said = capsys.readouterr().out
    assert words in said
    assert ("Known holes" in said) == any("vulns" in one for one in found)
