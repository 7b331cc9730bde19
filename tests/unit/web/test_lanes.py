"""Jobs of several people: turns, progress, stopping, and what is computed once."""

import threading
import time

import pytest

import keras_explainable as ke

pytest.importorskip("starlette")
from keras_explainable.runtime.progress import counted
from keras_explainable.web import lanes as module
from keras_explainable.web.kept import Kept
from keras_explainable.web.lanes import LONG, QUICK, SYSTEM, Job, Lanes
from support.selection import fast_on_torch
from support.web_server import within

pytestmark = fast_on_torch


class Told(list):
    """The events of all jobs, in order."""

    def __call__(self, job, event):
        self.append((job, event))

    def of(self, job, *keys):
        return [tuple(event.get(key) for key in keys) for other, event in list(self) if other is job]

    def states(self, job):
        return [state for (state,) in self.of(job, "state")]

    def ended(self, job):
        return bool(self.states(job)) and self.states(job)[-1] in ("done", "failed", "stopped")


@pytest.fixture
def told():
    return Told()


@pytest.fixture
def lanes(told):
    found = Lanes(told)
    found.start()
    yield found
    found.close()


@pytest.fixture
def held(lanes):
    """An event that lets the quick lane go on, which is held by a task of nobody."""
    go, begun = threading.Event(), threading.Event()

    def wait():
        begun.set()
        go.wait(10)
        return {}

    lanes.submit(Job(SYSTEM, ""), "held", QUICK, wait)
    assert begun.wait(5)
    yield go
    go.set()


def steps(number, seconds=0.01):
    for _ in counted(range(number)):
        time.sleep(seconds)
    return {"value": number}


def test_a_task_tells_its_progress_and_its_result(lanes, told):
    job = Job("ann", "page")
    lanes.submit(job, "key", QUICK, lambda: steps(3))
    assert within(5, lambda: told.ended(job))
    assert told.of(job, "state", "done", "of") == [
        ("waiting", None, None),
        ("running", None, None),
        *(("running", i, 3) for i in range(4)),
        ("done", None, None),
    ]
    assert told[-1][1]["value"] == 3 and told[-1][1]["seconds"] > 0.02


def test_people_take_turns_and_newcomers_come_first(lanes, held):
    order = []
    for session, number in [("ann", 0), ("ann", 1), ("ann", 2), ("bob", 3), ("cy", 4), ("bob", 5), (SYSTEM, 6)]:
        lanes.submit(Job(session, "p"), f"{number}", QUICK, lambda n=number: order.append(n) or {})
    held.set()
    assert within(5, lambda: len(order) == 7)
    assert order == [0, 3, 4, 1, 5, 2, 6]  # one of each, again, and what the server itself wants at the end


def test_who_was_served_longest_ago_is_next(lanes, told):
    order = []
    for session in ("ann", "bob"):
        job = Job(session, "p")
        lanes.submit(job, session, QUICK, dict)
        assert within(5, lambda job=job: told.ended(job))
    go, begun = threading.Event(), threading.Event()
    lanes.submit(Job(SYSTEM, ""), "held", QUICK, lambda: begun.set() or go.wait(10) and {})
    assert begun.wait(5)
    for session in ("bob", "ann", "new"):
        lanes.submit(Job(session, "p"), session * 2, QUICK, lambda s=session: order.append(s) or {})
    go.set()
    assert within(5, lambda: len(order) == 3) and order == ["new", "ann", "bob"]


def test_places_in_the_queue_are_told(lanes, held, told):
    jobs = [Job(session, "p") for session in ("ann", "ann", "bob")]
    for i, job in enumerate(jobs):
        lanes.submit(job, f"{i}", QUICK, dict)
    assert [told.of(job, "place")[-1] for job in jobs] == [(1,), (3,), (2,)]  # bob comes before ann's second one
    lanes.stop(jobs[0])
    assert [told.of(job, "place")[-1] for job in jobs[1:]] == [(1,), (2,)]


def test_a_quick_task_does_not_wait_for_a_long_one(lanes, told):
    long, quick = Job("ann", "p"), Job("bob", "p")
    lanes.submit(long, "long", LONG, lambda: steps(200))
    assert within(5, lambda: "running" in told.states(long))
    lanes.submit(quick, "quick", QUICK, dict)
    assert within(1, lambda: told.ended(quick)) and not told.ended(long)
    lanes.stop(long)


