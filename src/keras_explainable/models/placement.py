"""Where the cells of a signal lie in the image.

A map of a signal is stretched over the whole image, or over the part that the model sees. Its cells really lie there,
to within half a cell, if every layer before it divides or multiplies sizes evenly. If a layer does not (convolutions
without padding, images whose size is not a multiple of the patch size), the positions follow from the layers' strides
and paddings. If these are unknown, positions are measured: the gradient of one cell of a signal is concentrated around
its centre."""

from collections.abc import Sequence

import numpy as np

from keras_explainable.models import layer_roles
from keras_explainable.models.contract import Adapter
from keras_explainable.models.spatial import spatial_size
from keras_explainable.models.trace import IMAGES, Call, Point, Trace

LEAST = 4  # cells along an axis: with fewer, inner cells are too close to the border
DRAWS = 4  # random mixtures of channels for each cell
HALF = 0.5  # of a cell: places may be off by this much
SHRUNK = 0.6  # of the image: if measured cells cover less than this, the measurement is not trusted
Window = tuple[float, ...]
# A size; and for each axis the first centre and the step.
Places = tuple[tuple[int, ...], tuple[tuple[float, float], ...]]


def keeps_step(trace: Trace, call: Call, rank: int, seen: Sequence = ()) -> bool:
    """Whether all calls before a signal divide or multiply sizes evenly, rounding up. If `seen` says where the first
    weights look, only calls from these on are checked."""
    return all(
        new <= 1 or _is_part(old, new)
        for one in _before(trace, call, bool(seen))
        if _sizes(one, rank)
        for old, new in zip(*_sizes(one, rank), strict=True)
    )


def _before(trace: Trace, call: Call, weighted: bool) -> list[Call]:
    """The calls that make a signal, without the calls around them; with `weighted`, from the first call with weights
    on."""
    above = trace.above(call.outputs[0]) | {call.outputs[0]} if call.outputs else frozenset()
    found = [one for one in trace.calls if not one.holds_calls and not above.isdisjoint(one.outputs)]
    first = next((i for i, one in enumerate(found) if one.has_kernel and one.leaf), 0) if weighted else 0
    return found[first:]


def _sizes(one: Call, rank: int) -> tuple[tuple, ...]:
    """The spatial sizes of a call's input and output, if the call can change sizes; else ()."""
    came, kind = dict(one.signals).get(Point(*one.output[:2], "input"), ()), one.kind.lower()
    sizing = any(word in kind for word in layer_roles.SIZING) or not (one.operation or one.has_kernel)
    if not sizing or {len(came), len(one.shape)} != {rank + 2}:
        return ()
    return tuple(spatial_size(shape, one.channels_first) for shape in (came, one.shape))


