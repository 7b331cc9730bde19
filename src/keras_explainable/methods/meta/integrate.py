"""A method's maps integrated along a path from a baseline."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from keras_explainable import registry
from keras_explainable.masking.baselines import baseline_inputs
from keras_explainable.methods.quadrature import quadrature_of
from keras_explainable.models import View, on_view, opens_view
from keras_explainable.registry import Method
from keras_explainable.runtime.compile_cache import Program, repeated
from keras_explainable.runtime.repetition import scores_of, total_of


@dataclass(frozen=True)
class OnPath(Program):
    """A term of the integral: a method's maps at a point between the baseline and the image, times a weight."""

    method: Callable
    params: dict

    def __call__(self, view: View, start: Any, t: Any, weight: Any) -> tuple:
        seen = view.of(start + t * (view.inputs - start), view.indices)
        return (weight * on_view(self.method, seen, **self.params)[1],)


def integrate(
    method: Method, repetitions: int = 50, quadrature: str = "gauss_legendre", baseline: Any = 0.0
) -> Callable:
    """The mean of a method's maps over the straight path from a baseline to the image.

    maps = integral from 0 to 1 of method(x0 + t (x - x0)) dt

    The scores are those of the images themselves.

    Args:
        method: any explaining method, compiled or not, or its name.
        repetitions: the number of points on the path.
        quadrature, baseline: see `ke.methods.gradient`.
    """
    method, rows = registry.method_of(method), quadrature_of(quadrature, repetitions)

    @registry.with_traits(repeats=True, given={"baseline": baseline})
    @registry.with_parameters_of(method)
    @opens_view
    def integrated(view: View, **params: Any) -> tuple:
        run = functools.partial(repeated(OnPath(method, params), view, method), baseline_inputs(view, baseline))
        (maps,) = total_of(run, rows, view.inputs)
        return scores_of(view), maps

    integrated.__name__ = f"{registry.named(method)}_integrated"
    return integrated
