"""A method's maps integrated along a path from a baseline."""

import functools
from collections.abc import Callable
from typing import Any

from keras_explainable import models, registry
from keras_explainable.methods.baselines import behind_inputs
from keras_explainable.methods.quadrature import quadrature_of
from keras_explainable.methods.repetition import scores_of, total_of
from keras_explainable.registry import Method
from keras_explainable.runtime.compile_cache import frozen, repeated, repeats


def integrate(
    method: Method, repetitions: int = 50, quadrature: str = "gauss_legendre", baseline: Any = 0.0
) -> Callable:
    """The mean of a method's maps over the straight path from a baseline to the image.

    maps = integral from 0 to 1 of method(x0 + t (x - x0)) dt, and the scores of the images as they are.

    Args:
        method: any explaining method, compiled or not, or its name.
        repetitions: points on the path. Time grows with them, memory does not.
        quadrature: "gauss_legendre", whose error falls quickly where the maps change smoothly, or "midpoint".
        baseline: a number, a colour (C,), images, or "mean" for each image's own mean colour.
    """
    method, rows = registry.method_of(method), quadrature_of(quadrature, repetitions)

    @repeats
    @registry.with_parameters_of(method)
    def integrated(model: Any, inputs: Any, indices: Any = None, **params: Any) -> tuple:
        score = params.get("score")
        view = models.view(model, inputs)
        x, behind = view.inputs, behind_inputs(view, baseline)
        units = models.units(model, inputs, indices, score)

        def at(subject, x, behind, units, t, weight):
            return (weight * method(subject, behind + t * (x - behind), units, **params)[1],)

        key = frozen(["integrate", method, params])
        run = functools.partial(repeated(at, key, model, method, x), x, behind, units)
        (maps,) = total_of(run, rows, x)
        return scores_of(model, x, units, score), maps

    integrated.given = {"baseline": baseline}  # type: ignore[attr-defined]
    integrated.__name__ = f"{registry.named(method)}_integrated"
    return integrated
