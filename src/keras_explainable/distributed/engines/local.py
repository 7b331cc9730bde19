"""Explains all parts in this process. Images are read ahead by threads, and a part is written while the next one is
explained."""

import contextlib
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any

from keras_explainable.distributed.commits import Record
from keras_explainable.distributed.settings import Job
from keras_explainable.distributed.work import Worker


class Local:
    """The engine `local`."""

    rank = 0

    def __init__(self) -> None:
        self.explainer: Any = None

    def first(self, job: Job) -> tuple[dict[str, Any], dict, dict]:
        """What the model takes, and the shapes of its maps."""
        self.explainer = _explainer(job)
        return self.explainer.found, *self.explainer.first()

    def share(self, parts: set[int]) -> set[int]:
        """Those of the parts that this process explains."""
        return parts

    def run(self, job: Job, parts: Sequence[int]) -> Iterator[Record]:
        """Explain and commit these parts."""
        self.explainer = self.explainer or _explainer(job)
        self.explainer.go_on(job)
        worker = Worker(job, self.explainer)
        # Nothing is read ahead beyond a part with which a process died: reading may have been what killed it.
        begun = worker.commits.begun()
        with _terminating():
            for part in sorted(begun & set(parts)):
                yield worker.part(part, worker.images([part]))
            yield from _overlapped(worker, [part for part in parts if part not in begun])

    def close(self) -> None:
        """Forget the model."""
        self.explainer = None


def _overlapped(worker: Worker, parts: Sequence[int]) -> Iterator[Record]:
    """Explain parts, and write each while the next one is explained."""
    images = worker.images(parts)
    waiting: Future | None = None
    try:
        with ThreadPoolExecutor(1, "keras-explainable-parts") as writer:
            for part in parts:
                batches = islice(images, worker.batches(part))
                done = worker.explain(part, batches)
                for _ in batches:  # of a part that was given up
                    pass
                before, waiting = waiting, None
                if before is not None:
                    yield before.result()
                waiting = writer.submit(worker.commit, done)
            if waiting is not None:
                yield waiting.result()
    except BaseException:
        for part in worker.begun:  # also one that was explained and waits: an error is no death
            worker.commits.end(part)
        raise
    finally:
        with contextlib.suppress(ValueError):  # a thread may still be in it after an error
            images.close()  # type: ignore[attr-defined]


@contextlib.contextmanager
def _terminating() -> Iterator[None]:
    """A scope in which SIGTERM, as a scheduler sends it, stops like Ctrl-C: then the part is not held against it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _explainer(job: Job) -> Any:
    from keras_explainable.distributed.explainer import Explainer

    return Explainer(job)
