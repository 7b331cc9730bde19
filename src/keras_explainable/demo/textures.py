"""Noise, relief and light, which make a drawn picture look like a photograph.

Pixels are computed only with + - * /, square root, floor and comparisons, which every machine rounds alike.
"""

from __future__ import annotations

import math

import numpy as np

Array = np.ndarray


def smoothstep(x: Array, low: float, high: float) -> Array:
    """3t^2 - 2t^3 with t = (x - low) / (high - low), clipped to [0, 1]."""
    t = np.clip((x - low) / (high - low), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def mix(a: Array, b: Array, weight: Array) -> Array:
    """a + (b - a) * weight."""
    return a + (b - a) * weight


def direction(rng: np.random.Generator) -> tuple[float, float]:
    """Return a random unit vector (x, y) without trigonometry: a point in the unit disk, divided by its length."""
    while True:
        x, y = rng.uniform(-1, 1), rng.uniform(-1, 1)
        square = x * x + y * y
        if 0.01 < square <= 1.0:
            length = math.sqrt(square)
            return x / length, y / length


def _stretch(grid: Array, size: int, cells: float, phase: float) -> Array:
    """Interpolate axis 0 of `grid` to `size` points that span `cells` of its cells, starting at `phase`."""
    place = (np.arange(size, dtype=np.float32) + 0.5) * (cells / size) + phase
    left = np.floor(place).astype(np.intp)
    weight = smoothstep(place - left, 0.0, 1.0).reshape(-1, *[1] * (grid.ndim - 1))
    return mix(grid[left], grid[left + 1], weight)


def fractal(
    rng: np.random.Generator,
    size: int,
    cells: float = 2.0,
    octaves: int = 5,
    roughness: float = 0.55,
    aspect: float = 1.0,
) -> Array:
    """Return value noise (size, size) in [0, 1]: octaves of doubling frequency, each `roughness` times as strong.

    `aspect` > 1 stretches the grain along the rows, as in wood or brushed metal.
    """
    total, weight, amplitude = np.zeros((size, size), np.float32), 0.0, 1.0
    for _ in range(octaves):
        rows, columns = cells * aspect, cells
        grid = rng.random((int(rows) + 3, int(columns) + 3), dtype=np.float32)
        grid = _stretch(grid, size, rows, rng.random())
        total += amplitude * _stretch(grid.T, size, columns, rng.random()).T
        weight += amplitude
        cells, amplitude = cells * 2, amplitude * roughness
    return total / weight


def relief(height: Array, light: tuple[float, float], strength: float) -> Array:
    """Return the brightness (H, W), around 1, of a surface with this `height` under a slanted light."""
    slope = np.ones_like(height)
    slope[:, 1:] += strength * light[0] * (height[:, 1:] - height[:, :-1])
    slope[1:] += strength * light[1] * (height[1:] - height[:-1])
    return np.clip(slope, 0.4, 1.7)


def surface(rng: np.random.Generator, size: int, light: tuple[float, float]) -> Array:
    """Return a material (size, size, 3): three colours mixed by noise, in relief."""
    aspect = 1.0 if rng.random() < 0.7 else rng.uniform(3, 8)
    roughness = rng.uniform(0.4, 0.75)
    first, second, third = (palette(rng) for _ in range(3))
    height = fractal(rng, size, rng.uniform(1.5, 4), 5, roughness, aspect)
    patches = fractal(rng, size, rng.uniform(1, 3), 3, 0.5)
    contrast = rng.uniform(0.12, 0.4)
    colour = mix(first, second, smoothstep(height, 0.5 - contrast, 0.5 + contrast)[..., None])
    colour = mix(colour, third, 0.6 * smoothstep(patches, 0.45, 0.75)[..., None])
    colour *= relief(height, light, rng.uniform(1, 5))[..., None]
    return colour if rng.random() < 0.5 else colour.transpose(1, 0, 2)


def palette(rng: np.random.Generator) -> Array:
    """Return a muted colour (3,), as natural materials have: a tinted grey."""
    grey, tint = rng.uniform(0.12, 0.85), rng.uniform(0.0, 0.45)
    return (grey * (1 - tint) + tint * rng.random(3)).astype(np.float32)


def illuminate(rng: np.random.Generator, image: Array) -> Array:
    """Light the scene (H, W, 3): a gradient, a pool of light, a colour cast, vignetting, and film grain."""
    size = image.shape[0]
    axis = (np.arange(size, dtype=np.float32) + 0.5) / size * 2 - 1
    x, y = axis[None, :], axis[:, None]
    across, down = direction(rng)
    light = 1 + rng.uniform(0, 0.3) * (across * x + down * y)
    x0, y0 = rng.uniform(-1, 1), rng.uniform(-1, 1)
    light = light + rng.uniform(0, 0.5) / (1 + 3 * ((x - x0) ** 2 + (y - y0) ** 2))
    light = light * (1 - rng.uniform(0, 0.25) * (x * x + y * y) / 2)
    cast = (1 + rng.uniform(0, 0.15) * (rng.random(3) - 0.5)).astype(np.float32)
    image = image * (light[..., None] * cast * rng.uniform(0.7, 1.15))
    grain = rng.random((2, size, size, 1), dtype=np.float32)
    image = image + rng.uniform(0.01, 0.08) * (grain[0] + grain[1] - 1)
    return image
