"""The scenes are what they say: labels, masks and images agree, and a seed names one scene for ever."""

import math
import zlib

import numpy as np
import pytest

from keras_explainable.demo import CLASSES, load_scenes, shapes
from keras_explainable.demo.scenes import SIZE, draw_scene
from keras_explainable.errors import InputError
from support.compare import close
from support.selection import fast, fast_on_torch

pytestmark = fast_on_torch


def grow(mask):
    """The mask (H, W) and its eight neighbours."""
    wide = np.pad(mask, 1)
    return np.any([wide[r : r + SIZE, c : c + SIZE] for r in range(3) for c in range(3)], axis=0)


def test_labels_and_masks_agree():
    images, labels, masks = load_scenes(60, seed=5)
    assert images.shape == (60, SIZE, SIZE, 3) and images.dtype == np.uint8
    assert labels.shape == (60, len(CLASSES)) and labels.dtype == np.int8
    assert masks.shape == (60, len(CLASSES), SIZE, SIZE) and masks.dtype == bool
    areas = masks.sum((2, 3))
    np.testing.assert_array_equal(areas > 0, labels.astype(bool))
    assert areas[labels == 1].min() > 100  # every object is there to be seen, however much lies over it
    assert masks.sum(1).max() == 1  # a pixel shows one object
    assert set(labels.sum(1)) == {1, 2, 3}


@pytest.mark.parametrize("objects", [1, 2, 3])
def test_number_of_objects(objects):
    _, labels, _ = load_scenes(20, seed=6, objects=objects)
    np.testing.assert_array_equal(labels.sum(1), objects)


def test_every_class_comes_up_about_equally_often():
    counts = load_scenes(100, seed=7, objects=3)[1].sum(0)
    assert counts.min() > 15 and counts.max() < 48  # 30 expected, deviation 4.6


def test_masks_cover_what_was_painted():
    painted = stray = 0
    for index in range(40):
        seen, owner, kinds = draw_scene(8, index)
        hidden, same_owner, same_kinds = draw_scene(8, index, paint=False)
        np.testing.assert_array_equal(owner, same_owner)
        assert kinds == same_kinds
        differs = (seen != hidden).any(-1)
        assert differs[owner >= 0].mean() > 0.99
        painted += differs.sum()
        stray += (differs & ~grow(owner >= 0)).sum()
    assert stray < 0.003 * painted  # smoothed edges reach one pixel out; fine tips, half under a twig, a little more


def test_a_scene_depends_on_its_seed_and_index_only():
    many, few, other = load_scenes(9, seed=3), load_scenes(4, seed=3), load_scenes(4, seed=4)
    for a, b in zip(many, few, strict=True):
        np.testing.assert_array_equal(a[:4], b)
    assert not np.array_equal(few[0], other[0])
    assert len({image.tobytes() for image in many[0]}) == 9


@fast
def test_scenes_are_the_same_on_every_machine():
    images, labels, masks = load_scenes(12, seed=0)
    checksums = [zlib.crc32(array.tobytes()) for array in (images, labels, masks)]
    assert checksums == [2827281887, 3535697258, 3221906562]


@pytest.mark.parametrize("options", [{"n": -1}, {"n": 1, "seed": -1}, {"n": 1, "objects": 0}, {"n": 1, "objects": 4}])
def test_refuses_what_it_cannot_draw(options):
    with pytest.raises(InputError, match="load_scenes: .* came"):
        load_scenes(**options)


def test_no_scenes():
    images, labels, masks = load_scenes(0)
    assert (len(images), len(labels), len(masks)) == (0, 0, 0)


def plane(reach=1.5, points=1501):
    axis = np.linspace(-reach, reach, points, dtype=np.float32)
    x, y = np.meshgrid(axis, axis)
    return x, y, float(axis[1] - axis[0])


def crescent_area(bite=0.7, away=0.7):
    """The unit disk less the lens that it shares with a disk of radius `bite` whose centre is `away`."""
    one = math.acos((away**2 + 1 - bite**2) / (2 * away))
    two = math.acos((away**2 + bite**2 - 1) / (2 * away * bite))
    return math.pi - (one - math.sin(2 * one) / 2) - bite**2 * (two - math.sin(2 * two) / 2)


TAN36, TAN72 = math.tan(math.pi / 5), math.tan(2 * math.pi / 5)
AREAS = {
    "disk": math.pi,
    "square": 1.68**2,
    "triangle": 3 * math.sqrt(3) * 0.58**2,
    "star": 5 * 0.42**2 * (TAN36 + TAN36**2 * TAN72),  # a pentagon of inradius 0.42 and five triangles on it
    "cross": 2 * 2 * 0.72 - 0.72**2,
    "crescent": crescent_area(),
}


@pytest.mark.parametrize("name", AREAS)
def test_shapes_have_their_closed_form_area(name):
    x, y, step = plane()
    area = float((getattr(shapes, name)(x, y) < 0).sum()) * step**2
    assert area == pytest.approx(AREAS[name], rel=5e-3)


PARTS = {"plain": 0.0, "striped": 0.5, "checkered": 0.5, "dotted": math.pi * 0.31**2}


@pytest.mark.parametrize("name", PARTS)
def test_patterns_take_their_closed_form_part(name):
    x, y, step = plane(reach=1.3)  # whole periods of 0.5 * 1.3 (checkered) and of 0.65
    period = 0.5 if name == "checkered" else 0.65
    assert getattr(shapes, name)(x[:-1, :-1], y[:-1, :-1], period, step).mean() == pytest.approx(PARTS[name], abs=4e-3)


def test_rings_are_stripes_along_the_radius():
    x, y, step = plane(points=301)
    expected = shapes.striped(x, np.hypot(x, y), 0.5, step)
    close(shapes.ringed(x, y, 0.5, step), expected, atol=1e-3)


def test_class_names_say_pattern_and_shape():
    assert len(set(CLASSES)) == len(CLASSES) == 10
    for name, (pattern, shape) in zip(CLASSES, shapes.KINDS, strict=True):
        assert name == f"{pattern.__name__} {shape.__name__}".removeprefix("plain ")
