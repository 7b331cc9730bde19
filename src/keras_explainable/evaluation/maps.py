"""The maps of the methods of an evaluation. Methods that share passes of the model make them together, a few methods at
a time, so that their maps fit into memory until they are measured."""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from keras_explainable import data, models, registry
from keras_explainable.evaluation.selection import Row
from keras_explainable.explaining.checks import number_of, recorded
from keras_explainable.explaining.loop import run_steps
from keras_explainable.explaining.program import Explaining
from keras_explainable.explaining.several import Several

KEPT = 1 << 28  # bytes of maps in memory before they are measured


class Source(Protocol):
    """The images of an evaluation."""

    model: Any
    x: Any
    y: Any
    score: Any

    def source(self, images: int | None) -> tuple[data.Batches, int | None]:
        """The batches, of at most this many images."""


class Maps:
    """The maps of several methods.

    Args:
        run: the model and images.
        rows: the methods that may make their maps together.
    """

    def __init__(self, run: Source, rows: Mapping[str, Row]) -> None:
        self.run = run
        self.groups = {row.name: group for group in _groups(run, rows) for row in group}
        self.made: dict[str, list[np.ndarray] | Exception] = {}
        self.seconds: dict[str, float] = {}  # of what was made together, the same for all methods of a group

    def make(self, row: Row) -> None:
        """Make the maps of all methods of a group, if they were not made yet."""
        group = self.groups.get(row.name)
        if group is None or row.name in self.made:
            return
        start = time.perf_counter()
        self.made |= self._together(group)
        self.seconds |= dict.fromkeys((one.name for one in group), (time.perf_counter() - start) / len(group))

    def of(self, row: Row, images: int | None) -> Iterator[tuple]:
        """Each batch of images and units, and the maps of a method; None where maps need no model."""
        source, _ = self.run.source(images)
        if row.name in self.made:
            found = self.made.pop(row.name)
            if isinstance(found, Exception):
                raise found
            for (batch, indices), maps in zip(source.iterator, found, strict=True):
                yield batch, indices, maps
        elif row.method is None:
            for batch, indices in source.iterator:
                yield batch, indices, None
        else:
            source, batches = recorded(source)
            whole = not registry.traits(row.method).repeats
            for _, output in run_steps(self._step(row), whole, self.run.model, source, 0):
                yield *batches.popleft(), output[1]

    def _together(self, group: Sequence[Row]) -> dict[str, list[np.ndarray] | Exception]:
        """The maps of each batch by each method, or the exception that it raised."""
        step: Any = Several({row.name: self._step(row) for row in group})
        parts: dict[str, list[np.ndarray]] = {row.name: [] for row in group}
        try:
            for _, output in run_steps(step, False, self.run.model, self.run.source(None)[0], 0):
                for name, (_, maps) in output.items():
                    parts[name].append(maps)
        except Exception:
            if step.steps:
                raise
        return {**{name: parts[name] for name in step.steps}, **step.failed}

    def _step(self, row: Row) -> Explaining:
        assert row.method is not None
        params = row.params | ({} if self.run.score is None else {"score": self.run.score})
        return Explaining(row.method, params, None, True)


def _groups(run: Source, rows: Mapping[str, Row]) -> list[list[Row]]:
    """Groups of methods that share passes, small enough for their maps to fit into `KEPT`."""
    if run.y is None or not hasattr(run.x, "shape"):  # the number of maps is not known
        return []
    size = models.size(*models.bind(run.model, run.x[:1]))
    together = int(KEPT // (4 * len(run.x) * number_of(run.y) * np.prod(size)))
    groups: dict[Any, list[Row]] = {}
    for row in rows.values():
        if row.method is not None:
            groups.setdefault(registry.group_of(row.method), []).append(row)
    parts = [group[i : i + together] for group in groups.values() for i in range(0, len(group), max(1, together))]
    return [part for part in parts if len(part) > 1]
