"""Ways to read a tensor as places of an image: which one gives a map, and whether its cells show their places."""

from typing import NamedTuple

import numpy as np

MOST_OTHERS = 24  # the largest number of tokens before the patches
MOST = 4  # the largest number of blocks along an axis
RUNS = 4
CLOSE = 1e-3
SOME = 1e-6  # of the largest gradient


class Reading(NamedTuple):
    """A way to read a tensor as values (N, *grid, C). `order` is the index among them of each place of the map."""

    name: str
    take: object
    order: np.ndarray | None = None

    def __call__(self, array):
        values = self.take(array)
        if self.order is None:
            return values
        flat = values.reshape(len(values), -1, values.shape[-1])
        return np.stack([one[order] for one, order in zip(flat, self.order, strict=True)]).reshape(values.shape)


def readings(shape, number, grid):
    """Yield every way to read a tensor of this shape as `number` maps of this grid."""
    if shape[0] > number and len(grid) > 2 and shape[0] == number * grid[0]:  # frames in the batch
        for inner in readings(shape, shape[0], grid[1:]):
            yield Reading(
                f"{inner.name} of each frame",
                lambda a, inner=inner: inner(a).reshape(number, *grid, inner(a).shape[-1]),
            )
    if shape[0] != number:
        return
    if shape[2:] == grid:
        yield Reading("channels first", lambda a: np.moveaxis(a, 1, -1))
    if shape[1:-1] == grid:
        yield Reading("channels last", lambda a: a)
    places = int(np.prod(grid))
    if len(shape) == 3:
        for before in range(min(shape[1] - places, MOST_OTHERS) + 1 if shape[1] >= places else 0):
            yield Reading(f"tokens after {before}", lambda a, k=before: tokens(a[:, k : k + places], grid))
        if shape[2] == places:
            yield Reading("tokens last", lambda a: tokens(np.swapaxes(a, 1, 2), grid))


def tokens(array, grid):
    return array.reshape(len(array), *grid, array.shape[-1])


def grad_cam(values, gradient):
    """Return Grad-CAM of values (N, *grid, C)."""
    axes = tuple(range(1, values.ndim - 1))
    return (gradient.mean(axes, keepdims=True) * values).sum(-1)


def layer_cam(values, gradient):
    return (np.maximum(gradient, 0) * values).sum(-1)


def eigen_cam(values, gradient):
    """Return the first principal component of the channels, with the sign of their mean."""
    maps = []
    for one in values.astype("float64"):
        flat = one.reshape(-1, one.shape[-1])
        flat = flat - flat.mean(0)
        u, s, _ = np.linalg.svd(flat, full_matrices=False)
        part = u[:, 0] * s[0]
        maps.append((part * (np.sign((part * flat.mean(1)).sum()) or 1)).reshape(one.shape[:-1]))
    return np.stack(maps)


WITNESSES = {"gradcam": grad_cam, "layercam": layer_cam, "eigencam": eigen_cam}


def error(found, expected):
    """Return the norm of the difference relative to that of the values: rounding at kinks changes single values."""
    return float(np.linalg.norm(found - expected) / max(np.linalg.norm(expected), 1e-30))


def best(signals, maps, witness):
    """Find the signal and reading for which a witness computes maps (N, *grid): `(error, signal, reading)` or None."""
    number, grid = len(maps), maps.shape[1:]
    tried = []
    for signal in signals:
        for reading in readings(signal.values.shape, number, grid):
            own = witness(reading(signal.values), reading(signal.gradient))
            tried.append((error(maps, own), signal, reading, own))
    if not tried:
        return None
    found = min(tried, key=lambda one: one[0])
    if found[0] > CLOSE:
        found = next((other for other in (reordered(*one, maps) for one in tried) if other[0] <= CLOSE), found)
    return found[:3]


