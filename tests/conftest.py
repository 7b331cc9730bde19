"""Settings that must stand before a framework is imported (one thread per process, quiet, no window); the real data."""

import contextlib
import os
import sys
from pathlib import Path

import numpy as np
import pytest

# The runner starts a process per core; a thread per core in each of them would only get in the others' way.
for name, value in {
    "OMP_NUM_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    # Channels-first convolutions on CPUs, which TensorFlow has by itself only on processors with AVX-512 VNNI or newer.
    "TF_ENABLE_ONEDNN_OPTS": "1",
    "JAX_PLATFORMS": "cpu",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
    # Tests compile thousands of small programs and run each once or twice: compile fast, and once for all processes.
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    "JAX_COMPILATION_CACHE_DIR": str(Path(__file__).resolve().parents[1] / ".pytest_cache" / "jax"),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    "MPLBACKEND": "Agg",
}.items():
    os.environ.setdefault(name, value)


@pytest.hookimpl(tryfirst=True)  # before tests are chosen by their marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as slow, where tests must be compiled, what is `where_quick` and not `everywhere`."""
    import keras

    for item in items if keras.backend.backend() != "torch" else []:
        if item.get_closest_marker("where_quick") and not item.get_closest_marker("everywhere"):
            item.add_marker(pytest.mark.slow)


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers, the same in every run and on every backend."""
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def torchvision():
    """torchvision, whose models run without its compiled operators, if those are declared: it has no CPU build."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        with contextlib.suppress(RuntimeError):  # it is there
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    yield pytest.importorskip("torchvision", reason="torchvision is not installed")
    del library


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real networks and photos, its helper modules importable; without it, the test skips."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not (folder / "networks.py").exists():
        pytest.skip("no real networks and photos: the folder ../shared/data is absent")
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    return folder
