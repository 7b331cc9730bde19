"""The mean of a method over noisy copies of the images."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from keras import ops

from keras_explainable import registry
from keras_explainable.errors import InputError
from keras_explainable.methods.noise import check_noise, noisy
from keras_explainable.methods.repetition import means, moments
from keras_explainable.models import View, on_view, opens_view
from keras_explainable.registry import Method
from keras_explainable.runtime.compile_cache import Program, repeated, repeats

LARGEST = 2**31  # factor of a size: none of more bits is one in pixels


def seeded(method: Callable, params: dict, seed: int | None) -> dict:
    """A method's parameters, and the seed where it takes one."""
    return {**params, "seed": seed} if registry.takes(method, "seed") else params


def flat(method: Callable, maps: Any, rank: int) -> Any:
    """Maps (B, *S', K) of images of this rank, to be resized.

    Raises:
        InputError: they have other axes.
    """
    if len(maps.shape) != rank:
        raise InputError(
            f"{registry.named(method)} gave maps of shape {tuple(maps.shape)}, and (batch, *space, units) was "
            "expected: leave out reduce=None, with which maps have channels as well."
        )
    return maps


def windows_of(method: Callable, view: View, params: dict) -> tuple | None:
    """Where in the images the signal of a method's layer looks; None for maps of the images themselves."""
    if not registry.of_layer(method):
        return None
    return view.windows_of(params.get("layer"), params.get("layers"))


def smooth(
    method: Method, repetitions: int = 20, noise: float = 0.1, noise_kind: str = "absolute", aggregate: str = "mean"
) -> Callable:
    """The mean of a method's scores and maps over noisy copies of the images, or how much the maps vary.

    maps = 1/n sum_i method(x + sigma e_i), e_i standard normal. Each image of a batch sees the same draws e_i, so that
    its map depends on the seed alone and not on its neighbours. The explained units are the same in every draw.

    Args:
        method: any explaining method, compiled or not, or its name.
        repetitions: n. Time grows with it, memory does not.
        noise: sigma, in the images' own units, or with noise_kind="range" as a fraction of each image's max - min.
        aggregate: of the maps, the "mean", the "variance" (with 1/n) or the mean "square"; of the scores the mean.

    Returns:
        A method with one parameter more: `seed`, which the method itself gets as well where it takes one.

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
    @repeats
    @registry.with_parameters_of(method)
    @opens_view
    def smoothed(view: View, seed: int | None = None, **params: Any) -> tuple:
        own = seeded(method, params, seed)
        run = repeated(NoisyCopy(method, noise, noise_kind, aggregate == "square", seed, own), view, method)
        return (moments if aggregate == "variance" else means)(run, repetitions, view.inputs)

    smoothed.__name__ = f"{registry.named(method)}_smooth"
    return smoothed
