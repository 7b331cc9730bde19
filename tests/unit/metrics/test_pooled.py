"""Metrics of localisation that have one value for a dataset, and thresholds that are chosen on other images."""

import numpy as np
import pytest

import keras_explainable as ke
from reference import metrics_localisation as twins
from support.compare import close
from support.selection import fast_on_torch

pytestmark = fast_on_torch

RNG = np.random.default_rng(0)
NUMBER = 5
MASKS = np.zeros((NUMBER, 9, 8), bool)
for i in range(NUMBER):
    MASKS[i, i : i + 4, 1 : 4 + i % 3] = True
MAPS = (MASKS + RNG.normal(size=MASKS.shape)).round(1)[..., None]
MAPS[:2] *= 7  # maps of all scales are pooled


def singles(maps=MAPS):
    return [m[..., 0].astype("float32") for m in maps]


def test_pixel_ap_equals_its_twin():
    assert ke.metrics.pixel_ap(MAPS, MASKS) == pytest.approx(twins.pixel_ap(singles(), MASKS), abs=1e-9)


def test_max_box_accuracy_equals_its_twin():
    pytest.importorskip("skimage")
    several = MASKS.copy()
    several[3, 0, 6:] = True  # an image of two objects
    for masks in (MASKS, several):
        found = ke.metrics.max_box_accuracy(MAPS, masks, thresholds=7)
        assert found == pytest.approx(twins.max_box_accuracy(singles(), masks, 7)) and 0 < found < 1
    assert ke.metrics.max_box_accuracy(several[..., None].astype("float32"), several) == 1


def test_boxes_in_pixels_are_as_masks():
    pytest.importorskip("skimage")
    boxes = []
    for mask in MASKS:
        rows, columns = np.nonzero(mask)
        boxes.append([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]])
    found = ke.metrics.max_box_accuracy(MAPS, boxes=boxes)
    assert found == ke.metrics.max_box_accuracy(MAPS, MASKS)
    # any of an image's objects may be found, and images without one are left out
    more = [[*own, [0, 0, 1, 1]] for own in boxes]
    assert ke.metrics.max_box_accuracy(MAPS, boxes=more) >= found
    some = ke.metrics.max_box_accuracy(MAPS, boxes=[[], *boxes[1:]])
    assert some == ke.metrics.max_box_accuracy(MAPS[1:], boxes=boxes[1:])


@pytest.mark.parametrize("metric", ["pixel_ap", "max_box_accuracy"])
def test_weights_count_images_as_often(metric):
    pytest.importorskip("skimage")
    of = getattr(ke.metrics, metric)
    drawn = np.array([[0, 0, 3, 4, 4], [1, 2, 2, 2, 3]])
    counts = np.array([np.bincount(row, minlength=NUMBER) for row in drawn])
    close(of(MAPS, MASKS, weights=counts), np.array([of(MAPS[row], MASKS[row]) for row in drawn]))
    assert of(MAPS, MASKS, weights=np.ones(NUMBER)) == pytest.approx(of(MAPS, MASKS))


@pytest.mark.parametrize("metric", ["pixel_ap", "max_box_accuracy"])
def test_closed_forms(metric):
    pytest.importorskip("skimage")
    of = getattr(ke.metrics, metric)
    assert of(MASKS[..., None].astype("float32"), MASKS) == pytest.approx(1)
    close(of(5 * MAPS + 1, MASKS), of(MAPS, MASKS), 1e-3)
    emptied = MASKS.copy()
    emptied[0] = False
    assert of(MAPS, emptied) == pytest.approx(of(MAPS[1:], MASKS[1:]))
    assert np.isnan(of(MAPS, np.zeros_like(MASKS)))
    both = np.concatenate([MAPS, MAPS[::-1]], axis=-1)  # units are pooled like images
    masks = np.stack([MASKS, MASKS[::-1]], axis=-1)
    assert of(both, masks) == pytest.approx(of(MAPS, MASKS))


