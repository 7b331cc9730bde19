"""Photo-like scenes with known labels and pixel masks, drawn from a seed.

Scene i of a seed depends only on (seed, i) and `objects`, not on the number of scenes.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from numbers import Integral
from typing import NamedTuple

import numpy as np

from keras_explainable.demo.shapes import CLASSES, KINDS
from keras_explainable.demo.textures import direction, fractal, illuminate, mix, palette, smoothstep, surface
from keras_explainable.errors import InputError, shortly
from keras_explainable.runtime.memory import check_fits

# With 96 pixels, a network of stride 8 has 12 x 12 maps, fine enough to point at an object of 26 to 64 pixels.
SIZE = 96
MOST = 3  # objects in a scene
RADII = {1: (15.0, 31.0), 2: (13.0, 25.0), 3: (13.0, 20.0)}

BYTES = SIZE * SIZE * (3 + 1 + len(CLASSES))  # of a scene's image, owners and masks
BYTES_REDRAWN = SIZE * SIZE * (3 + 2 * MOST * (3 + 1))  # of a scene's image, redrawn images and masks, held twice

Array = np.ndarray


@dataclass
class Frame:
    """A square window of the canvas with the coordinates (x, y) of its pixels around a centre, in radii."""

    window: tuple[slice, slice]
    x: Array
    y: Array
    pixel: float

    def coverage(self, distance: Array) -> Array:
        """Return the fraction of each pixel (h, w, 1) that lies inside a shape with this signed distance."""
        return np.clip(0.5 - distance / self.pixel, 0.0, 1.0)[..., None]


@dataclass
class Thing:
    """One object of a scene: its class, position and radius, in pixels."""

    kind: int
    x: float
    y: float
    radius: float


class Counterfactuals(NamedTuple):
    """N scenes, and M images of them that each lack one object.

    Attributes:
        images: (N, 96, 96, 3) uint8, the whole scenes.
        scene: (M,) the index of each object's scene.
        units: (M,) the class of each object, which is its unit of the demo networks.
        masks: (M, 96, 96) bool, the visible pixels of each object, without its shadow.
        redrawn: (M, 96, 96, 3) uint8, the scene of each object without it.
    """

    images: Array
    scene: Array
    units: Array
    masks: Array
    redrawn: Array

    def objects(self) -> tuple[Array, Array]:
        """For each of the M objects, all objects of its scene: masks (M, O, 96, 96), and the scene redrawn without each
        (M, O, 96, 96, 3). O is the largest number of objects; masks of missing ones are empty. It is what `objects=`
        of `ke.evaluate` and of `ke.metrics.single_deletion` takes, for the images `images[scene]`."""
        most = int(np.bincount(self.scene).max(initial=0))
        masks = np.zeros((len(self.scene), most, *self.masks.shape[1:]), bool)
        redrawn = np.repeat(self.images[self.scene][:, None], most, axis=1)
        for row, scene in enumerate(self.scene):
            there = np.flatnonzero(self.scene == scene)
            masks[row, : len(there)], redrawn[row, : len(there)] = self.masks[there], self.redrawn[there]
        return masks, redrawn


def load_scenes(n: int, seed: int = 0, objects: int | None = None) -> tuple[Array, Array, Array]:
    """Draw `n` scenes of one to three objects (or of exactly `objects`) of different classes.

    Returns images (n, 96, 96, 3) uint8, labels (n, 10) int8 of zeros and ones, and masks (n, 10, 96, 96) bool of the
    visible pixels of each class. Classes are in the order of `CLASSES`.

    Raises InputError if `n` or `seed` is not a whole number of 0 or more, if memory cannot hold so many scenes, or if
    `objects` is not None, 1, 2 or 3.
    """
    _check("load_scenes", n, seed, objects, BYTES)
    images = np.empty((n, SIZE, SIZE, 3), np.uint8)
    owners = np.empty((n, SIZE, SIZE), np.int8)
    labels = np.zeros((n, len(CLASSES)), np.int8)
    for i in range(n):
        images[i], owners[i], kinds = draw_scene(seed, i, objects)
        labels[i, kinds] = 1
    masks = owners[:, None] == np.arange(len(CLASSES), dtype=np.int8)[None, :, None, None]
    return images, labels, masks


def load_counterfactuals(n: int, seed: int = 0, objects: int | None = None) -> Counterfactuals:
    """Draw the scenes of `load_scenes`, and each scene again without each of its objects.

    A redrawn image lacks the object and its shadow. Their pixels show what lies behind: background or other objects.
    All other pixels are the same. What the object does to a score is `score(images[scene]) - score(redrawn)`.

    Raises InputError as `load_scenes` does.
    """
    _check("load_counterfactuals", n, seed, objects, BYTES_REDRAWN)
    images = np.empty((n, SIZE, SIZE, 3), np.uint8)
    rows: list[tuple[int, int, Array, Array]] = []
    for i in range(n):
        images[i], owner, kinds = draw_scene(seed, i, objects)
        for number, kind in enumerate(kinds):
            rows.append((i, kind, owner == kind, draw_scene(seed, i, objects, hide={number})[0]))
    scene, units, masks, redrawn = zip(*rows, strict=True) if rows else ((), (), (), ())
    return Counterfactuals(
        images,
        np.array(scene, np.intp),
        np.array(units, np.intp),
        np.array(masks, bool).reshape(-1, SIZE, SIZE),
        np.array(redrawn, np.uint8).reshape(-1, SIZE, SIZE, 3),
    )


def _check(caller: str, n: int, seed: int, objects: int | None, size: int) -> None:
    """Raise InputError if `caller` cannot draw these scenes, each of `size` bytes."""
    if not all(isinstance(value, Integral) and not isinstance(value, bool) and value >= 0 for value in (n, seed)):
        raise InputError(
            f"{caller}: n={shortly(n)}, seed={shortly(seed)} came, and whole numbers of 0 or more were expected."
        )
    check_fits(f"{shortly(n)} scenes", float(size * min(int(n), 2**63)), "draw fewer")
    if objects is not None and objects not in RADII:
        raise InputError(f"{caller}: objects={objects!r} came, and 1, 2 or 3 was expected, or None for a mixture.")


def draw_scene(
    seed: int, index: int, objects: int | None = None, paint: bool = True, hide: Collection[int] = ()
) -> tuple[Array, Array, list[int]]:
    """Draw one scene: its image (H, W, 3) uint8, the class of each pixel (H, W) int8 (-1: none), and its classes.

    Objects are numbered in the order of these classes, and a later one lies over an earlier one. The image is drawn
    without the objects whose numbers are in `hide`, nor their shadows: a shadow has the shape of its object, so the
    network sees some objects in their shadow alone. All else keeps its place and colours, twigs over a hidden object
    as well, and what lies behind a hidden object is seen. Without `paint`, the objects are invisible and everything
    else, including their shadows, is the same. The classes of pixels are always those of the whole scene.
    """
    rng = np.random.Generator(np.random.PCG64([seed, index]))
    light = direction(rng)
    # The first canvas holds the whole scene: the colour of an object depends on what lies behind it, hidden or not.
    canvas = np.stack([_backdrop(rng, light)] * 2)
    owner = np.full((SIZE, SIZE), -1, np.int8)
    things = _arrange(rng, objects or 1 + int(rng.random() * MOST))
    for number, thing in enumerate(things):
        seen = number not in hide
        _put(rng, canvas, owner, thing, light, shadow=seen, paint=paint and seen)
        if rng.random() < 0.35:
            _cover(rng, canvas, owner, thing)
    image = np.clip(illuminate(rng, canvas[1]), 0.0, 1.0)
    return (image * 255.0 + 0.5).astype(np.uint8), owner, [thing.kind for thing in things]


def _backdrop(rng: np.random.Generator, light: tuple[float, float]) -> Array:
    """Draw the background: one material, or two that meet at a ragged edge, with specks."""
    canvas = surface(rng, SIZE, light)
    if rng.random() < 0.5:
        frame = _frame(rng, rng.uniform(0.2, 0.8) * SIZE, rng.uniform(0.2, 0.8) * SIZE, 2.0 * SIZE)
        edge = frame.y * 2 + rng.uniform(0, 0.6) * (fractal(rng, SIZE, 3, 4) - 0.5)
        softness = rng.uniform(0.01, 0.2)
        canvas = mix(canvas, surface(rng, SIZE, light), smoothstep(edge, -softness, softness)[..., None])
    for _ in range(4 + int(rng.random() * 14)):
        _speck(rng, canvas, light)
    return canvas


def _speck(rng: np.random.Generator, canvas: Array, light: tuple[float, float]) -> None:
    """Draw a pebble of no class with its shadow: an ellipse of at most seven pixels."""
    radius = rng.uniform(1.2, 3.5)
    frame = _frame(rng, rng.random() * SIZE, rng.random() * SIZE, radius, rng.uniform(0.4, 1.0), reach=2.0)
    distance = np.sqrt(frame.x**2 + frame.y**2) - 1.0
    patch = canvas[frame.window]
    patch *= 1 - 0.35 * np.clip(1 - distance, 0.0, 1.0)[..., None]
    colour = palette(rng) * (1.0 + 0.3 * (light[0] * frame.x + light[1] * frame.y))[..., None]
    patch[:] = mix(patch, colour, frame.coverage(distance))


def _frame(
    rng: np.random.Generator, x: float, y: float, radius: float, squeeze: float = 1.0, reach: float = 1.3
) -> Frame:
    """Rotate at random and squeeze the coordinates around (x, y). The window extends `reach` radii."""
    far = reach * radius + 1
    rows, columns = (slice(max(0, int(c - far)), max(0, min(SIZE, int(c + far) + 1))) for c in (y, x))
    down = ((np.arange(rows.start, rows.stop, dtype=np.float32) + 0.5 - y) / radius)[:, None]
    right = ((np.arange(columns.start, columns.stop, dtype=np.float32) + 0.5 - x) / radius)[None, :]
    cosine, sine = direction(rng)
    return Frame((rows, columns), cosine * right + sine * down, (cosine * down - sine * right) / squeeze, 1 / radius)


def _arrange(rng: np.random.Generator, count: int) -> list[Thing]:
    """Choose different classes, sizes, and places with little overlap: the first good one of 20 tries, or the best."""
    kinds = np.argsort(rng.random(len(KINDS)))[:count]
    things: list[Thing] = []
    for kind in kinds:
        radius = rng.uniform(*RADII[count])
        low, high = 0.75 * radius, SIZE - 0.75 * radius
        best, gap = Thing(int(kind), SIZE / 2, SIZE / 2, radius), -np.inf
        for _ in range(20):
            x, y = rng.uniform(low, high), rng.uniform(low, high)
            room = min((math.hypot(x - t.x, y - t.y) - 0.85 * (radius + t.radius) for t in things), default=0.0)
            if room > gap:
                best, gap = Thing(int(kind), x, y, radius), room
            if gap >= 0:
                break
        things.append(best)
    return things


def _put(
    rng: np.random.Generator,
    canvas: Array,
    owner: Array,
    thing: Thing,
    light: tuple[float, float],
    shadow: bool,
    paint: bool,
) -> None:
    """Draw an object over its shadow on both canvases (2, H, W, 3), and mark its pixels in `owner`.

    The second canvas gets the shadow only with `shadow`, and the object only with `paint`.
    """
    pattern, shape = KINDS[thing.kind]
    frame = _frame(rng, thing.x, thing.y, thing.radius, rng.uniform(0.8, 1.0), reach=1.7)
    patch, background = canvas[:, *frame.window], canvas[0, int(thing.y), int(thing.x)].copy()
    distance = shape(frame.x, frame.y)
    cast = 0.18 * rng.random()
    shade = shape(frame.x + cast, frame.y + cast)
    patch[: 1 + shadow] *= 1 - rng.uniform(0.2, 0.6) * smoothstep(-shade, -rng.uniform(0.1, 0.35), 0.1)[..., None]
    main, second = _colours(rng, background)
    period = rng.uniform(0.42, 0.58)
    across, down = (period * (rng.random() - 0.5) for _ in "xy")
    weave = pattern(frame.x + across, frame.y + down, period, frame.pixel)
    colour = mix(main, second, weave[..., None]) * _shading(rng, frame, distance, light)[..., None]
    covered = frame.coverage(distance)
    patch[: 1 + paint] = mix(patch[: 1 + paint], colour, covered)
    owner[frame.window][covered[..., 0] > 0.5] = thing.kind


def _colours(rng: np.random.Generator, background: Array) -> tuple[Array, Array]:
    """Choose the pair of random colours with the best contrast to each other and to the background."""
    pairs = [rng.random((2, 3), dtype=np.float32) * 0.9 + 0.05 for _ in range(4)]
    main, second = max(pairs, key=lambda pair: min(_contrast(*pair), _contrast(pair[0], background)))
    return main, second


def _contrast(a: Array, b: Array) -> float:
    """Return the distance of two colours (3,). Green counts twice, as it does for the eye."""
    red, green, blue = (abs(float(x - y)) for x, y in zip(a, b, strict=True))
    return red + 2 * green + blue


def _shading(rng: np.random.Generator, frame: Frame, distance: Array, light: tuple[float, float]) -> Array:
    """Return the brightness (h, w) of the object: lit from one side, darker at the rim, with grain and a highlight."""
    slope = light[0] * frame.x + light[1] * frame.y
    shade = 1 + rng.uniform(0.05, 0.35) * slope
    shade = shade - rng.uniform(0.1, 0.4) * smoothstep(distance, -0.25, 0.0)
    grain = fractal(rng, SIZE, rng.uniform(4, 10), 3, 0.7)[frame.window]
    shade = shade * (1 + rng.uniform(0.1, 0.5) * (grain - 0.5))
    far = (frame.x - 0.4 * light[0]) ** 2 + (frame.y - 0.4 * light[1]) ** 2
    return shade + rng.uniform(0, 0.35) / (1 + 12 * far)


def _cover(rng: np.random.Generator, canvas: Array, owner: Array, thing: Thing) -> None:
    """Draw a twig across the object, beside its centre, on both canvases."""
    side, width = direction(rng), rng.uniform(0.06, 0.13)
    frame = _frame(
        rng, thing.x + 0.4 * thing.radius * side[0], thing.y + 0.4 * thing.radius * side[1], thing.radius, reach=1.5
    )
    bend = rng.uniform(-0.3, 0.3)
    distance = np.maximum(abs(frame.y + bend * frame.x * frame.x) - width, abs(frame.x) - rng.uniform(0.9, 1.4))
    patch = canvas[:, *frame.window]
    colour = palette(rng) * (1 - 0.4 * frame.y / width * (abs(frame.y) < 2 * width))[..., None]
    covered = frame.coverage(distance)
    patch[:] = mix(patch, colour, covered)
    owner[frame.window][covered[..., 0] > 0.5] = -1
