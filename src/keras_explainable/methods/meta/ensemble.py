"""The mean of several methods' maps."""

import functools
import numbers
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from keras_explainable import filters, registry
from keras_explainable.errors import InputError
from keras_explainable.methods.meta.smooth import LARGEST, flat, seeded, windows_of
from keras_explainable.models import View, all_together, on_view, opens_view
from keras_explainable.registry import Method
from keras_explainable.runtime.compile_cache import Program, repeated


@dataclass(frozen=True)
class Each(Program):
    """The scores and maps of several methods with their parameters, from shared passes."""

    methods: tuple[tuple[Callable, dict], ...]

    def __call__(self, view: View) -> tuple:
        return all_together(view, [functools.partial(_on, method, params) for method, params in self.methods])


def _on(method: Callable, params: dict, view: View) -> tuple:
    return on_view(method, view, **params)


def ensemble(methods: Sequence[Method], weights: Sequence[float] | None = None) -> Callable:
    """The weighted mean of several methods' maps, each resized to the images and normalised from 0 to 1.

    maps = sum_i w_i normalize(resize(postprocessing_i(maps_i))) / sum_i w_i

    Args:
        methods: explaining methods or their names. Registered methods get their usual postprocessing.
        weights: w, one for each method; None gives all methods the same weight.

    Raises:
        InputError: there is no method, or the weights are not one number of 0 or more for each, or all of them are 0.
    """
    functions = registry.methods_of(methods)
    shares = [1.0] * len(functions) if weights is None else list(weights)
    known = all(isinstance(w, numbers.Real) and 0 <= w < LARGEST for w in shares)
    if not functions or len(shares) != len(functions) or not known or not sum(shares):
        raise InputError(
            f"{len(functions)} methods and weights={weights} came: give one weight of 0 or more for each, not all 0."
        )

    @registry.with_traits(repeats=True, at_images=True)
    @registry.with_parameters_of(*functions)
    @opens_view
    def combined(view: View, seed: int | None = None, **params: Any) -> tuple:
        axis, total, scores = tuple(range(1, 1 + view.rank)), 0.0, None
        made: dict[int, tuple] = {}
        for group in registry.groups(functions):
            step = Each(tuple((method, seeded(method, params, seed)) for method in group))
            made |= zip(map(id, group), repeated(step, view, group[0])(), strict=True)
        for method, share in zip(functions, shares, strict=True):
            found, maps = made[id(method)]
            maps = flat(method, maps, len(view.inputs.shape))
            maps = (registry.usual_postprocessing(method) or (lambda m, axis: m))(maps, axis=axis)
            maps = view.to_image_size(maps, windows=windows_of(method, view, params))
            scores = found if scores is None else scores
            total = total + share / sum(shares) * filters.normalize(maps, axis)
        return scores, total

    combined.__name__ = "_".join(map(registry.named, functions)) + "_ensemble"
    return combined
