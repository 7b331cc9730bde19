"""What several tests need: small calls, comparisons, and a model that counts its runs."""

import functools

import keras
import numpy as np

import keras_explainable as ke
import models

BACKEND = keras.backend.backend()
SHAPE = (*models.SIZE, 3)

gradcam = functools.partial(ke.gradcam, verbose=0)
raw = functools.partial(ke.explain, verbose=0, resizing=False)


def close(a, b, tolerance=1e-5):
    """Equal shapes, and values that differ by less than a part of the largest."""
    for u, v in zip(a, b, strict=True):
        assert u.shape == v.shape
        np.testing.assert_allclose(u, v, atol=tolerance * max(abs(v).max(), 1e-12), rtol=0)


def counted():
    """A model, and the batch sizes that it was called with."""
    calls = []

    class Counted(models.Twice):
        def call(self, x, training=None):
            calls.append(x.shape[0])
            return super().call(x, training)

    model = Counted()
    model(np.zeros((1, *SHAPE), "float32"))
    models.randomize(model)
    calls.clear()
    return model, calls
