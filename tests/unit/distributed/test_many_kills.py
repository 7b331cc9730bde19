"""One run of 600 images in which workers and drivers are killed, ten times each, at random moments."""

import os
import random
import signal
import time

import pytest

from keras_explainable import distributed
from support import tiny_network
from support.killed_runs import begun, ended, objects, records, worker_of
from support.selection import very_slow

pytest.importorskip("ray", reason="Ray is not installed")
pytestmark = very_slow  # two minutes
N, ALONE, ON_RAY, WORKERS = 600, 8, 2, 10  # images; deaths of drivers without Ray and with it, and of workers
SMALL = {"part_size": 8, "max_attempts": 50}
RAY = {**SMALL, "engine": "ray", "num_workers": 1}


def new(out, known, process):
    """Wait for a record that is not known, and return it."""
    until = time.time() + 200
    while time.time() < until and process.is_alive():
        found = [record for record in records(out) if record["part"] not in known]
        if found:
            return max(found, key=lambda record: record["time"])
        time.sleep(0.01)
    raise AssertionError("the run ended, or no part is done")


def test_twenty_kills(tmp_path, tmp_path_factory):
    draw = random.Random(7)
    photos = tiny_network.folder(tmp_path / "photos", N)
    out, alone = tmp_path / "out", tmp_path / "alone"
    variables = {"RAY_ADDRESS": "local", "HOME": str(tmp_path_factory.mktemp("home")), "OMP_NUM_THREADS": "1"}
    drivers = workers = 0
    for _ in range(ALONE):
        process = begun(out, photos, variables, 0, SMALL)
        done = {record["part"] for record in records(out)}
        if draw.random() < 0.7:
            new(out, done, process)
        time.sleep(draw.random() / 10)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        drivers += process.exitcode == -signal.SIGKILL
    for ends in range(ON_RAY + 1):
        process = begun(out, photos, variables, 0, RAY)
        for _ in range(WORKERS // ON_RAY if ends < ON_RAY else 0):
            record = new(out, {record["part"] for record in records(out)}, process)
            time.sleep(draw.random() / 20)
            os.kill(worker_of(record), signal.SIGKILL)
            workers += 1
        if ends < ON_RAY:
            new(out, {record["part"] for record in records(out)}, process)
            os.kill(process.pid, signal.SIGKILL)
            process.join()
            drivers += process.exitcode == -signal.SIGKILL
            time.sleep(1)
    process.join(240)
    assert process.exitcode == 0
    assert (drivers, workers) == (ALONE + ON_RAY, WORKERS)
    assert ended(alone, photos, how=SMALL) == 0
    assert objects(out) == objects(alone)
    report = distributed.status(out, verify=True)
    assert (report.images, report.explained, report.aside, report.given_up, report.left) == (N + 3, N, 3, 0, 0)
    ids = distributed.open(out).table["id"].to_pylist()
    assert len(ids) == len(set(ids)) == N + 3
