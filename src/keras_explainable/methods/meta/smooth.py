"""The mean of a method over noisy copies of the images."""

import functools
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from keras import ops

from keras_explainable import registry
from keras_explainable.errors import InputError
from keras_explainable.methods.noise import check_noise, noisy
from keras_explainable.models import View, all_together, ask, on_view, opens_view
from keras_explainable.registry import Method
from keras_explainable.runtime.compile_cache import Program, frozen, repeated
from keras_explainable.runtime.repetition import aggregated

SHARED = "noisy copies"
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
class OnCopies(Program):
    """The scores and maps of several methods for a noisy copy of each image. The passes are shared.

    `parts` are the methods, their parameters, and whether maps are squared."""

    noise: float
    noise_kind: str
    seed: int | None
    parts: tuple[tuple[Callable, dict, bool], ...]

    def __call__(self, view: View, step: Any) -> tuple:
        copies = noisy(view.inputs, self.noise, self.noise_kind, self.seed, step, view.adapter.channels_first)
        return all_together(view.of(copies, view.indices), [functools.partial(_part, *part) for part in self.parts])


def _part(method: Callable, params: dict, squared: bool, view: View) -> tuple:
    scores, *maps = on_view(method, view, **params)
    return (scores, *map(ops.square, maps)) if squared else (scores, *maps)


@dataclass(frozen=True, eq=False)
class OverCopies:
    """A request (see `models.sharing`) for the mean, variance or mean square of a method's maps over noisy copies of
    the images. Methods that draw alike share the copies and their passes."""

    method: Callable
    params: dict
    repetitions: int
    noise: float
    noise_kind: str
    aggregate: str
    seed: int | None

    @property
    def group(self) -> Hashable:
        alone = id(self) if registry.traits(self.method).repeats else None  # such a method has its own programs
        return "noisy copies", self.repetitions, self.noise, self.noise_kind, self.seed, alone

    @property
    def key(self) -> Hashable:
        return None

    def answers(self, view: View, requests: Sequence["OverCopies"]) -> list:
        parts: dict[Hashable, tuple] = {}
        aggregates = []
        for r in requests:
            part = r.method, r.params, r.aggregate == "square"
            parts.setdefault(frozen(part), part)
            how = "variance" if r.aggregate == "variance" else "mean"
            aggregates.append((list(parts).index(frozen(part)), how))
        step = OnCopies(self.noise, self.noise_kind, self.seed, tuple(parts.values()))
        return aggregated(repeated(step, view, self.method), self.repetitions, aggregates, view.inputs)


@functools.lru_cache(maxsize=256)  # the same arguments give the same function, which is compiled only once
def _smooth(method: Callable, repetitions: int, noise: float, noise_kind: str, aggregate: str) -> Callable:
    @registry.with_traits(repeats=True, shares=SHARED)
    @registry.with_parameters_of(method)
    @opens_view
    def smoothed(view: View, seed: int | None = None, **params: Any) -> tuple:
        own = seeded(method, params, seed)
        return ask(view, OverCopies(method, own, repetitions, noise, noise_kind, aggregate, seed))

    smoothed.__name__ = f"{registry.named(method)}_smooth"
    return smoothed
