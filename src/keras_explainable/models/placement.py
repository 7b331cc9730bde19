"""Where the cells of a signal lie in the image, measured: the gradient of one cell of a signal is around its centre.

A map of a signal is stretched over the whole image, or over what of it the model sees. That is where its cells are, to
within half a cell, if every layer before it keeps, halves, ... the size of what it gets. Where one does not (a
convolution without padding, an image that is no multiple of the patches), a few cells are looked at."""

from collections.abc import Sequence

import numpy as np

from keras_explainable.models.find import spatial_size
from keras_explainable.models.taps import Call, Point, Trace

LEAST = 4  # cells along an axis, of which those in the middle can be told from the border's
DRAWS = 4  # mixtures of channels of each cell
HALF = 0.5  # of a cell: what a place may be off
# In the names of what makes other sizes.
SIZING = ("conv", "pool", "pad", "crop", "interpolate", "resiz", "upsampl")
Window = tuple[float, ...]


def keeps_step(trace: Trace, call: Call, rank: int) -> bool:
    """Whether all calls before a signal make of a size a whole part or a multiple of it, rounded up."""
    before = trace.above(call.outputs[0]) | {call.outputs[0]} if call.outputs else frozenset()
    for one in trace.calls:
        came = dict(one.signals).get(Point(*one.output[:2], "input"), ())
        sizing = not one.holds_calls and any(word in one.kind.lower() for word in SIZING)
        if not sizing or {len(came), len(one.shape)} != {rank + 2} or before.isdisjoint(one.outputs):
            continue
        sizes = (spatial_size(shape, one.channels_first) for shape in (came, one.shape))
        if any(new > 1 and not _is_part(old, new) for old, new in zip(*sizes, strict=True)):
            return False
    return True


def _is_part(old: int, new: int) -> bool:
    large, small = max(old, new), min(old, new)
    return small == -(-large // max(1, round(large / small)))


def cells(size: Sequence[int]) -> list[tuple[int, ...]]:
    """The cells that are looked at: a quarter of the way from both ends of every axis."""
    return [tuple(s // 4 for s in size), tuple(s - 1 - s // 4 for s in size)]


def mixtures(size: Sequence[int], channels: int) -> np.ndarray:
    """(copies, *size, channels): of one cell each, numbers of both signs for all channels, and else 0."""
    rng, found = np.random.default_rng(0), []
    for cell in cells(size):
        for _ in range(DRAWS):
            one = np.zeros((*size, channels), "float32")
            one[cell] = rng.choice([-1.0, 1.0], size=channels)
            found.append(one)
    return np.stack(found)


def windows(gradients: np.ndarray, size: Sequence[int], seen: Sequence) -> tuple[Window | None, ...]:
    """Where the cells of a signal of a size begin and end along each axis, in parts of the image, from the gradients
    (copies, *image) of `mixtures` as squares; what the model sees of the image is `seen`, and None all of it.

    The centre of a cell is the median of its squared gradient: what comes from afar hardly moves it."""
    found: list[Window | None] = []
    for axis, (count, window) in enumerate(zip(size, seen, strict=True)):
        others = tuple(a for a in range(1, gradients.ndim) if a != axis + 1)
        centres = np.split(np.array([_median(one) for one in gradients.sum(axis=others)]), 2)
        at = [cell[axis] for cell in cells(size)]
        found.append(_window(count, window, at, centres, gradients.shape[axis + 1]))
    return tuple(found)


def _median(density: np.ndarray) -> float:
    """The place below which half of the numbers along an axis are."""
    total = np.concatenate([[0.0], np.cumsum(density)])
    return float(np.interp(total[-1] / 2, total, np.arange(len(total)))) if total[-1] > 0 else np.nan


def _window(count: int, window: Window | None, at: Sequence, draws: Sequence[np.ndarray], size: int) -> Window | None:
    """The measured window along one axis, where it is another than the usual one by more than half a cell, and more
    than what the draws of a cell's centre differ by."""
    draws = [draw[~np.isnan(draw)] for draw in draws]
    if count < LEAST or at[0] == at[1] or not all(map(len, draws)):
        return window
    begin, end = window or (0.0, 1.0)
    usual = (end - begin) * size / count
    centres = [draw.mean() for draw in draws]
    step = (centres[1] - centres[0]) / (at[1] - at[0])
    start = centres[0] - (at[0] + 0.5) * step
    off = max(abs(start + (i + 0.5) * step - begin * size - (i + 0.5) * usual) for i in (0, count - 1))
    differ = max(np.ptp(draw) for draw in draws)
    if off <= HALF * usual + differ or not 0.5 * usual < step < 2 * usual:
        return window
    return float(start / size), float((start + count * step) / size), begin, end
