"""What a metric gets: one batch of images, the units, and the other arguments."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from keras_explainable import backend, models


@dataclass
class Case:
    """One batch of images under evaluation.

    Args:
        view: the model on the images, with the units to explain; None for a metric that needs no model.
        images: the images (B, *S, C), channels last; None if they were not given.
        masks: where the object of each image and unit is, booleans (B, *S, K); None if they were not given.
        others: where all other objects are, booleans (B, *S, K); None if they were not given.
        objects: where each of an image's objects is, booleans (B, O, *S), and the images redrawn without each,
            (B, O, *S, C), channels last; None if they were not given.
        seed: the seed of all random draws.
        at_once: how many masked copies are evaluated together; None chooses.
        explain: a function from a view, and a seed or None, to raw maps (B, *S, K) of the images' size, such as an
            `Explain`; None if no method is known.
    """

    view: models.View | None = None
    images: np.ndarray | None = None
    masks: np.ndarray | None = None
    others: np.ndarray | None = None
    objects: tuple[np.ndarray, np.ndarray] | None = None
    seed: int = 0
    at_once: int | None = None
    explain: Callable | None = None
    kept: dict[Hashable, Any] = field(default_factory=dict)

    def once(self, key: Hashable, compute: Callable) -> Any:
        """`compute()`, which is called once for each key, so that all maps share what does not depend on them."""
        if key not in self.kept:
            self.kept[key] = compute()
        return self.kept[key]

    @classmethod
    def of(cls, view: models.View, **given: Any) -> "Case":
        """The case of a view. Its units are chosen now, on the original images, and not again on changed images."""
        view = models.View(view.adapter, view.inputs, view.chosen(), view.score, view.model)
        return cls(view, backend.to_host(view.x), **given)
