"""How a tensor is read as places of an image: which reading gives a map, and whether its cells show their places."""

from typing import NamedTuple

import numpy as np

MOST_OTHERS = 24  # tokens before the patches
MOST = 4  # blocks along an axis
RUNS = 4
CLOSE = 1e-3
SOME = 1e-6  # of the largest gradient


class Reading(NamedTuple):
    """Values (N, *grid, C) of a tensor; `order` says where each place of the map is found among them."""

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
    """Every reading of a tensor of that shape as `number` maps of that grid."""
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
        for before in range(min(shape[1] - places, MOST_OTHERS) + 1):
            yield Reading(f"tokens behind {before}", lambda a, k=before: tokens(a[:, k : k + places], grid))
        if shape[2] == places:
            yield Reading("tokens last", lambda a: tokens(np.swapaxes(a, 1, 2), grid))


def tokens(array, grid):
    return array.reshape(len(array), *grid, array.shape[-1])


def grad_cam(values, gradient):
    """Grad-CAM of values (N, *grid, C)."""
    axes = tuple(range(1, values.ndim - 1))
    return (gradient.mean(axes, keepdims=True) * values).sum(-1)


def layer_cam(values, gradient):
    return (np.maximum(gradient, 0) * values).sum(-1)


def eigen_cam(values, gradient):
    """The first principal component of the channels, of the sign of their mean."""
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
    """The largest difference, relative to the largest value."""
    return float(abs(found - expected).max() / max(abs(expected).max(), 1e-30))


def best(signals, maps, witness):
    """The signal and reading by which a witness gives maps (N, *grid): `(error, signal, reading)`, or None."""
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
    """The same where maps hold the same values in another order."""
    flat, wanted = own.reshape(len(own), -1), maps.reshape(len(maps), -1)
    order = np.empty(flat.shape, int)
    for row, (have, want) in enumerate(zip(flat, wanted, strict=True)):
        order[row, want.argsort()] = have.argsort()
    moved = Reading(f"{reading.name}, in another order", reading.take, order)
    return error(wanted, np.take_along_axis(flat, order, 1)), signal, moved, own


def area(change, inside):
    """The area under the ROC curve of "the cells inside change most"."""
    within, beside = change[inside], np.sort(change[~inside])
    if not len(within) or not len(beside):
        return np.nan
    ranks = np.searchsorted(beside, within, "left") + np.searchsorted(beside, within, "right")
    return float(ranks.mean() / 2 / len(beside))


def evidence(subject, place, which, reading):
    """Whether changing one block of the images changes a signal there: the mean of `area` over blocks and images.

    Runs the model on the images, and four times on copies of which each has one block of the other image, flipped. A
    block is a quarter of each axis, or as large as a cell where those are larger.
    """
    images = subject.images
    other = np.flip(images[::-1], (-1, -2) if subject.channels_first else (-2, -3))
    seen = reading(subject.signals(place, images, gradients=False)[which].values)
    parts = min(MOST, *seen.shape[-3:-1])
    if parts < 2:
        return None
    blocks = [(a, b) for a in range(parts) for b in range(parts) if parts < MOST or (a + b) % 2 == 0]
    areas = []
    for run in range(RUNS):
        copies, chosen = images.copy(), [blocks[(run + RUNS * row) % len(blocks)] for row in range(len(images))]
        for row, block in enumerate(chosen):
            spot = (row, *(slice(None),) * subject.channels_first, *region(block, parts, subject.size))
            copies[spot] = other[spot]
        change = reading(subject.signals(place, copies, gradients=False)[which].values) - seen
        change = (change.astype("float64") ** 2).sum(-1)
        areas += [area(change[row], cells(block, parts, change.shape[1:])) for row, block in enumerate(chosen)]
    return float(np.nanmean(areas)) if not np.isnan(areas).all() else None


def cells(block, parts, grid):
    """The cells of a grid whose centres lie in a block of the last two axes."""
    centres = ((np.arange(count) + 0.5) * parts / count for count in grid[-2:])
    inside = [(one >= place) & (one < place + 1) for place, one in zip(block, centres, strict=True)]
    return np.broadcast_to(np.outer(*inside), grid)


def region(block, parts, size):
    """A block of the last two axes of an image."""
    ends = zip(block, size[-2:], strict=True)
    whole = (slice(None),) * (len(size) - 2)
    return (*whole, *(slice(place * n // parts, (place + 1) * n // parts) for place, n in ends))
