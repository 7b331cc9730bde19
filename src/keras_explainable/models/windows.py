"""Where in the image the cells of a view's signal lie (see `placement`). This is computed from the layers before the
signal if possible, and otherwise measured by gradients."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from keras import ops

from keras_explainable import backend
from keras_explainable.models import placement, probes
from keras_explainable.models.image_layout import scale
from keras_explainable.models.inputs import sampled
from keras_explainable.models.signal_layout import Reading, as_float, channels_last, reading_of, readings_of
from keras_explainable.models.trace import INPUT, Call, Point


def of_signal(view: Any, *at: Point) -> tuple:
    """Where the cells of a signal begin and end along each axis, as fractions of the image. An axis that they cover has
    None. The result is () if they cover the whole image."""
    found = view.adapter.inputs.layout
    seen = found.windows if found is not None else ()
    if len(set(at)) != 1 or INPUT in at or view.adapter.inputs.stretched or (found is not None and found.moved):
        return seen
    point, reading = at[0], reading_of(at[0])
    rank = getattr(point, "rank", None) or view.rank
    known, key = view.trace.known, ("windows", point, reading)
    if key not in known:
        call = view.operations.at(at[0])
        odd = call is None or call.frames or view.trace.images > 1
        plain = odd or placement.keeps_step(view.operations, call, rank, seen)
        known[key] = seen if plain else _by_layers(view, call, reading, seen or [None] * rank)
        if known[key] is None and reading and reading.grid:
            known[key] = seen  # each token sees all others, which shifts measured centres to the middle
        if known[key] is None:
            known[key] = probes.in_thread(lambda: _by_gradients(view, point, seen or [None] * rank)) or seen
    return known[key]


def _by_layers(view: Any, call: Call, reading: Reading | None, ends: Sequence) -> tuple | None:
    size = (reading or Reading(call.channels_first)).size(call.shape)
    found = placement.by_layers(view.adapter, view.operations, call, view.size, size, ends)
    return found if found is None or any(found) else ()


def _by_gradients(view: Any, point: Point, ends: Sequence) -> tuple:
    call = view.call(point)
    reading = reading_of(point) or Reading(call.channels_first)
    size = reading.size(call.shape)
    mixtures = placement.mixtures(size, call.shape[1 if reading.first else -1])
    probing = probe(view, len(mixtures))
    gradients = backend.to_host(_gradients_at(probing, point, ops.convert_to_tensor(mixtures)))
    found = placement.windows(np.square(gradients).sum(axis=-1), size, ends)
    return found if any(found) else ()


def _gradients_at(view: Any, point: Point, mixtures: Any) -> Any:
    """The gradients (P, *image) of sum(signal * mixture), with `mixtures` (P, *S', C), one for each of P images."""

    def run(x: Any, tap: Callable) -> Any:
        seen: dict[Point, Any] = {}

        def see(at: Point, value: Any) -> Any:
            seen[at] = tap(at, value)
            return seen[at]

        view.adapter.run(x, see, frozenset([INPUT, point]))
        values = as_float(view, point, seen[point], readings_of([point])) * mixtures
        return ops.sum(ops.reshape(values, (view.inputs.shape[0], -1)), axis=-1, keepdims=True)

    return backend.jacobian(run, view.inputs, [INPUT], lambda p, g, _: channels_last(view, p, g), ())[2][INPUT][:, 0]


def probe(view: Any, number: int) -> Any:
    """A view of the model with the same score, on `number` images: a probe image and its negative in turn."""
    adapter, shape = sampled(view.adapter), tuple(view.inputs.shape)
    one = probes.images(shape, adapter.channels_first, scale(adapter, shape), np.zeros((0,), bool))
    # Many ReLUs that are inactive for one sign are active for the other.
    signs = np.resize([1.0, -1.0], number).astype("float32")
    return type(view)(adapter, one * signs.reshape(-1, *(1,) * (len(shape) - 1)), None, view.score)
