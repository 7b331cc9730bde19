"""A model that gives something else each time comes with a warning, and no other does."""

import warnings

import keras
import numpy as np
import pytest
from keras import layers as L

import keras_explainable as ke
from support import keras_models
from support.calls import raw
from support.selection import BACKEND, slow_compiled

pytestmark = slow_compiled

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


class Always(L.Layer):
    def __init__(self, always):
        super().__init__()
        self.drop, self.always = L.Dropout(0.5), always

    def call(self, x):
        return self.drop(x, training=self.always)


@pytest.mark.parametrize("always", [True, False])
def test_dropout_that_is_always_on_is_told(always):
    image = keras.Input((12, 12, 3))
    x = Always(always)(L.GlobalAveragePooling2D()(L.Conv2D(6, 3, activation="relu")(image)))
    model = keras_models.randomize(keras.Model(image, L.Dense(4)(x)))
    one, other = (keras.ops.convert_to_numpy(model(X, training=False)) for _ in range(2))
    assert (abs(one - other).max() > 1e-3) == always
    assert said(model) == always


def said(model):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ke.gradients(model, X, 1, verbose=0)
    return any("Two runs" in str(w.message) for w in caught)


class Draws(L.Layer):
    """Multiplies by numbers that it draws, of its own seeds or of Keras's."""

    def __init__(self, seed):
        super().__init__()
        self.seed = seed and keras.random.SeedGenerator(1)

    def call(self, x):
        return x * (1 if self.seed is None else keras.random.uniform(keras.ops.shape(x), seed=self.seed or None))


@pytest.mark.parametrize("seed", [None, True, False])
def test_a_layer_of_the_users_own_that_draws_is_told(seed):
    if seed is False and BACKEND == "jax":
        pytest.skip("JAX takes no seed of Keras's own in compiled programs")
    image = keras.Input((12, 12, 3))
    x = L.GlobalAveragePooling2D()(Draws(seed)(L.Conv2D(6, 3, activation="relu")(image)))
    assert said(keras_models.randomize(keras.Model(image, L.Dense(4)(x)))) == (seed is not None)


def test_a_stateful_layer_does_not_draw():
    image = keras.Input(batch_shape=(2, 12, 12, 3))
    x = L.LSTM(5, stateful=True)(L.Reshape((12, 36))(image))
    assert not said(keras_models.randomize(keras.Model(image, L.Dense(4)(x))))


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
