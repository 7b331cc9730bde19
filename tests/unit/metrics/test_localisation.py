"""Metrics of localisation: equal to their twins, and what is known of them in closed form."""

import numpy as np
import pytest

import keras_explainable as ke
from keras_explainable.metrics.localisation import dilated
from keras_explainable.numerics.random import on_host
from reference import metrics_localisation as twins
from support.compare import close
from support.selection import fast_on_torch

pytestmark = fast_on_torch

RNG = np.random.default_rng(0)
MAPS = RNG.normal(size=(3, 7, 6, 2)).round(1)  # some values are equal
MASKS = RNG.random((3, 7, 6, 2)) < 0.2
SHARE = MASKS.mean(axis=(1, 2))
TIES = on_host((42,), 0, 0, 7)
NAMES = ["pointing_game", "mass_accuracy", "rank_accuracy", "roc_auc", "average_precision", "iou", "focus"]
RANKS = ["pointing_game", "rank_accuracy", "roc_auc", "average_precision"]


def value(name, maps=MAPS, masks=MASKS, **params):
    return getattr(ke.metrics, name)(maps=maps, masks=masks, **params).values


def each(twin, maps=MAPS, masks=MASKS, *others):
    return np.array(
        [
            [twin(*(a[n, ..., k].astype(a.dtype) for a in (maps.astype("float32"), masks, *others))) for k in range(2)]
            for n in range(len(maps))
        ]
    )


