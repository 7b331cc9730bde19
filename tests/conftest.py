"""What every test needs before a framework is imported: one thread per process, quiet logs, no window; and the real data."""

import os
import sys
from pathlib import Path

import pytest

# The runner starts one process per core; frameworks that each start a thread per core on top only get in each other's way.
for name, value in {
    "OMP_NUM_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "JAX_PLATFORMS": "cpu",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
    "MPLBACKEND": "Agg",
}.items():
    os.environ.setdefault(name, value)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real networks and photos; its helper modules become importable. Tests that ask for it skip without it."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not (folder / "networks.py").exists():
        pytest.skip("no real networks and photos: the folder ../shared/data is absent")
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    return folder
