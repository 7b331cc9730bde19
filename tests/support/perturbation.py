"""Models, segments and linear scores on which perturbation methods are tried."""

import numpy as np
import pytest

from keras_explainable.masking.segments import grid as grid_segments
from support import keras_models
from support.calls import UNITS
from support.keras_models import SHAPE
from support.selection import BACKEND, first_fast
from support.to_reference import as_reference

KINDS = first_fast("one_dimensional", "functional", "channels_first", "three_dimensional")
numpy_only = pytest.mark.skipif(BACKEND != "torch", reason="about NumPy alone, which is quickest on PyTorch")
SEED, SPACE = 5, keras_models.SIZE


@pytest.fixture
def x():
    return keras_models.images("functional")


def subject(kind):
    """The model and images of a kind, its twin and theirs, the images' size, and a baseline for both."""
    model, x = keras_models.build(kind), keras_models.images(kind)
    x64 = keras_models.channels_last(kind, x.astype("float64"))
    colour = np.linspace(-0.5, 0.5, x64.shape[-1]).astype("float32")
    return (model, x, UNITS), (as_reference(model), x64, UNITS), x64.shape[1:-1], colour


def grid(size):
    """Six segments, and what names them."""
    cells = (6,) if len(size) == 1 else (2, 3, *(1,) * (len(size) - 2))
    return {"segments": cells, "seed": SEED}, grid_segments(size, cells)[0]


W = np.random.default_rng(5).normal(size=(*SHAPE, 4))


def linear(images):
    """Scores <x, w_k> (B, 4), a function of NumPy arrays."""
    assert isinstance(images, np.ndarray)
    return np.einsum("bhwc,hwck->bk", images, W)


def contributions(x, baseline, labels):
    """Of each segment to a linear score: sum of w (x - baseline), (B, n, K)."""
    products = ((x - baseline)[..., None] * W).sum(axis=3)
    return np.stack([products[:, labels == j].sum(axis=1) for j in range(labels.max() + 1)], axis=1)


def numbered():
    """Four images, whose first value says in how many columns of two segments they are cut."""
    x = keras_models.images("functional", 4, seed=2)
    x[:, 0, 0, 0] = [1, 3, 2, 3]
    return x


def columns(images):
    return np.stack([grid_segments(SPACE, (2, int(image.flat[0])))[0] for image in images])
