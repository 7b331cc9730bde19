"""Which units an explanation says that it explained."""

import numpy as np
from keras import ops

import keras_explainable as ke
from support.calls import gradcam
from support.keras_models import on
from support.selection import slow_compiled

pytestmark = slow_compiled
N = 5

model, x = on("nested_sequential", N)


def test_an_explanation_says_which_units_were_explained(model, x):
    best = np.argsort(-gradcam(model, x).scores, axis=1)
    assert np.array_equal(gradcam(model, x, "top-2", batch_size=2).units, best[:, :2])
    assert np.array_equal(gradcam(model, x, 3, batch_size=2).units, np.full((N, 1), 3))
    assert gradcam(model, x).units is None
    both = ke.explain(["gradcam", "gradients"], model, x, "predicted", verbose=0)
    assert all(np.array_equal(one.units, best[:, :1]) for one in both.values())
    tensors = ke.explain("gradcam", model, x, "predicted", verbose=0, as_numpy=False)
    assert np.array_equal(ops.convert_to_numpy(tensors.units), best[:, :1])
