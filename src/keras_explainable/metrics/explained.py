"""Make the maps of changed images or models, for metrics that need the method, not only its maps."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from keras_explainable import backend, models, registry
from keras_explainable.errors import InputError
from keras_explainable.explaining.explain import check_parameters
from keras_explainable.explaining.program import Explaining
from keras_explainable.methods.meta.smooth import smooth
from keras_explainable.runtime.compile_cache import compiled, frozen

ALIKE = 0.05  # maps that differ by this share of their norm may differ by their precision


@dataclass(frozen=True)
class Explain:
    """A method and its parameters, as a function from a view to raw maps (B, *S, K) of the images' size."""

    method: Callable
    params: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, given: Any, seed: int) -> "Explain":
        """The method that `given` names: a method, its name, or one of these and its parameters.

        Raises:
            InputError, MethodNameError: it names no method, or the method does not take these parameters.
        """
        method, params = registry.method_and_parameters(given)
        check_parameters(method, params)
        return cls(method, ({"seed": seed} if registry.takes(method, "seed") else {}) | params)

    @property
    def key(self) -> Any:
        """A hashable value, equal for equal methods and parameters."""
        return frozen((self.method, self.params))

    @property
    def is_seeded(self) -> bool:
        """Whether its maps may depend on a seed. A function that is not registered may draw random numbers."""
        known = registry.METHODS.get(registry.named(self.method))
        return known is None or known.function is not self.method or registry.takes(self.method, "seed")

    def smoothed(self, repetitions: int, noise: float) -> "Explain":
        """The mean of the method over noisy copies of the images."""
        return Explain(smooth(self.method, repetitions, noise, "range"), self.params)

    def __call__(self, view: models.View, seed: int | None = None) -> np.ndarray:
        params = self.params | ({} if view.user_score is None else {"score": view.user_score})
        if seed is not None and registry.takes(self.method, "seed"):
            params["seed"] = seed
        step = Explaining(self.method, params, None, True)
        whole = not registry.traits(self.method).repeats
        run = compiled(step, view.model, spread=True) if whole else functools.partial(step, view.model)
        return backend.to_host(run(view.inputs, view.indices)[1])


def check_same(maps: np.ndarray, own: np.ndarray, explain: Explain) -> None:
    """Raise if maps are not those that `explain` makes of the same images."""
    if maps.shape != own.shape or not np.linalg.norm(maps - own) <= ALIKE * np.linalg.norm(own):
        raise InputError(
            f"The maps are not those that explain={registry.named(explain.method)} makes of these images: leave "
            "maps= out, or give the raw maps of ke.explain with the same parameters in explain=(method, parameters), "
            "and no postprocessing."
        )


@dataclass(frozen=True, eq=False)
class Unmodelled:
    """Maps that need no model, as a function from a view: `make(images, K, seed)` gives maps (B, *S, K).

    `units` are those of the maps. Maps of other units are drawn after these."""

    make: Callable
    units: Any
    number: int
    seed: int

    def smoothed(self, repetitions: int, noise: float) -> "Unmodelled":
        """The same function: with noise, its maps do not depend on the model either."""
        return self

    def __call__(self, view: models.View, seed: int | None = None) -> np.ndarray:
        number = self.number if view.indices is self.units else 2 * self.number
        maps = self.make(backend.to_host(view.x), number, self.seed if seed is None else seed)
        return maps[..., -self.number :]
