"""The mean of a method over noisy copies of the images."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from keras import ops

from keras_explainable import registry
from keras_explainable.errors import InputError
from keras_explainable.methods.noise import check_noise, noisy
from keras_explainable.models import View, on_view, opens_view
from keras_explainable.registry import Method
from keras_explainable.runtime.compile_cache import Program, repeated
from keras_explainable.runtime.repetition import means, moments

LARGEST = 2**31  # factors of image sizes, and weights, must be below this


def seeded(method: Callable, params: dict, seed: int | None) -> dict:
    """A method's parameters, with the seed if it takes one."""
    return {**params, "seed": seed} if registry.takes(method, "seed") else params


def flat(method: Callable, maps: Any, rank: int) -> Any:
    """The maps, if they have as many axes as the images: (B, *S', K).

    Raises:
        InputError: they have more or fewer axes, and cannot be resized.
    """
    if len(maps.shape) != rank:
        raise InputError(
            f"{registry.named(method)} gave maps of shape {tuple(maps.shape)}, and (batch, *space, units) was "
            "expected: leave out reduce=None, which keeps the channels of maps."
        )
    return maps


def windows_of(method: Callable, view: View, params: dict) -> tuple | None:
    """The parts of the images that the explained layer sees; None for methods whose maps are of the images."""
    if not registry.of_layer(method):
        return None
    return view.windows_of(params.get("layer"), params.get("layers"))


def smooth(
    method: Method, repetitions: int = 20, noise: float = 0.1, noise_kind: str = "absolute", aggregate: str = "mean"
) -> Callable:
    """The mean, variance or mean square of a method's maps over noisy copies of the images.

    maps = 1/n sum_i method(x + sigma e_i), e_i standard normal

    All images of a batch use the same draws e_i, so the map of an image depends on the seed and not on the rest of the
    batch. The explained units are the same in every draw. The scores are the mean of the copies' scores.

    Args:
        method: any explaining method, compiled or not, or its name.
        repetitions: n, the number of copies. Time grows with n, memory does not.
        noise: sigma, in the units of the images, or as a fraction of each image's max - min if noise_kind is "range".
        noise_kind: "absolute" or "range".
        aggregate: "mean", "variance" (divided by n) or "square", the mean square of the maps.

    Returns:
        A method with one more parameter, `seed`. It is also passed to `method` if that takes one.

    Reference: Smilkov et al., SmoothGrad, arXiv:1706.03825.
    """
    check_noise(repetitions, noise_kind, aggregate, noise)
    return _smooth(registry.method_of(method), int(repetitions), float(noise), noise_kind, aggregate)


@dataclass(frozen=True)
class NoisyCopy(Program):
    """The scores and maps of a method for a noisy copy of each image; the maps squared if `squared`."""

    method: Callable
    noise: float
    noise_kind: str
    squared: bool
    seed: int | None
    params: dict

    def __call__(self, view: View, step: Any) -> tuple:
        copies = noisy(view.inputs, self.noise, self.noise_kind, self.seed, step, view.adapter.channels_first)
        scores, *maps = on_view(self.method, view.of(copies, view.indices), **self.params)
        return (scores, *map(ops.square, maps)) if self.squared else (scores, *maps)


@functools.lru_cache(maxsize=256)  # the same arguments give the same function, which is compiled only once
def _smooth(method: Callable, repetitions: int, noise: float, noise_kind: str, aggregate: str) -> Callable:
    @registry.with_traits(repeats=True)
    @registry.with_parameters_of(method)
    @opens_view
    def smoothed(view: View, seed: int | None = None, **params: Any) -> tuple:
        own = seeded(method, params, seed)
        run = repeated(NoisyCopy(method, noise, noise_kind, aggregate == "square", seed, own), view, method)
        return (moments if aggregate == "variance" else means)(run, repetitions, view.inputs)

    smoothed.__name__ = f"{registry.named(method)}_smooth"
    return smoothed