def _is_part(old: int, new: int) -> bool:
    large, small = max(old, new), min(old, new)
    return small == -(-large // max(1, round(large / small)))


def by_layers(
    adapter: Adapter, trace: Trace, call: Call, image: Sequence[int], size: Sequence[int], seen: Sequence
) -> tuple[Window | None, ...] | None:
    """Where the cells of a signal of a size begin and end in an image, computed from the layers before it; None if a
    layer's geometry is unknown."""
    found = _followed(adapter, _before(trace, call, False), {IMAGES: (tuple(image), ((0.0, 1.0),) * len(image))}, call)
    if found is None and any(seen):
        calls = _before(trace, call, True)
        found = _followed(adapter, calls, _entry(calls, image, seen), call)
    if found is None or found[0] != tuple(size):
        return None
    rows = zip(size, seen, found[1], image, strict=True)
    return tuple(_chosen(n, window, first + 0.5 - step / 2, step, whole) for n, window, (first, step), whole in rows)


def _followed(adapter: Adapter, calls: list[Call], at: dict[int, Places], call: Call) -> Places | None:
    """The places of a call's output, given those of other values."""
    for one in calls:
        known = [at[value] for value in one.inputs if value in at]
        if not known:
            continue
        (came, places) = known[0]
        sizes = _sizes(one, len(came))
        if any(word in one.kind.lower() for word in layer_roles.TURNING):
            return None
        if sizes:
            old, new = sizes
            if old != came:
                return None
            looks = [_looks(adapter, one, axis, *pair) for axis, pair in enumerate(zip(old, new, strict=True))]
            if None in looks:
                return None
            places = tuple((a + first * b, step * b) for (a, b), (step, first) in zip(places, looks, strict=True))  # type: ignore[misc]
            came = new
        at.update(dict.fromkeys(one.outputs, (came, places)))
    return at.get(call.outputs[0])


def _entry(calls: list[Call], image: Sequence[int], seen: Sequence) -> dict[int, Places]:
    """The places of the first weights' input, from the measured windows."""
    entry = dict(calls[0].signals).get(Point(*calls[0].output[:2], "input"), ()) if calls else ()
    size = spatial_size(entry, calls[0].channels_first) if len(entry) == len(image) + 2 else ()
    if not size:
        return {}
    places = []
    for count, whole, window in zip(size, image, seen, strict=True):
        begin, end = window or (0.0, 1.0)
        step = (end - begin) * whole / count
        places.append((begin * whole + step / 2 - 0.5, step))
    return {calls[0].inputs[0]: (size, tuple(places))}


def _looks(adapter: Adapter, one: Call, axis: int, old: int, new: int) -> tuple[float, float] | None:
    return adapter.layers.geometry(one, axis, old, new) or ((1.0, 0.0) if old == new else None)


def cells(size: Sequence[int]) -> list[tuple[int, ...]]:
    """The cells that are measured: a quarter of the way from both ends of every axis."""
    return [tuple(s // 4 for s in size), tuple(s - 1 - s // 4 for s in size)]


def mixtures(size: Sequence[int], channels: int) -> np.ndarray:
    """(copies, *size, channels): random signs for all channels of one cell each, and 0 elsewhere."""
    rng, found = np.random.default_rng(0), []
    for cell in cells(size):
        for _ in range(DRAWS):
            one = np.zeros((*size, channels), "float32")
            one[cell] = rng.choice([-1.0, 1.0], size=channels)
            found.append(one)
    return np.stack(found)


def windows(gradients: np.ndarray, size: Sequence[int], seen: Sequence) -> tuple[Window | None, ...]:
    """Where the cells of a signal of a size begin and end along each axis, as fractions of the image. `gradients`
    (copies, *image) are the squared gradients of `mixtures`; `seen` is the part of the image that the model sees, None
    for all of it.

    The centre of a cell is the median of its squared gradient: distant contributions hardly move it."""
    found: list[Window | None] = []
    for axis, (count, window) in enumerate(zip(size, seen, strict=True)):
        others = tuple(a for a in range(1, gradients.ndim) if a != axis + 1)
        centres = np.split(np.array([_median(one) for one in gradients.sum(axis=others)]), 2)
        at = [cell[axis] for cell in cells(size)]
        found.append(_window(count, window, at, centres, gradients.shape[axis + 1]))
    return tuple(found)


def _median(density: np.ndarray) -> float:
    """The position below which half of the total along an axis lies."""
    total = np.concatenate([[0.0], np.cumsum(density)])
    return float(np.interp(total[-1] / 2, total, np.arange(len(total)))) if total[-1] > 0 else np.nan


def _window(count: int, window: Window | None, at: Sequence, draws: Sequence[np.ndarray], size: int) -> Window | None:
    """The measured window along one axis, if it differs from the usual one by more than half a cell plus the spread
    between draws."""
    draws = [draw[~np.isnan(draw)] for draw in draws]
    if count < LEAST or at[0] == at[1] or not all(map(len, draws)):
        return window
    centres = [draw.mean() for draw in draws]
    step = (centres[1] - centres[0]) / (at[1] - at[0])
    differ = max(np.ptp(draw) for draw in draws)
    # If every cell sees the whole image, all centres are in the middle.
    if not SHRUNK < step * count / size < 1 / SHRUNK:
        return window
    return _chosen(count, window, centres[0] - (at[0] + 0.5) * step, step, size, differ)


def _chosen(count: int, window: Window | None, start: float, step: float, size: int, doubt: float = 0) -> Window | None:
    """The window of cells with a given step and start, unless it is the usual one to within half a cell."""
    begin, end = window or (0.0, 1.0)
    usual = (end - begin) * size / count
    off = max(abs(start + (i + 0.5) * step - begin * size - (i + 0.5) * usual) for i in (0, count - 1))
    found = float(start / size), float((start + count * step) / size), begin, end
    return window if off <= HALF * abs(usual) + doubt else found