def reordered(_, signal, reading, own, maps):
    """Try the reading with the places in another order, which makes the values agree."""
    flat, wanted = own.reshape(len(own), -1), maps.reshape(len(maps), -1)
    order = np.empty(flat.shape, int)
    for row, (have, want) in enumerate(zip(flat, wanted, strict=True)):
        order[row, want.argsort()] = have.argsort()
    moved = Reading(f"{reading.name}, in another order", reading.take, order)
    return error(wanted, np.take_along_axis(flat, order, 1)), signal, moved, own


def area(change, inside):
    """Return the area under the ROC curve of "the cells inside change most"."""
    within, beside = change[inside], np.sort(change[~inside])
    if not len(within) or not len(beside):
        return np.nan
    ranks = np.searchsorted(beside, within, "left") + np.searchsorted(beside, within, "right")
    return float(ranks.mean() / 2 / len(beside))


class Changes:
    """How much a tensor at a place changes if one block of the images changes.

    Runs the model on the images, and four times on copies with one block of the other image, flipped. A block is a
    quarter of each axis, or as large as a cell if cells are larger.
    """

    def __init__(self, subject, place, which):
        self.subject, self.place, self.which = subject, place, which
        self.seen, self.runs = self.values(subject.images), {}

    def values(self, images):
        return self.subject.signals(self.place, images, gradients=False)[self.which].values

    def of_blocks(self, parts):
        """Return, for each run, the changed block of each image and the values."""
        if parts in self.runs:
            return self.runs[parts]
        subject, images = self.subject, self.subject.images
        other = np.flip(images[::-1], (-1, -2) if subject.channels_first else (-2, -3))
        blocks = [(a, b) for a in range(parts) for b in range(parts) if parts < MOST or (a + b) % 2 == 0]
        found = []
        for run in range(RUNS):
            copies, chosen = images.copy(), [blocks[(run + RUNS * row) % len(blocks)] for row in range(len(images))]
            for row, block in enumerate(chosen):
                spot = (row, *(slice(None),) * subject.channels_first, *region(block, parts, subject.size))
                copies[spot] = other[spot]
            found.append((chosen, self.values(copies)))
        self.runs[parts] = found
        return found

    def evidence(self, reading):
        """Return the mean of `area` over blocks and images, or None for a single row of cells."""
        seen = reading(self.seen)
        parts = min(MOST, *seen.shape[-3:-1])
        if parts < 2:
            return None
        areas = []
        for chosen, values in self.of_blocks(parts):
            change = ((reading(values) - seen).astype("float64") ** 2).sum(-1)
            areas += [area(change[row], cells(block, parts, change.shape[1:])) for row, block in enumerate(chosen)]
        return float(np.nanmean(areas)) if not np.isnan(areas).all() else None

    def others(self):
        """Yield the evidence of every reading with at least 4 x 4 cells, for any number of other tokens."""
        number, shape = len(self.subject.images), self.seen.shape
        grids = {shape[2:], shape[1:-1]} if len(shape) == 4 else {(side, side) for side in range(MOST, 33)}
        for grid in sorted(grids):
            if min(grid) >= MOST and np.prod(grid) <= np.prod(shape[1:]):
                for reading in readings(shape, number, grid):
                    yield self.evidence(reading), f"{reading.name}, {' x '.join(map(str, grid))}"


def cells(block, parts, grid):
    """Return the cells of a grid whose centres lie in a block of the last two axes."""
    centres = ((np.arange(count) + 0.5) * parts / count for count in grid[-2:])
    inside = [(one >= place) & (one < place + 1) for place, one in zip(block, centres, strict=True)]
    return np.broadcast_to(np.outer(*inside), grid)


def region(block, parts, size):
    """Return the slices of a block of the last two axes of an image."""
    ends = zip(block, size[-2:], strict=True)
    whole = (slice(None),) * (len(size) - 2)
    return (*whole, *(slice(place * n // parts, (place + 1) * n // parts) for place, n in ends))
