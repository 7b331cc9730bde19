"""A scene redrawn without an object differs in that object alone, and the network notices that one."""

import keras
import numpy as np
import pytest

from keras_explainable.demo import CLASSES, load_counterfactuals, load_model, load_scenes, scenes
from keras_explainable.demo.scenes import SIZE, Thing, draw_scene
from keras_explainable.errors import InputError
from support.selection import fast_on_torch, slow_compiled

pytestmark = fast_on_torch

SCENES = [(seed, index) for seed in range(3) for index in range(8)]


def drawn(scene, hide=(), paint=True):
    """The image of a scene, as signed numbers."""
    return draw_scene(*scene, hide=hide, paint=paint)[0].astype(int)


def objects(scene):
    """The mask of each object of a scene, in the order of their numbers."""
    _, owner, kinds = draw_scene(*scene)
    return [owner == kind for kind in kinds]


def near(mask, distance):
    """The pixels whose row and column are at most `distance` away from those of a pixel of the mask."""
    wide = np.pad(mask, distance)
    steps = range(2 * distance + 1)
    rows = np.any([wide[r : r + SIZE] for r in steps], axis=0)
    return np.any([rows[:, c : c + SIZE] for c in steps], axis=0)


def test_nothing_but_the_object_changes():
    """An object and its shadow are where the scene of it alone differs from the scene of no object."""
    changed = stray = 0
    for scene in SCENES:
        numbers = set(range(len(objects(scene))))
        whole, bare = drawn(scene), drawn(scene, hide=numbers)
        for number in numbers:
            own = (drawn(scene, hide=numbers - {number}) != bare).any(-1)
            differs = (drawn(scene, hide={number}) != whole).any(-1)
            changed += differs.sum()
            stray += (differs & ~own).sum()
    assert stray < 1e-3 * changed  # faint shadows are rounded away on the darker of two grounds


def test_outside_its_mask_an_object_takes_away_only_a_shadow():
    """There, pixels are brighter or equal, and equal where the shadow, of 0.6 radii around, does not reach."""
    lighter = 0
    for scene in SCENES:
        whole = drawn(scene)
        for number, mask in enumerate(objects(scene)):
            change = drawn(scene, hide={number}) - whole
            edge = near(mask, 1) | (draw_scene(*scene)[1] < 0) & near(mask, 5)  # smoothed, or half under a twig
            lighter += (change[~edge] > 0).sum()
            assert change[~edge].min() >= 0
            assert not change[~near(mask, 32)].any()
    assert lighter > 1000


def test_objects_in_front_keep_their_pixels_and_colours():
    compared = 0
    for scene in SCENES:
        whole, masks = drawn(scene), objects(scene)
        for number in range(1, len(masks)):
            inside = ~near(~masks[number], 1)
            compared += inside.sum()
            np.testing.assert_array_equal(drawn(scene, hide=range(number))[inside], whole[inside])
    assert compared > 5000


@pytest.mark.parametrize("index", range(4))
def test_what_lies_behind_is_seen(monkeypatch, index):
    """A scene of a square under a disk, without the disk, is the scene in which the disk never was."""
    things = [Thing(CLASSES.index("checkered square"), 40, 48, 30), Thing(CLASSES.index("striped disk"), 52, 45, 16)]
    monkeypatch.setattr(scenes, "_cover", lambda *given: None)
    monkeypatch.setattr(scenes, "illuminate", lambda rng, canvas: canvas)  # its draws come after those of the disk
    monkeypatch.setattr(scenes, "_arrange", lambda rng, count: things)
    _, owner, kinds = draw_scene(1, index)
    redrawn, bare = (draw_scene(1, index, hide=hidden)[0] for hidden in ({1}, {0, 1}))
    monkeypatch.setattr(scenes, "_arrange", lambda rng, count: things[:1])
    square, within, _ = draw_scene(1, index)
    np.testing.assert_array_equal(redrawn, square)
    behind = (owner == kinds[1]) & (within == kinds[0])
    assert behind.sum() > 500
    assert (redrawn != bare).any(-1)[behind].mean() > 0.99


def test_without_any_object_only_the_shadows_differ_from_the_unpainted_scene():
    for scene in SCENES:
        bare, shadows = drawn(scene, hide=range(3)), drawn(scene, paint=False)
        assert (bare >= shadows).all()
        assert (bare > shadows).any()
        np.testing.assert_array_equal(drawn(scene, hide=range(3), paint=False), bare)


def test_hiding_what_is_not_there_changes_nothing():
    image, owner, kinds = draw_scene(4, 0, objects=1, hide={1, 2})
    whole, same_owner, same_kinds = draw_scene(4, 0, objects=1)
    np.testing.assert_array_equal(image, whole)
    np.testing.assert_array_equal(owner, same_owner)
    assert kinds == same_kinds


def test_arrays_are_those_of_the_scenes():
    images, labels, masks = load_scenes(12, seed=5)
    found = load_counterfactuals(12, seed=5)
    np.testing.assert_array_equal(found.images, images)
    np.testing.assert_array_equal(found.masks, masks[found.scene, found.units])
    counts = np.zeros((12, len(CLASSES)), int)
    np.add.at(counts, (found.scene, found.units), 1)
    np.testing.assert_array_equal(counts, labels)
    assert found.redrawn.shape == (labels.sum(), SIZE, SIZE, 3) and found.redrawn.dtype == np.uint8
    first = draw_scene(5, 0, hide={0})
    np.testing.assert_array_equal(found.redrawn[0], first[0])
    assert found.units[0] == first[2][0]


def test_no_counterfactuals():
    assert [len(part) for part in load_counterfactuals(0)] == [0] * 5
    assert load_counterfactuals(0).redrawn.shape == (0, SIZE, SIZE, 3)


@pytest.mark.parametrize("options", [{"n": -1}, {"n": 1, "seed": 0.5}, {"n": 1, "objects": 4}, {"n": 10**12}])
def test_refuses_what_it_cannot_draw(options):
    with pytest.raises(InputError, match="load_counterfactuals: .* came|scenes take"):
        load_counterfactuals(**options)


@slow_compiled
def test_the_network_misses_the_hidden_object_and_no_other():
    found = load_counterfactuals(12, seed=9)
    images = np.concatenate([found.images, found.redrawn])
    logits = keras.ops.convert_to_numpy(load_model()(images))
    whole, redrawn = logits[:12][found.scene], logits[12:]
    own = np.eye(len(CLASSES), dtype=bool)[found.units]
    fall = whole - redrawn
    assert (fall[own] > 0).all()
    assert fall[own].mean() > 10
    assert (redrawn[own] < 0).mean() >= 0.95
    assert abs(fall[~own]).mean() < 2
    assert ((redrawn > 0) == (whole > 0))[~own].mean() > 0.97
