"""From the images of a part to its record, which says that it is done."""

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from keras_explainable.distributed import formats, plan, quantise, reading
from keras_explainable.distributed.commits import Commits, Record, me, reached
from keras_explainable.distributed.layout import EXPLAINED, GIVEN_UP, SET_ASIDE
from keras_explainable.distributed.reading import Batch
from keras_explainable.distributed.settings import Job
from keras_explainable.distributed.storage import Place
from keras_explainable.errors import BackendError

START = "start"  # what stands for the loading of the model, where processes that died are counted
Arrays = dict[str, np.ndarray]


@dataclass
class Explained:
    """A part that was explained, and is not yet written."""

    part: int
    ids: list[str]
    arrays: Arrays
    aside: dict[int, str]
    notes: list[str]
    attempt: int
    began: float
    given_up: str = ""


class Worker:
    """Explains parts of a run, and commits them."""

    def __init__(self, job: Job, explainer: Any = None) -> None:
        self.job, self.place = job, Place(job.out, job.storage_options)
        run = plan.known(self.place)
        assert run is not None, "the plan is written before workers start"
        self.layout, self.plan = run.layout, plan.Plan(self.place, run.layout)
        self.arrays = formats.opened(self.place, self.layout)
        self.arrays.check(run.about["fingerprint"])
        self.commits = Commits(self.place, self.layout.format, job.session)
        if explainer is None:
            from keras_explainable.distributed.explainer import Explainer

            explainer = Explainer(job)
        self.explainer = explainer
        self.begun: set[int] = set()  # parts that are not committed yet

    @classmethod
    def started(cls, job: Job, most: int) -> "Worker":
        """A worker, unless so many processes have died while they loaded the model.

        Raises:
            BackendError: they have.
        """
        commits = Commits(Place(job.out, job.storage_options), "", job.session)
        deaths = commits.begin(START)
        try:
            if deaths >= most:
                raise BackendError(
                    f"{deaths} processes died while they loaded the model: they were killed, ran out of memory, or "
                    "crashed. Try it in one process, by engine='local'."
                )
            return cls(job)
        finally:
            commits.end(START)

    def images(self, parts: Iterable[int]) -> Iterator[Batch]:
        """The images of parts in batches, one part after the other, of which a few are read ahead."""
        size = self.job.batch_size
        rows = (self.plan.rows(part) for part in parts)
        chunks = (some[i : i + size] for some in rows for i in range(0, len(some), size))
        return reading.batches(chunks, size, self.layout.size, self.explainer.fit, self.job.storage_options)

    def batches(self, part: int) -> int:
        """The number of batches that a part's images fill."""
        return -(-self.layout.count(part) // self.job.batch_size)

    def part(self, part: int, batches: Iterable[Batch]) -> Record:
        """Explain a part and commit it. If it is done, its record is returned, as after a retry whose answer was
        lost."""
        if self.commits.is_done(part):
            return self.commits.record(part)
        return self.commit(self.explain(part, batches))

    def explain(self, part: int, batches: Iterable[Batch]) -> Explained:
        """Explain a part, unless too many processes have died with it."""
        deaths, began = self.commits.begin(part), time.time()
        self.begun.add(part)
        rows = self.plan.rows(part)
        ids = [row["id"] for row in rows]
        if deaths >= self.job.max_attempts:
            reason = f"{deaths} processes died while they explained this part."
            return Explained(part, ids, {}, {}, [], deaths + 1, began, reason)
        reached("begin", part)
        try:
            few = islice(iter(batches), self.batches(part))
            arrays, aside, notes = self.explainer.part(few, [row["label"] for row in rows])
        except BaseException:
            self.commits.end(part)  # an error that is raised is no death
            raise
        return Explained(part, ids, arrays, aside, notes, deaths + 1, began)

    def commit(self, done: Explained) -> Record:
        """Write a part that was explained, and last its record."""
        if done.given_up and self.commits.is_done(done.part):  # somebody else explained it
            self.commits.end(done.part, all=True)
            return self.commits.record(done.part)
        try:
            status = self._status(done)
            arrays, broken = self._stored(done.arrays, status)
            record = Record(
                done.part,
                len(done.ids),
                int((status == EXPLAINED).sum()),
                done.aside,
                done.given_up,
                broken,
                attempt=done.attempt,
                seconds=round(time.time() - done.began, 3),
                time=time.time(),
                worker=me(),
                notes=tuple(done.notes),
            )
            record = self.arrays.commit(self.commits, record, arrays, done.ids)
        except BaseException:
            self.commits.end(done.part)
            raise
        reached("commit", done.part)
        self.begun.discard(done.part)
        self.commits.end(done.part, all=True)
        return record

    def _status(self, done: Explained) -> np.ndarray:
        status = np.zeros(self.layout.part_size, "uint8")
        status[: len(done.ids)] = GIVEN_UP if done.given_up else EXPLAINED
        status[list(done.aside)] = SET_ASIDE
        return status

    def _stored(self, found: Mapping[str, np.ndarray], status: np.ndarray) -> tuple[Arrays, int]:
        """The arrays of a part as they are stored, 0 where no image was explained; and the number of images whose
        scores or maps have values that are not finite."""
        good = status == EXPLAINED
        arrays: Arrays = {"status": status}
        broken = np.zeros(len(status), bool)
        for label in self.layout.maps:
            if not found:
                continue
            before = self.layout.prefix(label)
            maps, scores = found[f"{label}/maps"], found[f"{label}/scores"]
            values, low, high = quantise.stored(maps, self.layout.dtype)
            arrays |= {f"{before}maps": values, f"{before}low": low, f"{before}high": high, f"{before}scores": scores}
            finite = np.isfinite(scores).all(-1) & np.isfinite(low).all(-1) & np.isfinite(high).all(-1)
            broken[: len(finite)] |= ~finite
        if found:
            arrays["units"] = found["units"]
        return {
            name: _whole(arrays.get(name), good, shape, dtype) if name != "status" else status
            for name, shape, dtype in self.layout.arrays()
        }, int((broken & good).sum())


def _whole(values: np.ndarray | None, good: np.ndarray, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Rows of all of a part: 0 where no image was explained."""
    whole = np.zeros((len(good), *shape), dtype)
    if values is not None:
        rows = good[: len(values)]
        whole[: len(values)][rows] = values[rows]
    return whole
