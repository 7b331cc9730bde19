"""Methods made of methods: each takes a method and returns one, so that they nest."""

import functools
from collections.abc import Callable
from typing import Any

from keras import ops

from keras_explainable import models, registry
from keras_explainable.errors import InputError
from keras_explainable.methods.noise import check_noise, noisy
from keras_explainable.methods.repetition import means, moments
from keras_explainable.registry import Method
from keras_explainable.runtime.compile_cache import frozen, repeated, repeats

LARGEST = 2**31  # factor of a size: none of more bits is one in pixels


def as_float(inputs: Any) -> Any:
    """Images as float32."""
    return ops.cast(ops.convert_to_tensor(inputs), "float32")


def seeded(method: Callable, params: dict, seed: int | None) -> dict:
    """A method's parameters, and the seed where it takes one."""
    return {**params, "seed": seed} if registry.takes(method, "seed") else params


def flat(method: Callable, maps: Any, rank: int) -> Any:
    """Maps (B, *S', K) of images of this rank, to be resized; others are refused."""
    if len(maps.shape) != rank:
        raise InputError(
            f"{registry.named(method)} gave maps of shape {tuple(maps.shape)}, and (batch, *space, units) was "
            "expected: leave out reduce=None, with which maps have channels as well."
        )
    return maps


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


@functools.lru_cache(maxsize=256)  # the same arguments give the same function, which is compiled only once
def _smooth(method: Callable, repetitions: int, noise: float, noise_kind: str, aggregate: str) -> Callable:
    @repeats
    @registry.with_parameters_of(method)
    def smoothed(model: Any, inputs: Any, indices: Any = None, seed: int | None = None, **params: Any) -> tuple:
        own = seeded(method, params, seed)

        def draw(subject, x, units, step):
            copies = noisy(x, noise, noise_kind, seed, step, models.adapter(subject).channels_first)
            scores, *maps = method(subject, copies, units, **own)
            return (scores, *map(ops.square, maps)) if aggregate == "square" else (scores, *maps)

        x = as_float(inputs)
        units = models.units(model, x, indices, params.get("score"))
        key = frozen(["smooth", method, noise, noise_kind, aggregate == "square", seed, params])
        run = functools.partial(repeated(draw, key, model, method, x), x, units)
        return (moments if aggregate == "variance" else means)(run, repetitions, x)

    smoothed.__name__ = f"{registry.named(method)}_smooth"
    return smoothed
