"""A model that gives something else each time comes with a warning, and no other does."""

import warnings

import keras
import numpy as np
import pytest
from keras import layers as L

import keras_explainable as ke
import models
from helpers import BACKEND, raw

X = np.random.default_rng(0).normal(size=(2, 12, 12, 3)).astype("float32")
torch_only = pytest.mark.skipif(BACKEND != "torch", reason="modules need Keras on PyTorch")


def net(rate):
    """As a masked autoencoder: places are dropped in evaluation mode as well."""
    import torch
    from torch import nn

    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.conv, self.head = nn.Conv2d(3, 6, 3), nn.Linear(6, 4)

        def forward(self, x):
            seen = self.conv(x).relu()
            return self.head((seen * (torch.rand(1, 1, *seen.shape[2:]) >= rate)).mean((2, 3)))

    return Masked().eval()


@torch_only
@pytest.mark.parametrize("method", ["gradients", "gradcam", "occlusion", "full_gradients"])
def test_a_random_forward_pass_is_told(method):
    with pytest.warns(UserWarning, match="Two runs of this model on the same image differ"):
        raw(method, net(0.5), X.transpose(0, 3, 1, 2), 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        raw(method, net(0.0), X.transpose(0, 3, 1, 2), 1)


@pytest.mark.parametrize("always", [True, False])
def test_dropout_that_is_always_on_is_told_where_it_draws(always):
    image = keras.Input((12, 12, 3))
    x = L.Dropout(0.5)(L.GlobalAveragePooling2D()(L.Conv2D(6, 3, activation="relu")(image)), training=always or None)
    model = models.randomize(keras.Model(image, L.Dense(4)(x)))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        one, other = (ke.gradients(model, X, 1, verbose=0) for _ in range(2))
    said = any("Two runs" in str(w.message) for w in told)
    assert said == (abs(one.scores - other.scores).max() > 1e-3)


@torch_only
def test_deeplift_of_a_score_that_is_not_linear_says_how_much_it_misses():
    """cos(outputs, v): what is done to the outputs has its gradient, and the parts do not add up."""
    module, x = net(0.0), X.transpose(0, 3, 1, 2)
    score = ke.scores.similarity(np.array([1, -2, 0.5, 1], "float32"))
    with pytest.warns(UserWarning, match=r"miss the change of the score.*by up to \d+%"):
        found = raw("deeplift", module, x, score=score)
    below = raw("gradients", module, 0 * x, score=score).scores
    rise = found.scores - below
    gap = abs(rise - found.maps.sum((1, 2))) / abs(rise)
    assert found.about["gap"] == pytest.approx(gap.max(), rel=1e-3) and gap.max() > 0.05
    assert raw("deeplift", module, x, score=ke.scores.margin(1, 2)).about["gap"] < 1e-4
