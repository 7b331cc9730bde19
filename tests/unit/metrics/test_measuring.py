"""What a metric takes, refuses, keeps and says."""

import dataclasses

import keras
import numpy as np
import pytest

import keras_explainable as ke
from support import keras_models
from support.compare import close
from support.left_as_found import same, state
from support.memory import too_little
from support.selection import fast_on_torch, slow_compiled

pytestmark = fast_on_torch

X = keras_models.images("functional", 4)
Y = np.array([0, 1, 2, 3])
MAPS = np.random.default_rng(0).normal(size=(*X.shape[:-1], 1)).astype("float32")


def model():
    return keras_models.build_once("functional")


def srg(x=X, y=Y, maps=MAPS, **params):
    return ke.metrics.srg(model(), x, y, maps, points=3, **params)


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"maps": MAPS[:3]}, r"\(3, 20, 24, 1\) came, and \(4, 20, 24, 1\)"),
        ({"maps": MAPS[:, ::2, ::2]}, "Resize maps first"),
        ({"maps": np.repeat(MAPS, 2, -1)}, r"and \(4, 20, 24, 1\) was expected"),
        ({"maps": MAPS[..., 0]}, r"Add the axis of units first: maps\[..., None\]"),
        ({"maps": np.repeat(np.moveaxis(MAPS, -1, 1), 3, 1)}, r"Add up the channels first: maps.sum\(1\)\[..., None\]"),
        ({"maps": np.repeat(MAPS, 3, -1)}, r"If these are channels, add them up: maps.sum\(-1\)\[..., None\]"),
        (
            {"maps": np.where(np.arange(4)[:, None, None, None] == 2, np.nan, MAPS)},
            "maps of 1 of 4 images .* the first is image 2",
        ),
        ({"maps": None}, "None came, and maps"),
        ({"maps": "gradcam"}, "'gradcam' came, and maps .* were expected"),
        ({"fill": "median"}, "fill='median' came"),
        ({"quantity": "loss"}, "quantity='loss' came"),
        ({"steps_": 3}, "srg takes no steps_="),
        ({"seed": 0.5}, "seed=0.5"),
        ({"x": None}, "srg needs x="),
        ({"at_once": 0}, "at_once=0"),
        ({"masks": np.zeros((4, 3, 3))}, "Masks of shape"),
    ],
)
def test_what_does_not_fit_is_refused_before_any_work(given, match):
    with pytest.raises(ke.errors.InputError, match=match):
        srg(**given)


def test_what_a_metric_needs_is_named_and_told():
    with pytest.raises(
        ke.errors.InputError, match=r'explain=, not given here: explain= is the method .* explain="gradcam"'
    ):
        ke.metrics.mprt(model(), X, Y, MAPS)
    with pytest.raises(ke.errors.InputError, match=r"masks=, not given here: masks= says where the object is"):
        ke.metrics.mass_accuracy(maps=MAPS)
    with pytest.raises(ke.errors.InputError, match=r"objects=, not given here: objects= is the pair"):
        ke.evaluate(model(), X, Y, "gradcam", "single_deletion", verbose=0)


def test_points_are_a_number_of_points():
    for points in (1, 2.5, 10**6, "many"):
        with pytest.raises(ke.errors.InputError, match="points="):
            ke.metrics.srg(model(), X, Y, MAPS, points=points)


def test_an_explanation_is_not_maps():
    with pytest.raises(ke.errors.InputError, match="scores, maps = explanation"):
        srg(maps=ke.gradients(model(), X, Y, verbose=0))


@slow_compiled
def test_sources_of_batches_give_the_same_values():
    whole = srg().values

    def batches():
        for start in (0, 3):
            yield X[start : start + 3], Y[start : start + 3]

    close(srg(x=batches(), y=None).values, whole, atol=1e-6)
    with pytest.raises(ke.errors.InputError, match="3 maps came, and images 4 or more"):
        srg(x=batches(), y=None, maps=MAPS[:3])
    with pytest.raises(ke.errors.InputError, match="5 maps came for 4 images"):
        srg(x=batches(), y=None, maps=np.concatenate([MAPS, MAPS[:1]]))


def test_units_that_the_model_chooses_and_all_units():
    logits = np.asarray(keras.ops.convert_to_numpy(model()(X)))
    best = logits.argmax(axis=1)
    np.testing.assert_array_equal(srg(y="predicted").values, srg(y=best).values)
    every = srg(y=None, maps=np.repeat(MAPS, 5, axis=-1)).values
    close(every[np.arange(4), best], srg(y=best).values[:, 0], rtol=1e-5)


def test_a_score_is_read_as_it_is():
    margin = ke.scores.margin(1, 3)
    z = np.asarray(keras.ops.convert_to_numpy(model()(X)))
    found = srg(y=None, score=margin)
    close(found.curves["deletion"][:, 0, 0], z[:, 1] - z[:, 3], rtol=1e-4)


def test_the_model_is_left_as_it_was():
    fresh = keras_models.build("functional")
    before = state(fresh)
    ke.metrics.srg(fresh, X, Y, MAPS, points=3)
    with pytest.raises(ZeroDivisionError):
        ke.metrics.srg(fresh, X, Y, MAPS, points=3, fill=lambda images, masks: 1 / 0)
    same(before, state(fresh))


def test_what_was_measured_before_an_error_is_kept():
    def batches():
        yield X[:2], Y[:2]
        raise OSError("gone")

    with pytest.raises(OSError, match="gone") as caught:
        srg(x=batches(), y=None)
    close(caught.value.partial.values, srg().values[:2], atol=1e-6)


def test_low_precision_moves_srg_by_little():
    assert abs(srg(precision="bfloat16").values - srg().values).max() < 0.005


def test_every_metric_says_what_it_is():
    for record in ke.metrics.list():
        assert record.summary.endswith(".") and "  " not in record.summary and "\n" not in record.summary
        assert record.reference and record.cost, record.name
        assert getattr(ke.metrics, record.name) is record.function


def test_help_says_where_the_parameters_of_all_metrics_are():
    for record in ke.metrics.list():
        assert "help(ke.metrics)" in record.function.__doc__, record.name


def test_what_is_printed_is_short():
    found = repr(srg())
    assert len(found) < 200 and found.startswith("Measured(srg: values (4, 1) from ") and "0 undefined" in found


def test_masks_and_objects_are_halved_with_their_images():
    """A device with too little memory for four images measures two at a time, each with its own rows."""
    record, seen = ke.metrics.METRICS["single_deletion"], []

    def limited(case, maps, **own):
        seen.append(len(maps))
        if len(maps) > 2:
            raise too_little()
        return record.of_case(case, maps, **own)

    objects = (
        np.random.default_rng(5).random((4, 3, *X.shape[1:-1])) < 0.3,
        np.random.default_rng(6).normal(size=(4, 3, *X.shape[1:])),
    )
    whole = ke.metrics.single_deletion(model(), X, Y, MAPS, objects=objects).values
    METRICS = ke.metrics.METRICS
    METRICS["single_deletion"] = dataclasses.replace(record, of_case=limited)
    try:
        with pytest.warns(UserWarning, match="too little memory for 4 images at once"):
            halved = record.function(model(), X, Y, MAPS, objects=objects).values
    finally:
        METRICS["single_deletion"] = record
    close(halved, whole, atol=1e-5)
    assert seen == [4, 2, 2]
