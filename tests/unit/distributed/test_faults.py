"""Outputs that cannot be written: nothing is committed half, the error says what to do, and the run goes on later."""

import errno
import json
import resource
import socket
import subprocess
import sys

import pytest

from keras_explainable import distributed
from keras_explainable.distributed import storage
from keras_explainable.distributed.commits import Commits
from keras_explainable.distributed.settings import Job, ModelSource
from keras_explainable.distributed.work import Explained, Worker
from keras_explainable.errors import InputError, OutputError
from support import killed_runs, tiny_network
from support.killed_runs import HOW, NETWORK, ended, objects
from support.selection import fast_on_torch

pytestmark = fast_on_torch
N = 43


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return tiny_network.folder(tmp_path_factory.mktemp("photos"), N - 3)


@pytest.fixture(scope="module")
def undisturbed(photos, tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    distributed.explain("gradcam", NETWORK, photos, out, **HOW)
    return objects(out)


def explain(photos, out):
    return distributed.explain("gradcam", NETWORK, photos, out, **HOW)


def full(out, photos):
    """A run on a disk that takes no file of more than 300 bytes: no record."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))
    killed_runs.run(out, photos)


def test_a_disk_that_is_full(photos, tmp_path, undisturbed):
    out = tmp_path / "out"
    assert ended(out, photos, ("begin", 0)) != 0  # the plan is there
    process = killed_runs.processes().Process(target=full, args=(out, photos))
    process.start()
    process.join(120)
    assert process.exitcode == 1  # by an exception
    assert distributed.status(out).parts_done == 0
    assert not list(out.glob("parts/*"))
    assert explain(photos, out).complete
    assert objects(out) == undisturbed


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS])
@pytest.mark.parametrize("name", ["run.json", "parts/00001.json", "attempts/00001.1", "images.parquet"])
def test_what_cannot_be_written_is_said_and_written_later(photos, tmp_path, monkeypatch, undisturbed, name, number):
    out, tries = tmp_path / "out", []
    write, put = storage.Place._write, storage.Place.put

    def refused(self, given, data, durable=True):
        if given.startswith(name):
            tries.append(given)
            raise OSError(number, "it is refused", given)
        write(self, given, data, durable)

    def refused_put(self, given, file):
        with self.refusals(given):
            refused(self, given, b"")

    monkeypatch.setattr(storage.Place, "_write", refused)
    monkeypatch.setattr(storage.Place, "put", refused_put)
    with pytest.raises(OutputError, match="it is refused.* Nothing of its part was committed"):
        explain(photos, out)
    assert len(tries) == 1  # another try would change nothing
    monkeypatch.setattr(storage.Place, "_write", write)
    monkeypatch.setattr(storage.Place, "put", put)
    if (out / "run.json").exists():
        assert distributed.status(out).given_up == 0
        assert not list((out / "attempts").glob("*"))  # no death is counted
    assert explain(photos, out).complete
    assert objects(out) == undisturbed


def test_what_may_pass_is_tried_again(photos, tmp_path, monkeypatch, undisturbed):
    from keras_explainable.distributed.sources import stores

    monkeypatch.setattr(stores, "PAUSES", (0.01, 0.01))
    left, write = {"parts/00001.json": 2, "run.json": 1}, storage.Place._write

    def busy(self, name, data, durable):
        if left.get(name):
            left[name] -= 1
            raise TimeoutError("the store does not answer")
        write(self, name, data, durable)

    monkeypatch.setattr(storage.Place, "_write", busy)
    assert explain(photos, tmp_path / "out").complete
    assert set(left.values()) == {0}
    assert objects(tmp_path / "out") == undisturbed


def test_a_torn_shard_of_an_uncommitted_part_is_written_anew(photos, tmp_path, undisturbed):
    """As a machine that loses power may leave it."""
    out = tmp_path / "out"
    explain(photos, out)
    for part, size in ((0, 0), (1, 30), (2, 90)):
        shard = out / f"maps.zarr/maps/c/{part}/0/0/0"
        shard.write_bytes(shard.read_bytes()[:size])
        (out / f"parts/{part:05d}.json").unlink()
    (out / "images.parquet").unlink()
    assert explain(photos, out).complete
    assert objects(out) == undisturbed


def test_a_plan_that_another_run_replaced_is_seen(photos, tmp_path):
    out, other = tmp_path / "out", tmp_path / "other"
    explain(photos, out)
    explain(tiny_network.folder(tmp_path / "photos", 20, bad=False), other)
    (out / "plan.parquet").write_bytes((other / "plan.parquet").read_bytes())
    with pytest.raises(InputError, match="has 20 rows, and run.json says 43"):
        distributed.open(out)[0]


def test_arrays_that_another_run_replaced_are_seen(photos, tmp_path):
    out = tmp_path / "out"
    explain(photos, out)
    about = out / "maps.zarr" / "zarr.json"
    known = json.loads(about.read_text())
    known["attributes"]["fingerprint"] = "another"
    about.write_text(json.dumps(known))
    (out / "parts" / "00001.json").unlink()
    with pytest.raises(InputError, match="the settings of another run than run.json"):
        explain(photos, out)


def test_processes_that_are_at_work_are_not_counted_as_dead(photos, tmp_path):
    """Others explain the same part at the same time: four drivers that were started by mistake."""
    commits = Commits(storage.Place(str(tmp_path)), "zarr")
    sleepers = [subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) for _ in range(3)]
    for i, sleeper in enumerate(sleepers, 1):
        worker = json.dumps({"worker": f"{socket.gethostname()}:{sleeper.pid}"}).encode()
        commits.place.write(f"attempts/00007.{i}-{sleeper.pid}-", worker)
    assert commits.begin(7) == 0
    for sleeper in sleepers[:2]:
        sleeper.communicate(b"")
    assert commits.begin(7) == 2 + 1  # this process begins it for the second time, after it died for the first
    assert Commits(commits.place, "zarr", "another session").begin(7) == 0
    sleepers[2].communicate(b"")


def test_what_was_explained_is_not_given_up(photos, tmp_path, undisturbed):
    out = tmp_path / "out"
    explain(photos, out)
    job = Job(str(out), {}, "gradcam", {}, ModelSource(NETWORK), "top-1", 8, "uint8", "signal", None, 3)
    worker = Worker(job, explainer=object())
    record = worker.commit(Explained(1, ["a"] * 16, {}, {}, [], 4, 0.0, "3 processes died."))
    assert record.explained == 16 - len(record.aside) and not record.given_up
    assert objects(out) == undisturbed
