"""A view says what a model shows, and asking it changes nothing."""

import numpy as np
from keras import ops

import keras_explainable as ke
from support import keras_models


def evaluated(view, point):
    return ops.convert_to_numpy(view.evaluate([point])[1][point])


def gradients(view, point):
    return ops.convert_to_numpy(view.jacobian([point], keep=False)[2][point])


def test_the_choice_of_a_signal_does_not_change_what_is_seen_there():
    model, x = keras_models.build("transformer"), keras_models.images("transformer", 2)
    point = ke.models.Point(*ke.models.view(model, x, 1).signal())
    view = ke.models.view(model, x, 1)
    tokens, slopes = evaluated(view, point), gradients(view, point)
    seen = view.signal()
    assert seen == point and seen.reading.grid and tokens.ndim == 3
    np.testing.assert_array_equal(evaluated(view, point), tokens)
    np.testing.assert_array_equal(gradients(view, point), slopes)
    rows = slice(seen.reading.prefix, None)
    np.testing.assert_array_equal(evaluated(view, seen).reshape(tokens[:, rows].shape), tokens[:, rows])
    np.testing.assert_array_equal(gradients(view, seen).reshape(slopes[:, :, rows].shape), slopes[:, :, rows])


def test_another_grid_of_a_signal_leaves_the_first():
    model, x = keras_models.build("transformer"), keras_models.images("transformer", 2)
    view = ke.models.view(model, x, 1)
    one = view.signal()
    rows, columns = one.reading.grid
    assert rows != columns
    before = evaluated(view, one)
    other = view.signal({"name": one.path, "prefix": one.reading.prefix, "grid": (columns, rows)})
    after = evaluated(view, other)
    assert after.shape[1:3] == (columns, rows) and other == one
    np.testing.assert_array_equal(evaluated(view, one), before)
    np.testing.assert_array_equal(after.reshape(before.shape), before)


def test_a_signal_of_other_axes_leaves_those_of_the_images():
    model, x = keras_models.build("functional"), keras_models.images("functional", 2)
    view = ke.models.view(model, x, 1)
    rank, windows = view.rank, view.windows(view.signal())
    with np.testing.assert_raises(ke.errors.LayerError):
        view.signal("logits")
    assert (view.rank, view.windows(view.signal())) == (rank, windows)
