"""Files stay short: one that grows longer is two subjects."""

from pathlib import Path

import pytest

ROOT, LINES = Path(__file__).resolve().parents[2], 400


@pytest.mark.parametrize("folder", ["src", "tests"])
def test_no_file_is_two_rooms(folder):
    files = [*(ROOT / folder).rglob("*.py")]
    assert len(files) > 50
    assert {path.name: n for path in files if (n := len(path.read_text().splitlines())) > LINES} == {}
