"""Measure whether a signal shows the image: if a block of the image is replaced, does the signal change most there?

A few copies of an image run through the model, each with a different block replaced. The evidence of a reading of a
signal is the probability that a cell inside the block changes more than one outside, averaged over the blocks. This is
the area under the ROC curve: 1 if positions are kept, 0.5 if the signal has none."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from keras_explainable.models import orders, probes, tokens
from keras_explainable.models.contract import Adapter
from keras_explainable.models.probes import Changes
from keras_explainable.models.signal_layout import Reading
from keras_explainable.models.spatial import spatial_size
from keras_explainable.models.trace import Call, Point

ENOUGH = 0.8  # the evidence that a layer needs to be chosen
SURE = 0.95  # the same, for a signal of fewer than FEW cells
FEW = 9
LIKELY = 0.7  # the same, for the layer and reading that the model's structure suggests
POOR = 0.6  # below this, a layer that the user names gives a warning
TWICE = 0.5  # another reading must miss perfect evidence by less than this times the miss of the suggested reading
LEAST = 0.005  # by how much evidence falls short of 1 by chance
BLOCKS = {1: 8, 2: 4, 3: 2}  # along each axis
PREFIXES = 12  # how many tokens may come before those of the image


class BestReading(NamedTuple):
    """The best reading of a signal, and how well the signal shows the image with it."""

    reading: Reading
    evidence: float
    usual: bool = True  # whether the model's structure suggests this reading


def blocks(rank: int) -> list[tuple[int, ...]]:
    """The blocks that are replaced. In two dimensions these are every other one of 4 x 4."""
    every = np.ndindex(*(BLOCKS[rank],) * rank)
    return [at for at in every if rank != 2 or sum(at) % 2 == 0]


def masks(size: Sequence[int]) -> np.ndarray:
    """A mask of each block: (blocks, *size)."""
    rank = len(size)
    at = np.stack(np.meshgrid(*(np.arange(s) * BLOCKS[rank] // s for s in size), indexing="ij"), -1)
    return np.stack([(at == np.array(block)).all(axis=-1) for block in blocks(rank)])


def inside(size: tuple, rank: int, windows: Sequence) -> np.ndarray:
    """Which cells (blocks, cells) of a grid have their centre in each block. `windows` says where in the image the
    model looks."""
    ranges = [window or (0.0, 1.0) for window in windows or [None] * rank]
    centres = [a + (np.arange(s) + 0.5) / s * (b - a) for s, (a, b) in zip(size, ranges, strict=True)]
    at = np.stack(np.meshgrid(*(np.floor(c * BLOCKS[rank]) for c in centres), indexing="ij"), -1).reshape(-1, rank)
    return np.stack([(at == np.array(block)).all(axis=1) for block in blocks(rank)])


def area(changes: np.ndarray, cells: np.ndarray) -> float:
    """The area under the ROC curve of changes (blocks, cells) as a predictor of the cells in each block. It is averaged
    over the blocks that have cells and change anything; NaN if there is none."""
    usable = cells.any(axis=1) & ~cells.all(axis=1) & (changes.max(axis=1) > 0)
    if not usable.any():
        return math.nan
    changes, cells = changes[usable], cells[usable]
    order = changes.argsort(axis=1).argsort(axis=1)
    number = cells.sum(axis=1)
    wins = (order * cells).sum(axis=1) - number * (number - 1) / 2
    return float((wins / (number * (cells.shape[1] - number))).mean())


def readings(call: Call, rank: int, grids: Callable[[int], Iterable[tuple]]) -> Iterator[tuple[Reading, bool]]:
    """The ways to read a signal as positions, and whether each is the one that the model's structure suggests."""
    if len(call.shape) == rank + 2:
        for first in (call.channels_first, not call.channels_first):
            if any(s > 1 for s in spatial_size(call.shape, first)):
                yield Reading(first), first == call.channels_first
    elif len(call.shape) == 3:
        for grid in grids(call.shape[1]):
            rest = call.shape[1] - math.prod(grid)
            for prefix in range(min(rest, PREFIXES) + 1):
                yield Reading(grid=grid, prefix=prefix), prefix == rest in tokens.PREFIXES
                if rank == 3 and min(grid) > 1:  # the frames of each place are adjacent
                    order = np.arange(math.prod(grid)).reshape(*grid[1:], grid[0]).transpose(2, 0, 1).ravel()
                    yield Reading(grid=grid, prefix=prefix, order=tuple(order.tolist())), False