@pytest.mark.parametrize("tolerance", [0, 1, 1.5, 2.3, 40])
def test_the_pointing_game_equals_its_twin(tolerance):
    found = each(lambda m, y: twins.pointing_game(m, y, tolerance))
    close(value("pointing_game", tolerance=tolerance), found[..., 0])
    corrected = value("pointing_game", tolerance=tolerance, corrected=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        expected = (found[..., 0] - found[..., 1]) / (1 - found[..., 1])
    close(corrected, np.where(found[..., 1] < 1, expected, np.nan), atol=1e-6)


@pytest.mark.parametrize(
    ("name", "twin"),
    [
        ("mass_accuracy", twins.mass_accuracy),
        ("focus", twins.mass_accuracy),
        ("rank_accuracy", lambda m, y: twins.rank_accuracy(m, y, TIES)),
        ("roc_auc", twins.roc_auc),
        ("average_precision", twins.average_precision),
        ("iou", lambda m, y: twins.iou(m, y, 0.2)),
    ],
)
def test_values_equal_their_twins(name, twin):
    expected = each(twin)
    close(value(name), expected)
    chance = 0.5 if name == "roc_auc" else SHARE
    close(value(name, corrected=True), (expected - chance) / (1 - chance))


def test_class_selectivity_equals_its_twin():
    others = RNG.random(MASKS.shape) < 0.3
    expected = each(twins.class_selectivity, MAPS, MASKS, others)
    close(value("class_selectivity", others=others), expected)
    chance = MASKS.sum(axis=(1, 2)) / (MASKS | others).sum(axis=(1, 2))
    close(value("class_selectivity", others=others, corrected=True), (expected - chance) / (1 - chance))
    # without others=, the objects of the other units are the others
    close(value("class_selectivity"), each(twins.class_selectivity, MAPS, MASKS, MASKS[..., ::-1]))
    every = RNG.random((3, 7, 6)) < 0.5  # one mask for all units
    close(value("class_selectivity", others=every), value("class_selectivity", others=np.stack([every] * 2, -1)))


@pytest.mark.parametrize("name", NAMES)
def test_a_map_that_is_the_same_everywhere_is_at_chance(name):
    found = np.array(
        [value(name, np.ones_like(MAPS), seed=seed) for seed in range(300 if name == "rank_accuracy" else 1)]
    )
    error = 3 * found.std(axis=0) / np.sqrt(len(found))
    assert (abs(found.mean(axis=0) - (0.5 if name == "roc_auc" else SHARE)) <= error + 1e-6).all()


@pytest.mark.parametrize("name", NAMES)
def test_the_mask_itself_is_right(name):
    close(value(name, MASKS.astype("float32")), np.ones((3, 2)))
    close(value(name, MASKS.astype("float32"), corrected=True), np.ones((3, 2)))


@pytest.mark.parametrize("name", [n for n in NAMES if n != "iou"])
def test_random_maps_are_at_chance(name):
    masks = np.random.default_rng(1).random((400, 5, 5)) < 0.4
    masks[:, 0, 0] = True
    found = value(name, np.random.default_rng(2).random((400, 5, 5, 1)), masks)[:, 0]
    number, inside = 25, masks.sum(axis=(1, 2))
    chance = 0.5 if name == "roc_auc" else inside / number
    if name == "average_precision":  # of a random order, which for few pixels is above the share
        harmonic = sum(1 / n for n in range(1, number + 1))
        chance = (harmonic + (inside - 1) / (number - 1) * (number - harmonic)) / number
    assert abs((found - chance).mean()) < 3 * (found - chance).std() / 20
    assert found.std() > 0.02


def test_scale_monotone_maps_and_other_images_change_nothing():
    for name in NAMES:
        whole = value(name)
        close(value(name, 4 * MAPS), whole)
        close(value(name, MAPS[1:2], MASKS[1:2]), whole[1:2])
        repeated = value(name, np.repeat(MAPS, 50, axis=0), np.repeat(MASKS, 50, axis=0))  # several batches
        assert np.array_equal(repeated, np.repeat(whole, 50, axis=0))
    for name in RANKS:
        close(value(name, np.exp(MAPS)), value(name))


@pytest.mark.parametrize("name", [*NAMES, "class_selectivity"])
def test_what_is_not_defined_is_counted(name):
    masks = MASKS.copy()
    masks[0] = False
    masks[1] = True
    found = getattr(ke.metrics, name)(maps=MAPS, masks=masks)
    assert np.isnan(found.values[0]).all() and not np.isnan(found.values[2]).any()
    assert found.about["undefined"] == np.isnan(found.values).sum()
    if name in ("roc_auc", "class_selectivity"):
        assert np.isnan(found.values[1]).all()
    elif name != "iou":
        close(found.values[1], np.ones(2))
    assert np.isnan(value(name, masks=masks, corrected=True)[:2]).all()
    if name in ("mass_accuracy", "iou", "focus", "class_selectivity"):
        assert np.isnan(value(name, -abs(MAPS))).all()


def test_volumes():
    maps, masks = RNG.normal(size=(2, 4, 3, 5, 1)), RNG.random((2, 4, 3, 5)) < 0.3
    close(value("pointing_game", maps, masks, tolerance=1), [[twins.pointing_game(m[..., 0].astype("float32"), y, 1)[0]]
                                                             for m, y in zip(maps, masks, strict=True)])  # fmt: skip
    assert dilated(masks[..., None], 1).sum() > masks.sum()


@pytest.mark.parametrize(
    ("name", "given", "match"),
    [
        ("iou", {"threshold": 0}, "threshold=0"),
        ("iou", {"threshold": "best"}, "threshold="),
        ("pointing_game", {"tolerance": -1}, "tolerance=-1"),
        ("mass_accuracy", {"masks": None}, "needs masks="),
        ("roc_auc", {"masks": MASKS[:2]}, "Masks of shape"),
        ("roc_auc", {"masks": MASKS * 2}, "other than 0 and 1"),
        ("class_selectivity", {"maps": MAPS[..., :1], "masks": MASKS[..., 0]}, "give others="),
        ("class_selectivity", {"others": MASKS[:, :3]}, "Masks of shape"),
    ],
)
def test_bad_input_is_refused(name, given, match):
    with pytest.raises(ke.errors.InputError, match=match):
        value(name, **given)


def test_mosaics_show_two_images_of_the_class():
    y = np.arange(12) % 3
    x = np.zeros((12, 4, 6, 3), "float32") + y[:, None, None, None]
    images, units, masks = ke.metrics.mosaics(x, y, 5, seed=3)
    assert images.shape == (5, 8, 12, 3) and masks.shape == (5, 8, 12)
    for image, unit, mask in zip(images, units, masks, strict=True):
        assert np.array_equal(image[..., 0] == unit, mask) and mask.mean() == 0.5
    first, same, also = ke.metrics.mosaics(np.moveaxis(x, -1, 1), y, 5, seed=3, channels_first=True)
    close(np.moveaxis(first, 1, -1), images)
    assert np.array_equal(same, units) and np.array_equal(also, masks)
    with pytest.raises(ke.errors.InputError, match="a class with two images"):
        ke.metrics.mosaics(x[:3], y[:3], 1)
