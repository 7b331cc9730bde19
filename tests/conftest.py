"""Settings that must stand before a framework is imported (one thread per process, quiet, no window); which tests run, by
how slow they are; the real data."""

import contextlib
import gc
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


LEVELS = ("fast", "slow", "very_slow")


def pytest_addoption(parser: pytest.Parser) -> None:
    """How slow tests may be that are run."""
    group = parser.getgroup("levels", "which tests run; without either, those that are neither slow nor very slow")
    group.addoption("--slow", action="store_const", dest="level", const=1, default=0, help="run slow tests as well")
    group.addoption("--very-slow", action="store_const", dest="level", const=2, help="run all tests")


def level(item: pytest.Item) -> int:
    """How slow a test is: by the mark closest to it, and by the slowest of several at the same place."""
    of_parameters = getattr(getattr(item, "callspec", None), "marks", [])
    of_function = [mark for mark in item.own_markers if mark not in of_parameters]
    above = (node.own_markers for node in reversed(item.listchain()[:-1]))
    for marks in (of_parameters, of_function, *above):
        found = [LEVELS.index(mark.name) for mark in marks if mark.name in LEVELS]
        if found:
            return max(found)
    return 0


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is slower than asked for."""
    most = config.getoption("level")
    levels = [(item, level(item)) for item in items]
    config.hook.pytest_deselected(items=[item for item, n in levels if n > most])
    items[:] = [item for item, n in levels if n <= most]


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers, the same in every run and on every backend."""
    return np.random.default_rng(0)


@pytest.fixture
def only_what_is_new():
    """The garbage collector looks at what this test makes, not at all that was imported and made before."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def uncompiled(monkeypatch: pytest.MonkeyPatch) -> list:
    """On PyTorch, traced graphs run operation by operation: compiling C++ takes half a minute. Lists the graphs."""
    made = []

    def compile(graph, **_):
        made.append(graph)
        return graph

    if "torch" in sys.modules:
        monkeypatch.setattr(sys.modules["torch"], "compile", compile)
    return made


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
