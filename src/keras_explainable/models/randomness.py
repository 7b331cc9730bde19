"""Whether a model gives the same twice: one that draws numbers when it runs has another explanation each time."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from keras import ops

from keras_explainable import backend
from keras_explainable.models import layer_roles, probes
from keras_explainable.models.contract import Taps
from keras_explainable.models.front import scale
from keras_explainable.models.inputs import sampled
from keras_explainable.models.trace import Call, Trace

LIKE = 1e-3  # of the largest output: what two runs may differ by


def is_random(taps: Taps, shape: tuple) -> bool:
    """Whether two runs on the same image of a shape (B, ...) give different outputs, tried once."""
    if taps.black_box:
        return False
    trace = taps.trace((1, *shape[1:]), "float32")
    if "random" not in trace.known:
        can = taps.separator == "." or any(map(functools.partial(_may_draw, taps), trace.calls))
        trace.known["random"] = bool(can and probes.outside(lambda: _differs(sampled(taps), trace, shape)))
    return trace.known["random"]


def _may_draw(taps: Taps, call: Call) -> bool:
    """Whether a call of a Keras layer may draw numbers: by its name, or since it is a user's own."""
    return any(word in call.kind.lower() for word in layer_roles.DRAWING) or taps.role(call) is None


def _differs(taps: Taps, trace: Trace, shape: tuple) -> bool:
    one = probes.images(shape, taps.channels_first, scale(taps, shape), np.zeros((0,), bool))
    one = np.repeat(one, trace.images, axis=0)

    def run(x: Any, tap: Callable) -> Any:
        return ops.cast(taps.scores(taps.run(x, tap, frozenset())), "float32")

    with backend.Onward(taps.weights()):  # each of our runs alone begins with the same seeds
        first, second = (backend.to_host(backend.evaluate(run, taps.images(one))[0]) for _ in range(2))
    return first.shape != second.shape or bool(abs(first - second).max() > LIKE * abs(first).max())
