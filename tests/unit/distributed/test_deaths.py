"""A process that dies at any step of a part: the next one goes on, and what comes out is the same to the byte."""

import signal

import pytest

from keras_explainable import distributed
from support import killed_runs, tiny_network
from support.killed_runs import POINTS, ended, objects
from support.selection import fast_on_torch

pytestmark = fast_on_torch
PART = 1


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return tiny_network.folder(tmp_path_factory.mktemp("photos"), 40)


@pytest.fixture(scope="module")
def undisturbed(photos, tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    assert ended(out, photos) == 0
    return objects(out)


@pytest.mark.parametrize("point", POINTS)
def test_a_death_at_any_step_loses_and_repeats_nothing(photos, undisturbed, tmp_path, point):
    out = tmp_path / "out"
    assert ended(out, photos, (point, PART)) == -signal.SIGKILL
    halfway = distributed.status(out)
    done = {0, PART} if point == "commit" else {0}
    if point == "begin":  # part 0 may still be being written
        assert halfway.parts_done <= 1
    else:
        assert {int(path.stem) for path in (out / "parts").iterdir()} == done
    assert halfway.left == 43 - 16 * halfway.parts_done
    assert ended(out, photos) == 0
    assert objects(out) == undisturbed
    report = distributed.status(out, verify=True)
    assert (report.images, report.explained, report.aside, report.left, report.damaged) == (43, 40, 3, 0, [])
    ids = distributed.open(out).table["id"].to_pylist()
    assert len(ids) == len(set(ids)) == 43
    assert not list((out / "attempts").iterdir())


def test_a_part_that_kills_is_given_up_and_the_others_are_explained(tmp_path):
    photos = tiny_network.folder(tmp_path / "photos", 40, bad=False)
    tiny_network.poison(photos / "a" / "0009.png")  # row 9, in part 0
    how = {"model": "support.tiny_network:poisoned", "max_attempts": 2}
    out = tmp_path / "out"
    assert ended(out, photos, how=how) == -signal.SIGKILL
    assert ended(out, photos, how=how) == -signal.SIGKILL
    assert ended(out, photos, how=how) == 0
    report = distributed.status(out)
    assert (report.explained, report.given_up, report.aside, report.left) == (24, 16, 0, 0)
    assert report.reasons["a/0009.png"] == "2 processes died while they explained this part."
    table = distributed.open(out).table.to_pylist()
    assert [row["status"] for row in table] == ["given up"] * 16 + ["explained"] * 24
    tiny_network.poison(photos / "a" / "0009.png")
    (photos / "a" / "0009.png").write_bytes((photos / "a" / "0008.png").read_bytes())
    assert ended(out, photos, how={**how, "retry": True}) == 0
    assert distributed.status(out).explained == 40


def test_sigterm_is_no_death(tmp_path, photos):
    """As a scheduler sends it before it takes the machine."""
    out = tmp_path / "out"
    assert ended(out, photos, ("status", 0)) == -signal.SIGKILL
    assert len(list((out / "attempts").iterdir())) >= 1
    process = killed_runs.processes().Process(target=killed_runs.terminated, args=(out, photos))
    process.start()
    process.join(120)
    assert process.exitcode == 1
    before = {path.name for path in (out / "attempts").iterdir()}
    assert all(name.startswith("00000.1") or name.startswith("00001.1") for name in before)


def test_two_drivers_at_once_write_the_same(tmp_path, photos, undisturbed):
    out, context = tmp_path / "out", killed_runs.processes()
    assert ended(out, photos, ("begin", 0)) == -signal.SIGKILL  # the plan is there
    both = [context.Process(target=killed_runs.run, args=(out, photos)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(120)
    assert [process.exitcode for process in both] == [0, 0]
    assert objects(out) == undisturbed
    assert distributed.status(out, verify=True).complete


def test_two_ranks_share_the_parts(tmp_path, photos, undisturbed):
    out, context = tmp_path / "out", killed_runs.processes()
    both = [
        context.Process(
            target=killed_runs.run,
            args=(out, photos),
            kwargs={"variables": {"RANK": str(rank), "WORLD_SIZE": "2"}, "how": {"engine": "auto"}},
        )
        for rank in (1, 0)
    ]
    for process in both:
        process.start()
    for process in both:
        process.join(120)
    assert [process.exitcode for process in both] == [0, 0]
    assert objects(out) == undisturbed
    workers = {record.part: record.worker for record in _records(out)}
    assert workers[0] == workers[2] != workers[1]


def _records(out):
    from keras_explainable.distributed.commits import Commits
    from keras_explainable.distributed.storage import Place

    return Commits(Place(str(out)), "zarr").records(range(3))
