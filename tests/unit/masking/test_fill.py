"""What is put in the place of removed pixels."""

import keras
import numpy as np
import pytest

import keras_explainable as ke
from keras_explainable.masking.fill import STEPS, Linear, solve
from reference import fills
from reference import metrics as twins
from support.compare import as_numpy, close

RNG = np.random.default_rng(0)
X = RNG.random((2, 14, 11, 3)).astype("float32")
MASKS = RNG.random((2, 14, 11)) < 0.4
SUM = keras.Sequential([keras.Input((14, 11, 3)), keras.layers.Flatten(), keras.layers.Dense(1)])
WEIGHTS = RNG.normal(size=(14 * 11 * 3, 1)).astype("float32")
SUM.layers[-1].set_weights([WEIGHTS, np.zeros(1, "float32")])


def without_half(**params):
    """The score of a linear model without the half of the pixels where a map is 1."""
    maps = np.zeros((2, 14, 11, 1))
    maps[:, :7] = 1
    given = {"points": 3, "quantity": "logit", **params}
    return ke.metrics.deletion(SUM, X, 0, maps, **given).curves["deletion"][:, 0, 1]


def expected(filled):
    gone = X.copy()
    gone[:, :7] = np.broadcast_to(filled, X.shape)[:, :7]
    return gone.reshape(2, -1) @ WEIGHTS[:, 0]


@pytest.mark.parametrize("missing", [MASKS, np.ones_like(MASKS), np.zeros_like(MASKS)], ids=["some", "all", "none"])
def test_linear_equals_a_dense_solution(missing):
    found = as_numpy(
        solve(keras.ops.convert_to_tensor(X), keras.ops.convert_to_tensor(missing[..., None].astype("float32")), 60)
    )
    if missing.all():
        close(found, np.broadcast_to(X.mean(axis=(1, 2), keepdims=True), X.shape))
    else:
        close(found, [twins.linear_fill(x, m) for x, m in zip(X, missing, strict=True)], atol=1e-4)


def test_a_few_steps_are_near_the_dense_solution():
    y, x = np.mgrid[:32, :32] / 32
    image = np.stack([np.sin(5 * x + y), x * y], axis=-1).astype("float32")
    blob = ((y - 0.5) ** 2 + (x - 0.5) ** 2 < 0.9 / np.pi).astype("float32")
    places = keras.ops.convert_to_tensor(1 - blob[None, None])
    tensor = keras.ops.convert_to_tensor(image[None])
    found = as_numpy(Linear(STEPS)(tensor, keras.ops.zeros_like(tensor), places))[0, 0]
    assert abs(found - twins.linear_fill(image, blob.astype(bool))).max() < 0.013 * np.ptp(image)


def test_numbers_colours_images_and_the_mean():
    close(without_half(fill=0.25), expected(0.25), 1e-4)
    close(without_half(fill=[0.1, 0.2, 0.3]), expected(np.array([0.1, 0.2, 0.3])), 1e-4)
    close(without_half(fill=X[::-1].copy()), expected(X[::-1]), 1e-4)
    close(without_half(fill="mean"), expected(X.mean(axis=(1, 2), keepdims=True)), 1e-4)


def test_blur_is_a_gaussian_of_a_22nd_of_the_shortest_side():
    close(without_half(fill="blur"), expected(np.stack([fills.blurred(image) for image in X])), 1e-4)


def test_noise_is_uniform_over_the_range_of_the_image():
    images = np.stack([X[0], 5 + 2 * X[1]])
    seen = []

    def model(x):
        seen.append(as_numpy(x))
        return np.zeros((len(x), 1), "float32")

    ke.metrics.deletion(model, images, 0, np.ones((2, 14, 11, 1)), fill="noise", points=2)
    low, high = images.min(axis=(1, 2, 3)), images.max(axis=(1, 2, 3))
    full = [batch for batch in seen if len(batch) >= 2][-1][-2:]
    for b in range(2):
        values = np.sort((full[b].ravel() - low[b]) / (high[b] - low[b]))
        assert abs(values - np.linspace(0, 1, values.size)).max() < 1.6 / np.sqrt(values.size)  # Kolmogorov-Smirnov


def test_a_users_function():
    def fill(images, masks):
        return images * (1 - masks[..., None]) + 0.25 * masks[..., None]

    close(without_half(fill=fill), expected(0.25), 1e-4)
    with pytest.raises(ke.errors.InputError, match=r"fill= returned"):
        without_half(fill=lambda images, masks: masks)


@pytest.mark.parametrize("fill", ["median", [1.0, 2.0], None])
def test_what_cannot_fill_is_refused(fill):
    with pytest.raises(ke.errors.InputError):
        without_half(fill=fill)
