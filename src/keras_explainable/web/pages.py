"""What each open page is told: a stream of events while something of it is under way."""

import asyncio
import json
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from keras_explainable.web.lanes import Job

GONE = 5.0  # seconds after which the jobs of a page without a stream are stopped
OFTEN = 0.05  # seconds between two messages about the progress of a job
MOST_ENDED = 100
BEAT = 1.0  # seconds without an event after which a comment is sent, which shows whether somebody listens


@dataclass(eq=False)
class Page:
    """A page of a browser: its jobs, and the events that it has not got yet."""

    jobs: dict[str, Job] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)
    streams: int = 0
    seen: float = field(default_factory=time.monotonic)  # when it last had a stream, or asked for something
    told: dict[str, float] = field(default_factory=dict)  # for each job, when its progress was last told
    ended: deque[str] = field(default_factory=lambda: deque(maxlen=MOST_ENDED))  # the last jobs that are over


class Pages:
    """All open pages, by session and page. Events come from any thread."""

    def __init__(self) -> None:
        self.pages: dict[tuple[str, str], Page] = {}
        self.lock = threading.Lock()

    def add(self, job: Job) -> None:
        """Expect events of a job."""
        with self.lock:
            page = self.pages.setdefault((job.session, job.page), Page())
            page.jobs[job.id], page.seen = job, time.monotonic()

    def job(self, session: str, id: str) -> Job | None:
        """A job of a session that is not over."""
        with self.lock:
            found = (p.jobs[id] for (owner, _), p in self.pages.items() if owner == session and id in p.jobs)
            return next(found, None)

    def has_ended(self, session: str, id: str) -> bool:
        """Whether this was a job of a session a short while ago."""
        with self.lock:
            return any(owner == session and id in page.ended for (owner, _), page in self.pages.items())

    def number(self, session: str) -> int:
        """How many jobs of a session are not over."""
        with self.lock:
            return sum(len(page.jobs) for (owner, _), page in self.pages.items() if owner == session)

    def tell(self, job: Job, event: dict[str, Any]) -> None:
        """Send an event of a job to its page. Progress is told only so often."""
        with self.lock:
            page = self.pages.get((job.session, job.page))
            if page is None or job.id not in page.jobs:
                return
            if event["state"] == "running" and event.get("done") is not None:
                if time.monotonic() - page.told.get(job.id, 0) < OFTEN and event["done"] != event["of"]:
                    return
                page.told[job.id] = time.monotonic()
            if event["state"] in ("done", "failed", "stopped"):
                del page.jobs[job.id]
                page.ended.append(job.id)
                page.told.pop(job.id, None)
            page.events.append({"job": job.id, **event})

    async def stream(self, session: str, name: str) -> AsyncIterator[str]:
        """The events of a page, as text of an event stream, until none of its jobs is under way."""
        with self.lock:
            page = self.pages.setdefault((session, name), Page())
            page.streams += 1
        try:
            beat = time.monotonic()
            while True:
                with self.lock:
                    events, page.events, page.seen = page.events, [], time.monotonic()
                    idle = not page.jobs
                for event in events:
                    yield f"data: {json.dumps(event)}\n\n"
                if idle:
                    yield "event: idle\ndata: \n\n"
                    return
                if events or time.monotonic() - beat > BEAT:
                    beat = time.monotonic()
                    yield ": \n\n"
                await asyncio.sleep(0.02)
        finally:
            with self.lock:
                page.streams -= 1

    def leave(self, stop: Callable[[Job], None]) -> None:
        """Stop the jobs of pages that were closed, and forget pages that wait for nothing."""
        with self.lock:
            gone = [key for key, p in self.pages.items() if not p.streams and time.monotonic() - p.seen > GONE]
            jobs = [job for key in gone for job in self.pages[key].jobs.values()]
        for job in jobs:
            stop(job)
        with self.lock:
            for key in gone:
                if not self.pages[key].jobs and not self.pages[key].streams:
                    del self.pages[key]