class Evidence:
    """What a model's signals show, for images of one size. It is measured once for each trace."""

    def __init__(
        self, calls: Sequence[Call], changes: dict[Point, Changes], rank: int, windows: Sequence, grids: Callable
    ) -> None:
        self.changes, self.rank, self.windows, self.grids = changes, rank, windows, grids
        self.points = {c.outputs[0]: c.output for c in calls if c.output in changes and not c.operation}
        self.known: dict[Point, list[BestReading]] = {}
        self.tried: set[Point] = set()  # signals for which other orders of tokens were tried

    def has(self, call: Call) -> bool:
        """Whether a call's signal was measured, as its own output or as that of a call inside it."""
        return call.output in self.changes or call.outputs[0] in self.points

    def of(self, call: Call) -> list[BestReading]:
        """How a signal shows the image with each reading, the best first; empty if it was not measured."""
        if call.output not in self.known:
            self.known[call.output] = self._ranked(call)
        return self.known[call.output]

    def best(self, call: Call) -> BestReading | None:
        return next(iter(self.of(call)), None)

    def try_orders(self, call: Call, adapter: Adapter, shape: tuple, scale: Any) -> None:
        """Find out which token of a signal is at which position, if the tokens do not show the image row by row."""
        best = self.best(call)
        if best is None or best.evidence >= ENOUGH or not best.reading.grid or call.output in self.tried:
            return
        self.tried.add(call.output)
        for reading, usual in readings(call, self.rank, self.grids):
            order = orders.found(adapter, shape, call, reading, scale) if usual else None
            if order is None:
                continue
            changes = self.changes[self.points.get(call.outputs[0], call.output)].tokens
            cells = inside(reading.grid, self.rank, self.windows)
            value = area(changes[:, reading.prefix :][:, list(order)], cells)  # type: ignore[index]
            if value >= ENOUGH:
                self.known[call.output].insert(0, BestReading(reading._replace(order=order), value, False))
                return

    def _ranked(self, call: Call) -> list[BestReading]:
        seen = self.changes.get(self.points.get(call.outputs[0], call.output))
        if seen is None:
            return []
        found = []
        for reading, usual in readings(call, self.rank, self.grids):
            changes = seen.tokens if reading.grid else seen.first if reading.first else seen.last
            if changes is None:
                continue
            if reading.grid:
                changes = changes[:, reading.prefix : reading.prefix + reading.number]
                changes = changes[:, reading.order] if reading.order else changes
            value = area(changes, inside(reading.size(call.shape), self.rank, self.windows))
            if not math.isnan(value):
                missing = (1 - value + LEAST) * (TWICE if usual else 1)
                found.append((missing, BestReading(reading, value, usual)))
        return [shown for _, shown in sorted(found, key=lambda pair: pair[0])]


def measured(adapter: Adapter, shape: tuple, calls: Sequence[Call], scale: Any, grids: Callable) -> Evidence:
    """Measure the evidence of the signals of some calls, for images of a shape (B, ...). `grids(count)` gives the
    possible grids of so many tokens."""
    first, rank = adapter.channels_first, len(shape) - 2
    batch = probes.images(shape, first, scale, masks(spatial_size(shape, first)))
    layout = adapter.inputs.layout
    windows = layout.windows if layout is not None else ()
    return Evidence(calls, probes.changes(adapter, batch, calls), rank, windows, grids)
