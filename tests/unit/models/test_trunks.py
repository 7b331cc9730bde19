"""Trunks that are written with functions: a class activation map is of the signal in which the branches meet."""

import keras
import numpy as np
import pytest
from keras import layers as L
from keras import ops

import keras_explainable as ke
from support import keras_models
from support.calls import raw
from support.compare import close
from support.selection import slow_compiled

pytestmark = slow_compiled

IMAGES = np.random.default_rng(0).normal(size=(2, 16, 16, 3)).astype("float32")


class Trunk(keras.Model):
    """A stem and two convolutions beside each other, put together in several ways."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        self.stem, self.a, self.short = (L.Conv2D(6, n, padding="same") for n in (3, 3, 1))
        self.dense = L.Dense(4)

    def meet(self, x):
        """The signal in which all ways come together, and what is pooled."""
        h = ops.relu(self.stem(x))
        if self.kind == "sum":
            seen = ops.relu(self.a(h) + self.short(h))
        elif self.kind == "sum, otherwise":
            seen = ops.relu(self.short(h) + self.a(h))
        elif self.kind == "side by side":
            seen = ops.concatenate([ops.relu(self.a(h)), ops.relu(self.short(h))], axis=-1)
        else:  # pooled apart: what both are made of
            pooled = [ops.mean(ops.relu(layer(h)), axis=(1, 2)) for layer in (self.a, self.short)]
            return h, ops.concatenate(pooled, axis=-1)
        return seen, ops.mean(seen, axis=(1, 2))

    def call(self, x):
        return self.dense(self.meet(x)[1])


def built(kind):
    model = Trunk(kind)
    model(IMAGES)
    return keras_models.randomize(model)


@pytest.mark.parametrize("kind", ["sum", "sum, otherwise", "side by side"])
def test_grad_cam_is_of_the_signal_in_which_the_branches_meet(kind):
    model = built(kind)
    seen = ops.convert_to_numpy(model.meet(IMAGES)[0])
    weights = ops.convert_to_numpy(model.dense.kernel)[:, 1] / 16**2  # the gradient of a mean
    close(raw("gradcam", model, IMAGES, 1).maps[..., 0], seen @ weights, 1e-5)


def test_of_branches_that_are_pooled_apart_it_is_what_both_are_made_of():
    assert ke.gradcam(built("apart"), IMAGES, 1, verbose=0).about["signal"] == "relu"  # the stem's, the first of three
