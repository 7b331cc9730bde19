"""Libraries to compare with that need an older NumPy: in the environment `peers-old`, which `make test-peers` makes."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(sys.prefix) / "peers-old"


def installed(pattern):
    """The file of the environment that the pattern matches; skips if there is none."""
    found = next(FOLDER.glob(pattern), None)
    if found is None:
        pytest.skip(f"the environment {FOLDER.name}, or {pattern} in it, is missing: make test-peers")
    return found


def values(script, folder, older=False, **arrays):
    """The arrays that a script of `support` makes of arrays, run in the environment; older: with the older versions."""
    python, (source, target) = installed("bin/python"), (folder / "in.npz", folder / "out.npz")
    np.savez(source, **arrays)
    environment = os.environ | {"PYTHONPATH": str(FOLDER / "older") if older else ""}  # not this repository
    command = [python, "-W", "ignore", Path(__file__).with_name(script), source, target]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with np.load(target) as found:
        return dict(found)
