"""What the demo claims: each claim is made by the numbers, and not made where they do not support it."""

import numpy as np
import pytest

import keras_explainable as ke
from keras_explainable.evaluation.selection import chosen_metrics
from keras_explainable.gallery.findings import findings
from keras_explainable.gallery.objects import Objects
from support.selection import fast_on_torch

pytestmark = fast_on_torch
COUNT, SIDE = 20, 8
CLEAREST = 4  # the object on which most of the maps lies


@pytest.fixture
def objects(rng):
    """Two objects in each scene: one in the left half and one in the right half, of the upper half."""
    masks = np.zeros((COUNT, SIDE, SIDE), bool)
    masks[0::2, :4, :4] = masks[1::2, :4, 4:] = True
    photos = rng.integers(0, 256, (COUNT, SIDE, SIDE, 3), "uint8")
    names = np.array(["disk", "cross"] * (COUNT // 2))
    return Objects(np.arange(COUNT) // 2, photos, photos.astype("float32"), np.arange(COUNT) % 2, masks, names)


def evaluated(points, srg):
    """An evaluation of these methods, each with its shares of peaks on the object and its mean srg, and of noise."""
    names = list(points)
    known = {name: name == "uniform_noise" for name in names}
    applied = chosen_metrics(["srg", "pointing_game", "mass_accuracy"], ["masks"])
    wave = np.linspace(-0.02, 0.02, COUNT)
    on = {name: (np.arange(COUNT) < round(share * COUNT)).astype(float) for name, share in points.items()}
    mass = np.where(np.arange(COUNT) == CLEAREST, 0.9, 0.4)
    mass[0] = np.nan  # a map without positive values
    values = np.stack([[srg[name] + wave, on[name], mass] for name in names])[..., None]
    return ke.evaluation.Evaluation(values, names, list(applied), known, applied)


def maps_on(masks, seed=0):
    return masks + 0.5 * np.random.default_rng(seed).random(masks.shape)


def test_claims_follow_the_numbers(objects):
    found = evaluated({"good": 0.95, "bad": 0.9, "uniform_noise": 0.1}, {"good": 0.8, "bad": 0.0, "uniform_noise": 0.0})
    maps = {"good": maps_on(objects.masks), "bad": maps_on(0 * objects.masks)}
    looks, each, doubt = findings(found, objects, 6, maps)
    assert (
        looks.evidence
        == "In 95 % of 20 maps by good, the largest value lies on the object. A random pixel lies there in 25 %."
    )
    assert "peaks on its own object in 100 %, and on another in 0 %" in each.evidence
    assert [caption for _, caption in each.pictures] == ["good: disk", "good: cross"]
    assert doubt.evidence.startswith("bad is not better than maps that know nothing")
    assert [caption.split(":")[0] for _, caption in doubt.pictures] == ["good", "bad"]
    assert looks_at(looks, objects) == [CLEAREST] and doubt.pictures[0][1] == f"good: {objects.names[CLEAREST]}"


def looks_at(finding, objects):
    return [i for i, photo in enumerate(objects.photos) if np.array_equal(photo, finding.pictures[0][0])]


def test_nothing_is_claimed_of_classes_whose_maps_are_the_same(objects):
    both = objects.masks.copy()
    both[1::2] = both[0::2]  # the map of the second object peaks on the first
    found = evaluated({"same": 0.9, "uniform_noise": 0.1}, {"same": 0.8, "uniform_noise": 0.0})
    claims = [one.claim for one in findings(found, objects, 6, {"same": maps_on(both)})]
    assert claims == ["The network looks at the object that it names.", "Every method here depends on the network."]


def test_no_method_that_points_better_than_noise(objects):
    found = evaluated({"bad": 0.1, "uniform_noise": 0.1}, {"bad": 0.0, "uniform_noise": 0.0})
    (only,) = findings(found, objects, 6, {"bad": maps_on(0 * objects.masks)})
    assert only.claim == "No method here finds the objects."
