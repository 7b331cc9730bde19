"""The ten classes: shapes as signed distances, patterns as coverages, both in the object's own coordinates.

Shapes have radius 1 around the origin. A distance is negative inside, and accurate enough near the edge to smooth it.
A pattern is the fraction, in [0, 1], of the second colour at a point.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

Array = np.ndarray


def _lines(x: Array, y: Array, count: int) -> list[Array]:
    """Return the coordinate along each of `count` evenly spaced directions, the first pointing up."""
    angles = [2 * math.pi * k / count for k in range(count)]
    return [x * math.sin(a) - y * math.cos(a) for a in angles]


def disk(x: Array, y: Array) -> Array:
    """|p| - 1."""
    return np.sqrt(x * x + y * y) - 1.0


def square(x: Array, y: Array) -> Array:
    """max(|x|, |y|) - 0.84: a square of side 1.68."""
    return np.maximum(abs(x), abs(y)) - 0.84


def triangle(x: Array, y: Array) -> Array:
    """Three half-planes, each 0.58 from the centre."""
    return np.maximum.reduce(_lines(x, y, 3)) - 0.58


def star(x: Array, y: Array) -> Array:
    """A pentagram: the points that lie beyond at most one of five lines."""
    return np.partition(np.stack(_lines(x, y, 5)), 3, axis=0)[3] - 0.42


def cross(x: Array, y: Array) -> Array:
    """Two bars of 2 by 0.72."""
    x, y = abs(x), abs(y)
    return np.maximum(np.minimum(x, y) - 0.36, np.maximum(x, y) - 1.0)


def crescent(x: Array, y: Array) -> Array:
    """The unit disk minus a disk of radius 0.7 around (0.7, 0)."""
    bite = np.sqrt((x - 0.7) ** 2 + y * y) - 0.7
    return np.maximum(disk(x, y), -bite)


def _wave(x: Array, period: float, pixel: float) -> Array:
    """A square wave in [-1, 1] of x, its edges smoothed over one pixel."""
    phase = x / period
    distance = abs(phase - np.floor(phase) - 0.5) - 0.25
    return np.clip(distance * (2 * period / pixel), -1.0, 1.0)


def plain(x: Array, y: Array, period: float, pixel: float) -> Array:
    """One colour."""
    return np.zeros_like(x)


def striped(x: Array, y: Array, period: float, pixel: float) -> Array:
    """Stripes along x."""
    return 0.5 + 0.5 * _wave(y, period, pixel)


def ringed(x: Array, y: Array, period: float, pixel: float) -> Array:
    """Rings around the origin."""
    return 0.5 + 0.5 * _wave(np.sqrt(x * x + y * y), period, pixel)


def checkered(x: Array, y: Array, period: float, pixel: float) -> Array:
    """Cells of 0.65 periods."""
    return 0.5 + 0.5 * _wave(x, 1.3 * period, pixel) * _wave(y, 1.3 * period, pixel)


def dotted(x: Array, y: Array, period: float, pixel: float) -> Array:
    """Dots of radius 0.31 periods."""
    across, down = x / period, y / period
    across, down = across - np.floor(across) - 0.5, down - np.floor(down) - 0.5
    distance = (np.sqrt(across * across + down * down) - 0.31) * period
    return np.clip(0.5 - distance / pixel, 0.0, 1.0)


Shape = Callable[[Array, Array], Array]
Pattern = Callable[[Array, Array, float, float], Array]

# Disks, squares and triangles share their patterns, so a network must see both the shape and the pattern.
KINDS: tuple[tuple[Pattern, Shape], ...] = (
    (striped, disk),
    (dotted, disk),
    (ringed, disk),
    (striped, square),
    (checkered, square),
    (checkered, triangle),
    (dotted, triangle),
    (plain, star),
    (plain, cross),
    (plain, crescent),
)
CLASSES: tuple[str, ...] = tuple(
    shape.__name__ if pattern is plain else f"{pattern.__name__} {shape.__name__}" for pattern, shape in KINDS
)
