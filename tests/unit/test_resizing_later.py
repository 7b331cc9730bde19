"""Maps that are kept small, and resized when they are read."""

import keras
import numpy as np
import pytest
from keras import layers as L

import keras_explainable as ke
from support import keras_models
from support.compare import close
from support.selection import slow_compiled

pytestmark = slow_compiled
SHAPE, UNITS = (12, 14, 3), 4


@pytest.mark.parametrize("placement", ["measured", "stretch"])
def test_maps_that_are_resized_later_are_those_that_explain_resizes(rng, placement):
    x = rng.normal(size=(3, *SHAPE)).astype("float32")
    image = keras.Input(SHAPE)
    y = L.Conv2D(6, 5, strides=2, activation="relu")(L.ZeroPadding2D(((5, 0), (0, 4)))(image))  # off by some cells
    model = keras_models.randomize(keras.Model(image, L.Dense(UNITS)(L.Flatten()(y))))
    how = {"verbose": 0, "placement": placement, "layer": model.layers[2].name}
    small = ke.explain("layercam", model, x, 1, resizing=False, **how).maps
    rows, columns = ke.inspection.resizing("layercam", model, x, small.shape[1:3], how["layer"], placement=placement)
    assert rows.shape == (SHAPE[0], small.shape[1]) and columns.shape == (SHAPE[1], small.shape[2])
    later = np.einsum("Hh,nhwk,Ww->nHWk", rows, small, columns)
    close([later], [ke.explain("layercam", model, x, 1, **how).maps])
