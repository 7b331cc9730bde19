"""How long an evaluation takes for each image, measured on a few of them."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from keras_explainable.errors import ExplainError

ROWS = ("uniform_noise", "smooth_noise")  # the maps that metrics are timed with
LONG = 3.0  # seconds: what takes longer is not measured again

Measure = Callable[[list[str], list[str]], dict[str, float]]


@dataclass(frozen=True)
class Times:
    """Seconds for one image.

    Args:
        maps: to make the maps of each method.
        metrics: of each metric, for the maps of one method.
        shared: of each metric, spent once for all methods.
    """

    maps: dict[str, float]
    metrics: dict[str, float]
    shared: dict[str, float]

    @property
    def image(self) -> float:
        """The seconds for all methods and metrics."""
        return sum(self.maps.values()) + len(self.maps) * sum(self.metrics.values()) + sum(self.shared.values())


def timed(measure: Measure, methods: Iterable[str], metrics: Iterable[str], images: int) -> Times:
    """The seconds for one image, from the time that some images take.

    Args:
        measure: evaluates these methods by these metrics on the images, in this order, and returns the seconds of each
            method. Methods may include `ROWS`, whose maps take no time. Without metrics, it only makes the maps.
        methods: names. A method that cannot explain the model is not among `Times.maps`.
        metrics: names.
        images: the number of images that `measure` evaluates.
    """
    maps: dict[str, float] = {}
    each: dict[str, float] = {}
    shared: dict[str, float] = {}
    for name in methods:
        try:
            maps[name] = _compiled(measure, [name], [])[0] / images
        except ExplainError:
            continue
    for name in metrics:
        first, second = _compiled(measure, list(ROWS), [name])
        each[name], shared[name] = second / images, max(first - second, 0.0) / images
    return Times(maps, each, shared)


def _compiled(measure: Measure, methods: list[str], metrics: list[str]) -> list[float]:
    """The seconds of each method once all steps are compiled: the first run, if it was long, included compilation."""
    start = time.perf_counter()
    found = measure(methods, metrics)
    if time.perf_counter() - start < LONG:
        found = measure(methods, metrics)
    return [found[name] for name in methods]