def test_a_map_that_is_the_same_everywhere_is_at_chance():
    pytest.importorskip("skimage")
    flat = np.ones_like(MAPS)
    assert ke.metrics.pixel_ap(flat, MASKS) == pytest.approx(MASKS.mean())
    half = np.zeros_like(MASKS)
    half[:, :, :4] = True  # the whole image overlaps the half by .5
    assert ke.metrics.max_box_accuracy(flat, half) == pytest.approx(2 / 3)


def test_random_maps_have_the_masks_share_of_pixels():
    masks = RNG.random((40, 12, 12)) < 0.3
    values = [ke.metrics.pixel_ap(RNG.random((40, 12, 12, 1)), masks) for _ in range(20)]
    assert abs(np.mean(values) - masks.mean()) < 3 * np.std(values) / np.sqrt(20) + 0.002


def test_thresholds_are_chosen_on_other_images():
    grid = [0.2, 0.4, 0.6, 0.8]
    found = ke.metrics.left_out_iou(MAPS, MASKS, thresholds=grid)
    close(found[:, 0], np.array(twins.left_out_iou(singles(), MASKS, grid)))
    means = [np.mean([twins.iou(m, y, t) for m, y in zip(singles(), MASKS, strict=True)]) for t in grid]
    best = ke.metrics.best_threshold(MAPS, MASKS, thresholds=grid)
    assert best == grid[int(np.argmax(means))]
    assert ke.metrics.iou(maps=MAPS, masks=MASKS, threshold=best).values.mean() == pytest.approx(max(means), rel=1e-5)


def test_an_image_does_not_choose_its_own_threshold():
    """Two kinds of images, each best at another threshold: those of a group are left out together."""
    mask = np.zeros((4, 4), bool)
    mask[:2] = True
    low, high = np.where(mask, 1, 0.1), np.where(mask, 1, 0.7)
    maps = np.stack([low, low, high])[..., None]
    masks = np.stack([~mask | mask, ~mask | mask, mask])
    grid = [0.05, 0.9]
    # The two first are whole at .05, the last is right at .9.
    close(ke.metrics.left_out_iou(maps, masks, thresholds=grid)[:, 0], np.array([1, 1, 0.5]))
    close(ke.metrics.left_out_iou(maps, masks, groups=[0, 0, 1], thresholds=grid)[:, 0], np.array([0.5, 0.5, 0.5]))
    assert np.isnan(ke.metrics.left_out_iou(maps[:1], masks[:1])).all()


@pytest.mark.parametrize(
    ("metric", "given", "match"),
    [
        ("pixel_ap", {"masks": MASKS, "weights": np.ones(3)}, r"weights of shape \(3,\)"),
        ("pixel_ap", {"masks": MASKS[:2]}, "Masks of shape"),
        ("max_box_accuracy", {}, "Neither masks= nor boxes= came"),
        ("max_box_accuracy", {"masks": MASKS, "boxes": [[]] * NUMBER}, "masks= and boxes= came"),
        ("max_box_accuracy", {"boxes": [[0, 0, 1, 1]] * 2}, "2 images' boxes came for 5"),
        ("max_box_accuracy", {"boxes": [[0, 0, 1, 1]] * NUMBER}, r"\(n, 4\) was expected"),
        ("max_box_accuracy", {"masks": MASKS, "thresholds": 0}, "thresholds=0"),
        ("best_threshold", {"masks": MASKS, "thresholds": [0]}, "thresholds=0"),
        ("best_threshold", {"masks": np.zeros_like(MASKS)}, "No threshold can be chosen"),
        ("left_out_iou", {"masks": MASKS, "groups": [1, 2]}, "groups of shape"),
    ],
)
def test_bad_input_is_refused(metric, given, match):
    with pytest.raises(ke.errors.InputError, match=match):
        getattr(ke.metrics, metric)(MAPS, **given)
