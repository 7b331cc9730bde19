"""Segments: a grid, labels, a function or superpixels, for each image its own."""

import numpy as np
import pytest

from keras_explainable.errors import InputError
from keras_explainable.masking.segments import grid as grid_segments
from keras_explainable.methods.perturbation.lime import lime_rows
from keras_explainable.numerics import random
from reference import perturbation as twins
from support import keras_models
from support.calls import raw
from support.compare import close
from support.keras_models import SHAPE
from support.perturbation import SEED, SPACE, columns, linear, numbered, numpy_only
from support.selection import very_slow_compiled
from support.to_reference import as_reference

pytestmark = very_slow_compiled


def test_segments_are_a_grid_labels_or_a_function(x):
    labels = grid_segments(SPACE, (2, 3))[0]
    same = {"repetitions": 62}
    expected = raw("kernel_shap", linear, x, segments=(2, 3), **same)
    many = np.stack([labels, labels * 7 + 2, labels[::-1]])
    one = raw("kernel_shap", linear, x, segments=labels, **same)
    per_image = raw("kernel_shap", linear, x, segments=many, **same)
    close(one, expected)
    close([per_image.maps[:2]], [expected.maps[:2]])
    by_function = raw("kernel_shap", linear, x, segments=lambda images: np.stack([labels] * len(images)), batch_size=2)
    close(by_function, expected, 1e-4)
    with pytest.raises(InputError, match="give a function from images to labels"):
        raw("kernel_shap", linear, x, segments=many, batch_size=2)


TWINS = {  # with what is drawn for n segments
    "lime": lambda *args, n: twins.lime(*args, lime_rows(20, n, SEED)),
    "kernel_shap": lambda *args, n: twins.kernel_shap(*args),
    "sobol": lambda *args, n: twins.sobol(*args, *(random.on_host((20, n), SEED, 0, stream) for stream in (0, 1))),
    "hsic": lambda *args, n: twins.hsic(*args, random.on_host((20, n), SEED) < 0.5),
}


@pytest.mark.parametrize("method", TWINS)
def test_an_image_is_explained_by_its_own_segments_whatever_its_neighbours(method):
    model, x = keras_models.build("functional"), numbered()
    labels = columns(x)
    params = {"seed": SEED, "baseline": 0.0, "repetitions": 62 if method == "kernel_shap" else 20}
    together = raw(method, model, x, 1, segments=columns, **params)
    for batch_size in (1, 3):
        close(raw(method, model, x, 1, segments=columns, batch_size=batch_size, **params), together, 1e-4)
    for b, image in enumerate(x.astype("float64")):
        expected = TWINS[method](as_reference(model), image[None], 1, labels[b], n=labels[b].max() + 1)
        close([together.maps[b : b + 1]], [expected[1]], 1e-4)


@numpy_only
@pytest.mark.parametrize("method", TWINS)
def test_an_image_of_one_segment_has_a_plain_map(method):
    x = keras_models.images("functional", 2)
    labels = np.stack([np.zeros(SPACE, int), grid_segments(SPACE, (2, 2))[0]])
    maps = raw(method, linear, x, 1, segments=labels, repetitions=30, baseline=0.0).maps
    assert np.isfinite(maps).all() and np.ptp(maps[0]) == 0 < np.ptp(maps[1])
    if method == "kernel_shap":
        close(maps[0, 0, 0, 0], linear(x)[0, 1], rtol=1e-4)


def test_superpixels_are_of_one_colour():
    pytest.importorskip("skimage", reason="scikit-image, which finds superpixels, is not installed")
    images = np.zeros((1, *SHAPE), "float32")
    images[:, 4:12, 6:15] = 1
    maps = raw("kernel_shap", lambda x: x.mean(axis=(1, 2, 3))[:, None], images, segments="slic", baseline=0.0).maps[
        0, ..., 0
    ]
    inside = np.zeros(SPACE, bool)
    inside[4:12, 6:15] = True
    assert (maps * inside).sum() > 0.95 * maps.sum()
