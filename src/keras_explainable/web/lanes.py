"""Jobs of several people on one model: two lanes with a thread each, in which they take turns."""

import itertools
import secrets
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import keras_explainable as ke

QUICK, LONG = "quick", "long"
SYSTEM = ""  # the session of what the server itself computes, after everybody else
PATIENCE = 1.0  # seconds after which a step that cannot be interrupted is left alone with its thread
MOST_LEFT = 2  # such threads in each lane
Tell = Callable[["Job", dict[str, Any]], None]


@dataclass(eq=False)
class Job:
    """What a page waits for."""

    session: str
    page: str
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    over: bool = False


@dataclass(eq=False)
class Task:
    """One computation, which several jobs may wait for. It is stopped when none does."""

    key: str
    session: str
    lane: str
    work: Callable[[], dict[str, Any]]
    number: int
    jobs: list[Job] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    wanted: bool = True
    unwanted_since: float = 0.0


class Lanes:
    """The tasks that wait and run. `tell(job, event)` is called from any thread.

    In each lane those come first who were served longest ago, and newcomers before all."""

    def __init__(self, tell: Tell) -> None:
        self.tell = tell
        self.changed = threading.Condition()
        self.waiting: dict[str, list[Task]] = {QUICK: [], LONG: []}
        self.running: dict[str, Task | None] = dict.fromkeys(self.waiting)
        self.served: dict[tuple[str, str], int] = {}
        self.turns, self.numbers = itertools.count(), itertools.count()
        self.generation = dict.fromkeys(self.waiting, 0)  # of the lane's thread: an older one ends
        self.left: dict[str, int] = dict.fromkeys(self.waiting, 0)
        self.closed = False

    def start(self) -> None:
        """Start a thread for each lane."""
        for lane in self.waiting:
            self._start(lane)

    def _start(self, lane: str) -> None:
        name, generation = f"keras-explainable-{lane}", self.generation[lane]
        threading.Thread(target=self._serve, args=(lane, generation), name=name, daemon=True).start()

    def close(self) -> None:
        """Let the threads end, and stop what runs."""
        with self.changed:
            self.closed = True
            for task in filter(None, self.running.values()):
                task.wanted = False
            self.changed.notify_all()

    def submit(self, job: Job, key: str, lane: str, work: Callable[[], dict[str, Any]]) -> None:
        """Let a job wait for a computation. One that waits or runs already is not begun again."""
        with self.changed:
            task = next((t for t in self._tasks(lane) if t.key == key and t.wanted), None)
            if task is None:
                task = Task(key, job.session, lane, work, next(self.numbers))
                self.waiting[lane].append(task)
            task.jobs.append(job)
            self.changed.notify_all()
            events = self._places(lane)
        self._send(events)

    def stop(self, job: Job) -> None:
        """End a job. Its computation ends between two steps, unless others wait for it."""
        with self.changed:
            if job.over:
                return
            job.over = True
            for task in itertools.chain.from_iterable(map(self._tasks, self.waiting)):
                if job in task.jobs:
                    task.jobs.remove(job)
                    self._forget(task)
            events = [(job, {"state": "stopped"}), *self._places(QUICK), *self._places(LONG)]
        self._send(events)

    def _forget(self, task: Task) -> None:
        if not task.jobs:
            task.wanted, task.unwanted_since = False, time.monotonic()
            if task in self.waiting[task.lane]:
                self.waiting[task.lane].remove(task)

    def leave_stuck(self) -> None:
        """Give a lane a new thread if its own is in the midst of a long step that nobody wants any more."""
        with self.changed:
            for lane, task in self.running.items():
                if task is None or task.wanted or self.closed or self.left[lane] >= MOST_LEFT:
                    continue
                if time.monotonic() - task.unwanted_since > PATIENCE:
                    self.left[lane] += 1
                    self.generation[lane] += 1
                    self.running[lane] = None
                    self._start(lane)

    def _tasks(self, lane: str) -> list[Task]:
        running = self.running[lane]
        return [*([running] if running else []), *self.waiting[lane]]

    def _turn(self, task: Task) -> tuple:
        return task.session == SYSTEM, self.served.get((task.lane, task.session), -1), task.number

    def _places(self, lane: str) -> list[tuple[Job, dict]]:
        """What to tell those who wait: how many are before them, if everybody takes turns."""
        served, order = dict(self.served), []
        waiting, turn = list(self.waiting[lane]), itertools.count(1 << 60)
        while waiting:
            task = min(waiting, key=lambda t: (t.session == SYSTEM, served.get((lane, t.session), -1), t.number))
            waiting.remove(task)
            served[lane, task.session] = next(turn)
            order.append(task)
        ahead = int(self.running[lane] is not None)
        return [(job, {"state": "waiting", "place": i + ahead}) for i, task in enumerate(order) for job in task.jobs]

    def _send(self, events: list[tuple[Job, dict]]) -> None:
        for job, event in events:
            self.tell(job, event)

    def _next(self, lane: str, generation: int) -> Task | None:
        with self.changed:
            while not self.closed and generation == self.generation[lane] and not self.waiting[lane]:
                self.changed.wait()
            if self.closed or generation != self.generation[lane]:
                return None
            task = min(self.waiting[lane], key=self._turn)
            self.waiting[lane].remove(task)
            self.served[lane, task.session] = next(self.turns)
            self.running[lane] = task
            events = [*((job, {"state": "running"}) for job in task.jobs), *self._places(lane)]
        self._send(events)
        return task

    def _serve(self, lane: str, generation: int) -> None:
        while (task := self._next(lane, generation)) is not None:
            event = self._computed(task)
            with self.changed:
                current = generation == self.generation[lane]
                if current:
                    self.running[lane] = None
                else:
                    self.left[lane] -= 1
                task.wanted = False
                events = [(job, event) for job in task.jobs if not job.over]
                for job in task.jobs:
                    job.over = True
                events += self._places(lane)
            self._send(events)

    def _computed(self, task: Task) -> dict[str, Any]:
        """Compute a task, and return the event of its end."""

        def told(done: int, of: int | None) -> None:
            if not task.wanted:
                raise ke.errors.Stopped
            with self.changed:
                jobs = list(task.jobs)
            self._send([(job, {"state": "running", "done": done, "of": of}) for job in jobs])

        def warned(text: str) -> None:
            note = ke.errors.printable(" ".join(text.split()))
            if note not in task.notes:
                task.notes.append(note)

        start = time.perf_counter()
        try:
            with ke.progress.listening(told, warned):
                found = task.work()
            return {**found, "state": "done", "seconds": round(time.perf_counter() - start, 3), "notes": task.notes}
        except ke.errors.Stopped:
            return {"state": "stopped"}
        except ke.errors.ExplainError as error:
            return {"state": "failed", "why": ke.errors.printable(error)}
        except MemoryError:
            return {"state": "failed", "why": "It needs more memory than is available."}
        except Exception:
            traceback.print_exc(file=sys.stderr)
            return {"state": "failed", "why": "This failed in a way that was not expected: the terminal shows where."}
