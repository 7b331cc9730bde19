"""The one-call forms: `ke.explain` with a method and the postprocessing that is customary for it."""

import functools
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from keras_explainable import data, models, registry
from keras_explainable.explaining import WHOLE, check, partial_explain, run_steps
from keras_explainable.methods import fullgrad


@functools.cache
def shortcut(name: str) -> Callable:
    """`ke.explain` for a registered method, with its customary postprocessing."""
    record = registry.METHODS[name]
    return partial_explain(record.function, postprocessing=record.postprocessing, resizing=record.resizing)


def __getattr__(name: str) -> Any:
    """Every registered method under its name: `ke.gradcam` and so on."""
    if name in registry.METHODS:
        return shortcut(name)
    raise AttributeError(
        f"module 'keras_explainable' has no attribute {name!r}; its methods: {', '.join(registry.METHODS)}"
    )


def __dir__() -> list[str]:
    return sorted({*vars(sys.modules["keras_explainable"]), *registry.METHODS})


def full_gradient_decomposition(
    model: Any, x: Any, y: Any = None, batch_size: int = 32, score: Any = None, verbose: int | str = 0
) -> fullgrad.Decomposition:
    """Scores taken apart into what the input and each bias contribute: exact for networks of linear layers and ReLUs.

    score = sum(input_gradient * x) + sum over calls of sum(bias_gradients[path, call])

    Returns:
        `input_gradient` (N, K, *S, C), `bias_gradients` {(layer path, call): (N, K, *S', C')} and `completeness` with
        `scores`, `total`, `absolute_gap`, `relative_gap` (of the larger of |score| and the largest |contribution of a
        layer|) and `contributions` {"input" or (path, call): (N, K)}, each (N, K). A gap is reported, not raised:
        beyond ReLU networks (GELU, gates, layer normalisation) it is what no bias accounts for.

    Reference: Srinivas & Fleuret, arXiv:1905.00780.
    """

    def step(subject: Any, images: Any, units: Any) -> tuple:
        return fullgrad.decomposition(subject, images, units, score)

    source = data.batches(x, y, batch_size)
    if source.kind in WHOLE:
        check(model, x, y, score)
    with models.taps(model).device():
        batches = list(run_steps(step, ("full_gradient_decomposition", score), model, source, verbose))
    shapes, parts = zip(*batches, strict=True)
    scores, gradient = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
    terms = [np.concatenate(values) for values in zip(*(part[2] for part in parts), strict=True)]
    sums = np.concatenate([part[3] for part in parts], axis=1)
    calls = fullgrad.biased_calls(model, np.zeros((1, *shapes[0][1:]), "float32"))
    return fullgrad.Decomposition(
        gradient, dict(zip(calls, terms, strict=True)), fullgrad.completeness(scores, sums, calls)
    )
