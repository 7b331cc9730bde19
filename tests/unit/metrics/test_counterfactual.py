"""What the score really loses without an object."""

import keras
import numpy as np
import pytest

import keras_explainable as ke
from support.compare import as_numpy, close
from support.selection import fast, fast_on_torch

pytestmark = fast_on_torch

SIZE, UNITS = (8, 9), 3


def linear(seed=0):
    """logits = sum of W x, so that what an object adds is known."""
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((*SIZE, 3))
    outputs = keras.layers.Dense(UNITS, use_bias=False)(keras.layers.Flatten()(inputs))
    return keras.Model(inputs, outputs)


def scenes(number=4, objects=3, seed=1):
    """Images, masks of disjoint objects, and images where each is replaced by noise."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(number, *SIZE, 3)).astype("float32")
    owner = rng.integers(-1, objects, (number, *SIZE))
    masks = owner[:, None] == np.arange(objects)[None, :, None, None]
    other = rng.normal(size=(number, objects, *SIZE, 3)).astype("float32")
    return x, masks, np.where(masks[..., None], other, x[:, None])


@fast
def test_it_equals_the_twin():
    model, (x, masks, redrawn) = linear(), scenes()
    y, maps = np.array([[0, 2]] * 4), np.random.default_rng(2).normal(size=(4, *SIZE, 2))
    found = ke.metrics.single_deletion(model, x, y, maps, objects=(masks, redrawn), at_once=5)
    for b in range(4):
        for k, unit in enumerate(y[b]):
            logit = [as_numpy(model(image[None]))[0, unit] for image in (x[b], *redrawn[b])]
            losses, sums = logit[0] - np.array(logit[1:]), [maps[b, ..., k][m].sum() for m in masks[b]]
            close(found.values[b, k], np.corrcoef(sums, losses)[0, 1], 1e-4)
            close(found.curves["loss"][b, k], losses, 1e-4)


def test_the_effects_of_a_linear_model_are_its_own():
    """Without an object, a linear score loses the sum of w (x - x') over it: a correlation of 1."""
    model, (x, masks, redrawn) = linear(), scenes()
    w = as_numpy(model.layers[-1].kernel).reshape(*SIZE, 3, UNITS)
    own = np.einsum("bohwc,hwcu->bohwu", x[:, None] - redrawn, w).sum(axis=1)
    close(
        ke.metrics.single_deletion(model, x, [0] * 4, own[..., :1], objects=(masks, redrawn)).values,
        np.ones((4, 1)),
        1e-5,
    )


def test_missing_objects_do_not_count_and_one_object_is_not_enough():
    model, (x, masks, redrawn) = linear(), scenes()
    maps = np.random.default_rng(3).normal(size=(4, *SIZE, 1))
    masks[0, 1:], masks[1, 2] = False, False
    values = ke.metrics.single_deletion(model, x, [1] * 4, maps, objects=(masks, redrawn)).values[:, 0]
    assert np.isnan(values[0]) and abs(abs(values[1]) - 1) < 1e-9 and abs(values[2]) < 1


def test_the_oracle_of_an_evaluation_is_what_objects_add():
    found = ke.demo.load_counterfactuals(6, seed=5, objects=2)
    model, rows = ke.demo.load_model(), len(found.scene)
    result = ke.evaluate(
        model, found.images[found.scene], found.units[:, None], ["gradcam"], ["single_deletion"],
        groups=found.scene, objects=found.objects(), verbose=0,
    )  # fmt: skip
    values = dict(zip(result.methods, result.of("single_deletion"), strict=True))
    assert len(values["oracle"]) == rows == 12
    close(values["oracle"], 1, rtol=1e-7)
    assert values["gradcam"].mean() > 0.8 > values["uniform_noise"].mean()


def test_the_objects_of_a_scene_stand_beside_each_of_them():
    found = ke.demo.load_counterfactuals(4, seed=3)
    masks, redrawn = found.objects()
    for row, scene in enumerate(found.scene):
        there = np.flatnonzero(found.scene == scene)
        np.testing.assert_array_equal(masks[row, : len(there)], found.masks[there])
        np.testing.assert_array_equal(redrawn[row, : len(there)], found.redrawn[there])
        assert not masks[row, len(there) :].any()


@pytest.mark.parametrize("objects", [None, 3, (np.ones((4, 3, 8, 8)), np.ones((4, 3, 8, 8, 3)))])
def test_what_are_no_objects_is_refused(objects):
    x, masks, redrawn = scenes()
    maps = np.ones((4, *SIZE, 1))
    with pytest.raises(ke.errors.InputError, match="objects="):
        ke.metrics.single_deletion(linear(), x, [0] * 4, maps, objects=objects)
    with pytest.raises(ke.errors.InputError, match="objects="):
        ke.evaluate(linear(), x, [0] * 4, {"mine": maps}, ["single_deletion"], objects=objects, verbose=0)
    with pytest.raises(ke.errors.InputError, match="0 and 1"):
        ke.metrics.single_deletion(linear(), x, [0] * 4, maps, objects=(masks * 0.5, redrawn))
