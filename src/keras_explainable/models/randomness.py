"""Detect a model that draws random numbers when it runs: its explanation differs each time."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from keras import ops

from keras_explainable import backend
from keras_explainable.models import layer_roles, probes
from keras_explainable.models.contract import Adapter
from keras_explainable.models.image_layout import scale
from keras_explainable.models.inputs import sampled
from keras_explainable.models.trace import Call, Trace

LIKE = 1e-3  # of the largest output: two runs may differ by this much


def is_random(adapter: Adapter, shape: tuple) -> bool:
    """Whether two runs on the same image of a shape (B, ...) give different outputs. This is measured once."""
    if adapter.black_box:
        return False
    trace = adapter.trace((1, *shape[1:]))
    if "random" not in trace.known:
        can = adapter.separator == "." or any(map(functools.partial(_may_draw, adapter), trace.calls))
        trace.known["random"] = bool(can and probes.in_thread(lambda: _differs(sampled(adapter), trace, shape)))
    return trace.known["random"]


def _may_draw(adapter: Adapter, call: Call) -> bool:
    """Whether a call of a Keras layer may draw random numbers: its name says so, or it is a user's own layer."""
    return any(word in call.kind.lower() for word in layer_roles.DRAWING) or adapter.layers.role(call) is None


def _differs(adapter: Adapter, trace: Trace, shape: tuple) -> bool:
    one = probes.images(shape, adapter.channels_first, scale(adapter, shape), np.zeros((0,), bool))
    one = np.repeat(one, trace.images, axis=0)

    def run(x: Any, tap: Callable) -> Any:
        return ops.cast(adapter.scores(adapter.run(x, tap, frozenset())), "float32")

    with backend.Onward(adapter.weights()):  # else both runs would begin with the same seeds
        first, second = (backend.to_host(backend.evaluate(run, adapter.images(one))[0]) for _ in range(2))
    return first.shape != second.shape or bool(abs(first - second).max() > LIKE * abs(first).max())
