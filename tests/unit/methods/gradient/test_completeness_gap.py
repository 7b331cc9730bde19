"""How nearly integrated gradients add up: told in `.about`, and by a warning with the repetitions that would do."""

import re
import warnings

import keras
import numpy as np
import pytest
from keras import layers as L

import keras_explainable as ke
from keras_explainable.methods import meta
from keras_explainable.methods.gradient.integrated_gradients import completeness
from support import keras_models
from support.calls import raw
from support.compare import close
from support.keras_models import SHAPE, counted
from support.selection import fast, slow_compiled, very_slow_compiled

pytestmark = very_slow_compiled


def explained(*args, **params):
    """What is explained, and what is warned of sums that miss."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = raw(*args, **params)
    return found, [str(w.message) for w in caught if "integrated gradients" in str(w.message)]


def linear():
    model = keras_models.randomize(keras.Sequential([keras.Input(SHAPE), L.Flatten(), L.Dense(2, use_bias=False)]))
    return model, keras_models.images("functional", 5)


def cubed(outputs):
    return outputs**3


@fast
def test_the_gap_of_a_cube():
    """One gradient, at the middle of the path, is 3/4 of the mean one; two of Gauss and Legendre are exact."""
    model, x = linear()
    for params in ({}, {"batch_size": 2}, {"reduce": None}, {"reduce": "absolute"}, {"run_eagerly": True}):
        found, messages = explained("integrated_gradients", model, x, 1, score=cubed, repetitions=1, **params)
        assert found.about["gap"] == pytest.approx(0.25, rel=1e-4) and len(messages) == 1
        assert "repetitions=1 miss" in messages[0] and "by up to 25%, although" in messages[0]
        assert "for less than 5%, give repetitions=160." in messages[0]
    found, messages = explained("integrated_gradients", model, x, 1, score=cubed, repetitions=2)
    assert found.about["gap"] < 1e-3 and not messages


@slow_compiled
def test_it_is_the_largest_of_all_images_and_units():
    model, x = keras_models.build("functional"), keras_models.images("functional", 5)
    params = {"repetitions": 4, "baseline": "mean"}
    report = ke.integrated_gradients_gap(model, x, [[1, 4]] * 5, **params)
    rise = abs(report.scores - report.baseline_scores)
    expected = (report.absolute_gap / np.maximum(rise, 0.1 * rise.max())).max()
    for size in (2, 5):
        found, _ = explained("integrated_gradients", model, x, [[1, 4]] * 5, batch_size=size, **params)
        assert found.about["gap"] == pytest.approx(expected, rel=1e-2)
    close([report.total], [found.maps.sum((1, 2))])


def test_changes_that_are_nothing_beside_others_do_not_count():
    scores, below, total = np.array([[10.0, 1e-3]]), np.zeros((1, 2)), np.array([[9.9, 2e-3]])
    assert completeness(scores, below, total, 50).about["gap"] == pytest.approx(0.01)
    rounded = completeness(scores[:, :1], scores[:, :1] - 1e-6, total[:, :1] * 0, 50)  # of images of one value
    assert rounded.about["gap"] < 0.01 and rounded.warning is None


@pytest.mark.parametrize("quadrature", ["gauss_legendre", "midpoint"])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_the_repetitions_that_a_warning_names_do(activation, quadrature):
    stack = [L.Conv2D(6, 3, activation=activation, strides=2) for _ in range(2)]
    head = [L.Flatten(), L.Dense(20, activation=activation), L.Dense(2)]
    warned = 0
    for seed in range(3):
        model = keras_models.randomize(keras.Sequential([keras.Input(SHAPE), *stack, *head]), seed)
        x, params = 5 * keras_models.images("functional", 2, seed=seed), {"quadrature": quadrature}
        found, messages = explained("integrated_gradients", model, x, repetitions=4, **params)
        assert bool(messages) == (found.about["gap"] > 0.05)
        if messages:
            warned += 1
            enough = int(re.search(r"give repetitions=(\d+)", messages[0])[1])
            found, messages = explained("integrated_gradients", model, x, repetitions=enough, **params)
            assert found.about["gap"] < 0.05 and not messages
    assert warned


def test_it_costs_one_more_forward_pass_of_the_baseline():
    model, calls = counted()
    x, runs = keras_models.images("functional", 2), []
    for explain in (
        ke.get("integrated_gradients"),
        lambda *args, **params: raw("integrated_gradients", *args, **params),
    ):
        explain(model, x, [[1], [2]], repetitions=3)  # compiles
        calls.clear()
        with ke.runtime.compile_cache.options(True, None):
            explain(model, x, [[1], [2]], repetitions=3)
        runs.append(sum(n == 2 for n in calls))
    plain, messages = runs
    assert messages <= plain + 1


@slow_compiled
def test_who_warns_and_of_what():
    model, x = linear()
    with pytest.warns(UserWarning, match="integrated gradients") as caught:
        ke.integrated_gradients(model, x, 1, score=cubed, repetitions=1, verbose=0, batch_size=2)
    assert [w.filename for w in caught] == [__file__]
    for method in (meta.smooth("integrated_gradients", 2, noise=0.0), meta.ensemble(["integrated_gradients"])):
        assert len(explained(method, model, x, 1, score=cubed, repetitions=1)[1]) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ke.get("integrated_gradients")(model, x, 1, cubed, repetitions=1)  # nobody asked
    assert "gap" not in raw("gradients", model, x, 1).about


def test_many_repetitions_are_of_the_rule_whose_places_are_found_at_once():
    one = np.ones((1, 1))
    messages = completeness(one, 0 * one, one * 2, 50).warning
    assert (
        'up to 100%, although they should add up to it: for less than 5%, give repetitions=4000, quadrature="midpoint".'
        in messages
    )
