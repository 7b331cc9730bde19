"""Colour maps: values as colours."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from keras_explainable.errors import InputError

ColorMap = str | Callable[[np.ndarray], Any]


Limits = tuple[float, float]


def _evenly(*channels: list[float]) -> tuple[tuple[list[float], list[float]], ...]:
    """Levels of red, green and blue at even steps from 0 to 1."""
    return tuple((np.linspace(0, 1, len(levels)).tolist(), levels) for levels in channels)


# Piecewise linear: (positions, values) of red, green and blue. Any other name is looked up in matplotlib.
COLOR_MAPS: dict[str, tuple[tuple[list[float], list[float]], ...]] = {
    "gray": (([0.0, 1.0], [0.0, 1.0]),) * 3,
    "jet": (
        ([0, 0.35, 0.66, 0.89, 1], [0, 0, 1, 1, 0.5]),
        ([0, 0.125, 0.375, 0.64, 0.91, 1], [0, 0, 1, 1, 0, 0]),
        ([0, 0.11, 0.34, 0.65, 1], [0.5, 1, 1, 0, 0]),
    ),
    "inferno": _evenly(
        [0.001, 0.042, 0.129, 0.238, 0.342, 0.441, 0.541, 0.64, 0.736]
        + [0.817, 0.89, 0.944, 0.977, 0.988, 0.976, 0.949, 0.988],
        [0.0, 0.028, 0.047, 0.037, 0.062, 0.099, 0.135, 0.171, 0.216]
        + [0.271, 0.348, 0.443, 0.551, 0.668, 0.79, 0.91, 0.998],
        [0.014, 0.141, 0.291, 0.396, 0.429, 0.432, 0.415, 0.381, 0.33]
        + [0.27, 0.198, 0.12, 0.039, 0.058, 0.196, 0.395, 0.645],
    ),
    "bwr": (([0, 0.5, 1], [0, 1, 1]), ([0, 0.5, 1], [0, 1, 0]), ([0, 0.5, 1], [1, 1, 0])),
    # Google's turbo to 1/40: unlike jet, it has no band of one colour that looks like an edge.
    "turbo": _evenly(
        [0.19, 0.251, 0.276, 0.259, 0.16, 0.093, 0.192, 0.421, 0.638]
        + [0.799, 0.929, 0.992, 0.985, 0.925, 0.823, 0.675, 0.48],
        [0.072, 0.252, 0.42, 0.578, 0.733, 0.863, 0.947, 0.994, 0.991]
        + [0.928, 0.817, 0.681, 0.502, 0.323, 0.191, 0.089, 0.016],
        [0.232, 0.632, 0.89, 0.999, 0.925, 0.765, 0.599, 0.391, 0.236]
        + [0.204, 0.226, 0.206, 0.132, 0.058, 0.019, 0.004, 0.011],
    ),
}


UNSIGNED, SIGNED = "jet", "bwr"  # the default colour maps


BRIGHTEST = 99.0  # the percentile that gets the full colour in pictures that are only looked at


FAINTEST = 0.1  # the opacity of the smallest value, if opacity follows the value


def is_signed(maps: Sequence[np.ndarray]) -> bool:
    """Return whether any of the maps goes below zero."""
    return any(float(m.min()) < 0 for m in maps)


def limits_of(maps: Sequence[np.ndarray], signed: bool, percentile: float = 100) -> Limits:
    """Return the ends of the colour scale: (-m, m) with m = max |map| if signed, else (min, max).

    A percentile below 100 replaces the maximum, unless it does not exceed the minimum. Otherwise a few outliers, as in
    maps of gradients, would leave all other pixels dark.
    """
    size = np.concatenate([np.abs(m).ravel() if signed else m.ravel() for m in maps])
    low, top = (0.0 if signed else float(size.min())), float(np.percentile(size, percentile))
    high = top if top > low else float(size.max())
    return (-high, high) if signed else (low, high)


def scale(values: np.ndarray, limits: Limits) -> np.ndarray:
    """Return values as positions in [0, 1] on a colour scale, clipped; all 0 if its two ends are equal."""
    low, high = limits
    return np.clip((values - low) / (high - low), 0, 1) if high > low else np.zeros_like(values, dtype=float)


def colorize(positions: np.ndarray, cmap: ColorMap = UNSIGNED) -> np.ndarray:
    """Return positions in [0, 1], of any shape, as RGB in [0, 1], (..., 3), by a colour map's name or function.

    Raises: InputError: neither this table nor matplotlib knows the name.
    """
    if isinstance(cmap, str) and cmap in COLOR_MAPS:
        return np.stack([np.interp(positions, at, level) for at, level in COLOR_MAPS[cmap]], axis=-1)
    function = _matplotlib_map(cmap) if isinstance(cmap, str) else cmap
    return np.asarray(function(positions))[..., :3]


def _matplotlib_map(name: str) -> Callable[[np.ndarray], Any]:
    try:
        import matplotlib

        return matplotlib.colormaps[name]
    except (ImportError, KeyError) as error:
        problem = "needs matplotlib, which is missing" if isinstance(error, ImportError) else "is unknown to matplotlib"
        raise InputError(f"The colour map {name!r} {problem}. Built in: {', '.join(COLOR_MAPS)}.") from None
