"""Reads what a run has made. This loads neither Keras nor Ray."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from keras_explainable.distributed import formats, quantise, summary
from keras_explainable.distributed.commits import Commits
from keras_explainable.distributed.layout import EXPLAINED, STATUS
from keras_explainable.distributed.plan import Plan
from keras_explainable.errors import InputError


class Rows(NamedTuple):
    """Some images of a run. Where an image is not explained, maps and scores are NaN, and units are -1."""

    ids: list[str]
    maps: np.ndarray
    scores: np.ndarray
    units: np.ndarray
    status: np.ndarray


class Maps:
    """The maps of a run: `maps["a/cat.jpg"]`, `maps[3]` or `maps[0:64]`, float32 (H, W, K) at the size of the images.

    `table` has a row for each image: its id, status, reason, unit and score. `iter_batches` goes over all."""

    def __init__(self, out: str, method: str | None = None, storage_options: Any = None, resize: bool = True) -> None:
        self.place, self.run = summary.opened(out, storage_options)
        self.layout = self.run.layout
        self.methods = list(self.layout.maps)
        if method is None and len(self.methods) > 1:
            raise InputError(f"{out} has maps by several methods: give method= as one of {', '.join(self.methods)}.")
        self.method = method or self.methods[0]
        if self.method not in self.methods:
            raise InputError(f"method={method!r} came, and {out} has maps by {', '.join(self.methods)}.")
        self._plan = Plan(self.place, self.layout)
        self._arrays = formats.opened(self.place, self.layout)
        self._commits = Commits(self.place, self.layout.format)
        self._done = self._commits.done()
        before = self.layout.prefix(self.method)
        self._names = [f"{before}{name}" for name in ("maps", "low", "high", "scores")]
        self._resizing = self._arrays.resizing([f"{self.method}/rows", f"{self.method}/columns"]) if resize else None
        self._ids: Any = None

    def __len__(self) -> int:
        return self.layout.images

    def __repr__(self) -> str:
        return f"<{len(self):,} maps by {self.method} in {self.place.url}>"

    def __getitem__(self, which: str | int | slice) -> np.ndarray:
        if isinstance(which, slice):
            start, stop, step = which.indices(len(self))
            if step != 1:
                raise InputError(f"A slice with step {step} came, and rows that follow each other were expected.")
            return self.rows(start, stop).maps
        row = self.row(which) if isinstance(which, str) else range(len(self))[which]
        found = self.rows(row, row + 1)
        if found.status[0] != EXPLAINED:
            raise KeyError(f"{found.ids[0]} has no map: {self._why(row, int(found.status[0]))}")
        return found.maps[0]

    def row(self, id: str) -> int:
        """The row of an image."""
        import pyarrow.compute as pc

        if self._ids is None:
            self._ids = self._plan.table(["id"])["id"]
        row = pc.index(self._ids, id).as_py()
        if row < 0:
            raise KeyError(f"There is no image {id!r} in {self.place.url}; the first is {self._ids[0].as_py()!r}.")
        return row

    def rows(self, start: int, stop: int) -> Rows:
        """The images in rows that follow each other."""
        size = self.layout.part_size
        parts = range(start // size, -(-stop // size))
        arrays = self._arrays.read([*self._names, "units", "status"], slice(start, max(start, stop)))
        values, low, high, scores = (arrays[name] for name in self._names)
        committed = np.repeat([part in self._done for part in parts], size)[start % size :][: len(values)]
        status = np.where(committed, arrays["status"], 0)
        maps = quantise.restored(values, low, high)
        if self._resizing is not None:
            maps = quantise.resized(maps, *self._resizing)
        good = status == EXPLAINED
        ids = [id for part in parts for id in self._plan.ids(part)][start % size :][: len(values)]
        return Rows(
            ids,
            np.where(good[:, None, None, None], maps, np.float32(np.nan)),
            np.where(good[:, None], scores, np.float32(np.nan)),
            np.where(good[:, None], arrays["units"], -1),
            status,
        )

    def iter_batches(self, batch_size: int = 256) -> Iterator[Rows]:
        """All images in their order, some at a time."""
        for start in range(0, len(self), batch_size):
            yield self.rows(start, min(start + batch_size, len(self)))

    @property
    def table(self) -> Any:
        """A `pyarrow.Table` with a row for each image: the plan, and status, reason, unit and score."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        if self.place.exists(summary.IMAGES):
            return pq.read_table(pa.BufferReader(self.place.read(summary.IMAGES)))
        return pa.concat_tables(summary.tables(self.place, self.run))

    def _why(self, row: int, status: int) -> str:
        part, place = divmod(row, self.layout.part_size)
        reason = self._commits.record(part).reason(place, 0) if status else None
        return f"{STATUS[status]}. {reason or 'Give the command of the run again: it goes on where it stopped.'}"
