"""Shortcuts: `ke.explain` for one method, with its usual postprocessing."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_explainable import models, registry
from keras_explainable.errors import InputError
from keras_explainable.explaining.checks import open_batches
from keras_explainable.explaining.explain import partial_explain
from keras_explainable.explaining.loop import run_steps, units_and_score
from keras_explainable.explaining.scope import model_scope
from keras_explainable.methods import fullgrad, gradient
from keras_explainable.methods.fullgrad.decomposition import (
    Decomposition,
    biased_calls,
    implicit_biases,
    measured_calls,
)
from keras_explainable.methods.gradient.integrated_gradients import Convergence
from keras_explainable.runtime.compile_cache import Program


def shortcut(name: str) -> Callable:
    """`ke.explain` for a registered method, with its usual postprocessing."""
    return _shortcut(registry.METHODS[name])


@functools.cache
def _shortcut(record: registry.Record) -> Callable:
    return partial_explain(record.function, postprocessing=record.postprocessing, resizing=record.resizing)


def of_method(name: str) -> Callable:
    """The shortcut of a registered method by its name, such as `ke.gradcam`.

    Raises:
        AttributeError: no method has this name. The message lists the known names.
    """
    if name in registry.METHODS:
        return shortcut(name)
    near = registry.nearest(name)
    hint = f" Nearest: {', '.join(near)}." if near else ""
    raise AttributeError(
        f"module 'keras_explainable' has no attribute {name!r}.{hint} Its methods: {', '.join(registry.METHODS)}"
    )


@dataclass(frozen=True)
class Decomposing(Program):
    """The terms of the scores of a batch of images (see `full_gradient_decomposition`)."""

    score: Any
    implicit: bool

    def __call__(self, model: Any, inputs: Any, indices: Any) -> tuple:
        view = models.view(model, inputs, indices, self.score)
        terms = models.on_view(fullgrad.decomposition, view)
        return (*terms, models.on_view(implicit_biases, view)) if self.implicit else terms


@dataclass(frozen=True)
class Gap(Program):
    """The completeness gap of integrated gradients on a batch of images."""

    score: Any
    params: dict[str, Any]

    def __call__(self, model: Any, inputs: Any, indices: Any) -> tuple:
        return tuple(gradient.integrated_gradients_gap(model, inputs, indices, self.score, **self.params))


def full_gradient_decomposition(
    model: Any,
    x: Any,
    y: Any = None,
    batch_size: int | None = None,
    score: Any = None,
    verbose: int | str = 0,
    *,
    implicit: bool = False,
    precision: str | None = None,
    leaf: Any = None,
) -> Decomposition:
    """Decompose scores into the contributions of the input and of each bias.

    This is exact for networks of linear layers and ReLUs:

    score = sum(input_gradient * x) + sum over calls of sum(bias_gradients[path, call])

    Args:
        implicit: measure the contributions instead. This extension is not in the paper and is exact for any network.
            The contribution of each call (inputs x, outputs y) of each layer without inner layers is
            <dscore/dy, y> - <dscore/dx, x>, where the gradient at an input is taken through this call alone. The rest
            of the score is the contribution of all other operations, under "operations", so the gap is zero by
            definition. A large contribution of "operations" means that much is computed outside of layers, or in
            layers whose signals do not have the images on their first axis. `unexplained` is what the biases miss.
        precision: must be None or "float32". Anything lower raises an InputError.
        leaf: as in `ke.explain`. What the other inputs add to the score is part of the gap.

    Returns:
        `input_gradient` (N, K, *S, C), `bias_gradients` {(layer path, call): (N, K, *S', C')} and `completeness`.
        The latter has `scores`, `total`, `absolute_gap`, `relative_gap` (relative to the larger of |score| and the
        largest |contribution of a layer|), each (N, K), and `contributions` {"input" or (path, call): (N, K)}. A gap
        is reported and raises no error: in networks with more than linear layers and ReLUs (GELU, gates, layer
        normalisation) it is the part of the score that no bias accounts for. With `implicit`, there is also
        `unexplained` {(path, call) or "operations": (N, K)}: the measured contributions minus those of the biases.
        They add up to the gap of the biases and show which layers cause it.

    Reference: Srinivas & Fleuret, arXiv:1905.00780.
    """
    y, score = units_and_score(y, score)
    if precision not in (None, "float32"):
        raise InputError(f"precision={precision!r} came, and float32 was expected: rounded terms do not add up.")
    step = Decomposing(score, implicit)
    with model_scope(model):
        source, _ = open_batches(model, x, y, batch_size, score, leaf)
        images, parts = zip(*run_steps(step, True, model, source, verbose), strict=True)
        view = models.view(*models.bind(model, images[0]))
        calls = biased_calls(view)
    scores, gradient = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
    terms = [np.concatenate(values) for values in zip(*(part[2] for part in parts), strict=True)]
    sums, *measured = (
        np.moveaxis(np.concatenate(values), 1, 0) for values in zip(*(part[3:] for part in parts), strict=True)
    )
    report = fullgrad.completeness(scores, sums, calls)
    if implicit:
        report = fullgrad.implicit_completeness(scores, measured[0], measured_calls(view), report)
    return Decomposition(gradient, dict(zip(calls, terms, strict=True)), report)


def integrated_gradients_gap(
    model: Any,
    x: Any,
    y: Any = None,
    batch_size: int | None = None,
    score: Any = None,
    verbose: int | str = 0,
    leaf: Any = None,
    **params: Any,
) -> Convergence:
    """The completeness gap of `integrated_gradients`: how far the sum of a map is from score(x) - score(baseline).

    If the gap is not small, use more `repetitions`.

    Args:
        leaf: as in `ke.explain`.
        params: `repetitions`, `quadrature` and `baseline`, as in `integrated_gradients`.

    Returns:
        `scores`, `baseline_scores`, `total` (the sum of each map), `absolute_gap` and `relative_gap` (relative to
        |scores - baseline_scores|), each (N, K).
    """
    y, score = units_and_score(y, score)
    with model_scope(model):
        source, _ = open_batches(model, x, y, batch_size, score, leaf, params=params)
        parts = [part for _, part in run_steps(Gap(score, params), False, model, source, verbose)]
    return Convergence(*map(np.concatenate, zip(*parts, strict=True)))