def test_stopping_ends_the_work_between_two_steps(lanes, told):
    done = []
    job, other = Job("ann", "p"), Job("ann", "p")
    lanes.submit(job, "key", LONG, lambda: [done.append(i) or time.sleep(0.02) for i in counted(range(500))] and {})
    assert within(5, lambda: len(done) > 3)
    lanes.stop(job)
    assert told.states(job)[-1] == "stopped"
    lanes.submit(other, "next", LONG, dict)
    assert within(1, lambda: told.ended(other)) and len(done) < 100
    count = len(done)
    time.sleep(0.1)
    assert len(done) == count and told.states(job).count("stopped") == 1


def test_what_waits_is_not_begun_after_it_was_stopped(lanes, held, told):
    begun = []
    job, last = Job("ann", "p"), Job("ann", "p")
    lanes.submit(job, "key", QUICK, lambda: begun.append(1) or {})
    lanes.stop(job)
    lanes.stop(job)
    lanes.submit(last, "last", QUICK, dict)
    held.set()
    assert within(5, lambda: told.ended(last)) and begun == [] and told.states(job) == ["waiting", "stopped"]


def test_the_same_key_is_computed_once_and_ends_only_when_nobody_waits(lanes, told):
    begun = []
    first, second, third = (Job(session, "p") for session in ("ann", "bob", "cy"))

    def work():
        begun.append(1)
        return steps(50)

    for job in (first, second, third):
        lanes.submit(job, "key", LONG, work)
    lanes.stop(first)
    assert within(5, lambda: told.ended(third))
    assert begun == [1] and [told.states(job)[-1] for job in (first, second, third)] == ["stopped", "done", "done"]


def test_the_same_key_is_computed_anew_after_it_was_stopped(lanes, told):
    begun = []

    def work():
        begun.append(1)
        return steps(30)

    first, second = Job("ann", "p"), Job("bob", "p")
    lanes.submit(first, "key", LONG, work)
    assert within(5, lambda: len(begun) == 1)
    lanes.stop(first)
    lanes.submit(second, "key", LONG, work)
    assert within(5, lambda: told.ended(second)) and told.states(second)[-1] == "done" and len(begun) == 2


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (ke.errors.LayerError("There is no\nlayer."), "There is no\\nlayer."),
        (MemoryError(), "It needs more memory than is available."),
        (KeyError("secret"), "This failed in a way that was not expected: the terminal shows where."),
    ],
)
def test_errors_are_told_in_the_words_of_the_library(error, why, lanes, told, capsys):
    def fail():
        raise error

    job, after = Job("ann", "p"), Job("ann", "p")
    lanes.submit(job, "key", QUICK, fail)
    lanes.submit(after, "after", QUICK, dict)
    assert within(5, lambda: told.ended(after))
    assert told.of(job, "state", "why")[-1] == ("failed", why)
    assert ("secret" in capsys.readouterr().err) == isinstance(error, KeyError)


def test_a_lane_gets_a_new_thread_if_its_own_is_in_a_long_step(lanes, told, monkeypatch):
    monkeypatch.setattr(module, "PATIENCE", 0.05)
    go, begun = threading.Event(), threading.Event()
    stuck, other = Job("ann", "p"), Job("bob", "p")
    lanes.submit(stuck, "stuck", LONG, lambda: begun.set() or go.wait(10) and {})
    assert begun.wait(5)
    lanes.submit(other, "other", LONG, dict)
    lanes.leave_stuck()
    assert not told.ended(other)  # it is wanted
    lanes.stop(stuck)
    time.sleep(0.1)
    lanes.leave_stuck()
    assert within(5, lambda: told.ended(other)) and lanes.left[LONG] == 1
    go.set()
    assert within(5, lambda: lanes.left[LONG] == 0)


def test_values_that_were_used_longest_ago_are_dropped():
    kept = Kept(100)
    for name in "abc":
        kept.put(name, name.upper(), 40)
    assert [kept.get(name) for name in "abc"] == [None, "B", "C"]
    kept.get("b")
    kept.put("d", "D", 40)
    assert [kept.get(name) for name in "bcd"] == ["B", None, "D"] and kept.bytes == 80
    kept.put("b", "B2", 10)
    assert kept.bytes == 50
    kept.put("e", "E", 1000)  # the newest one is kept
    assert kept.get("e") == "E" and kept.get("b") is None and kept.bytes == 1000
