"""Runs on Ray whose workers and drivers are killed, by their process ids. Ray takes half a minute to start."""

import os
import signal

import pytest

from keras_explainable import distributed
from support import killed_runs, tiny_network
from support.killed_runs import begun, ended, objects, records, worker_of
from support.selection import very_slow_compiled

pytest.importorskip("ray", reason="Ray is not installed")
pytestmark = very_slow_compiled
N = 160
GIVEN_UP = 6  # the part with an image that kills
POISONED = "support.tiny_network:poisoned"
HOW = {"engine": "ray", "num_workers": 1, "model": POISONED, "max_attempts": 2}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    photos = tiny_network.folder(tmp_path_factory.mktemp("photos"), N, bad=False)
    (photos / "a" / "0003.png").write_bytes(b"")
    return photos


@pytest.fixture
def variables(tmp_path_factory):
    """A cluster of its own, which writes into a folder of its own."""
    return {"RAY_ADDRESS": "local", "HOME": str(tmp_path_factory.mktemp("home")), "OMP_NUM_THREADS": "1"}


def test_a_worker_that_is_killed_and_a_part_that_kills(tmp_path, photos, variables, request):
    poison = photos / "b" / "0020.png"  # row 80 + 20
    good = poison.read_bytes()
    tiny_network.poison(poison)
    request.addfinalizer(lambda: poison.write_bytes(good))
    out, alone = tmp_path / "out", tmp_path / "alone"
    process = begun(out, photos, variables, 1, HOW)
    first = worker_of(records(out)[0])
    os.kill(first, signal.SIGKILL)
    process.join(500)
    assert process.exitcode == 0
    report = distributed.status(out, verify=True)
    assert (report.images, report.explained, report.aside, report.given_up, report.left) == (N, 143, 1, 16, 0)
    assert report.reasons["b/0020.png"] == "2 processes died while they explained this part."
    assert len({record["worker"] for record in records(out)}) >= 3  # each death began another
    poison.write_bytes(good)
    assert ended(alone, photos, how={"model": POISONED}) == 0
    ours, others = objects(out), objects(alone)
    differ = {name for name in others if ours.get(name) != others[name]}
    part = f"{GIVEN_UP:05d}"
    assert all(name == "images.parquet" or part in name or f"/{GIVEN_UP}" in name for name in differ), differ


def test_a_driver_that_is_killed(tmp_path, photos, variables):
    """The run goes on with another engine, while workers of the first may still be at work."""
    out, alone = tmp_path / "out", tmp_path / "alone"
    process = begun(out, photos, variables, 2, HOW)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert ended(out, photos, how={"model": POISONED}) == 0
    assert ended(alone, photos, how={"model": POISONED}) == 0
    assert objects(out) == objects(alone)
    assert distributed.status(out, verify=True).complete


def test_tasks_read_the_images_for_workers_on_gpus(tmp_path, photos, variables):
    out, alone = tmp_path / "out", tmp_path / "alone"
    process = killed_runs.processes().Process(target=killed_runs.on_a_gpu, args=(out, photos, variables, HOW))
    process.start()
    process.join(500)
    assert process.exitcode == 0
    assert ended(alone, photos, how={"model": POISONED, "part_size": 48}) == 0
    assert objects(out) == objects(alone)
    assert distributed.status(out, verify=True).aside == 1
