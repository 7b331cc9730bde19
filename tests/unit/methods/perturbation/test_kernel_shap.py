"""Kernel SHAP: exact Shapley values, and drawn coalitions that come near them."""

import numpy as np
import pytest

import keras_explainable as ke
from keras_explainable.methods.perturbation.kernel_shap import coalitions, shapley_coefficients
from reference import perturbation as twins
from support import keras_models
from support.calls import UNITS, raw
from support.compare import close
from support.perturbation import KINDS, columns, grid, linear, numbered, numpy_only, subject
from support.selection import very_slow_compiled

pytestmark = very_slow_compiled


@pytest.mark.parametrize("kind", KINDS)
def test_kernel_shap_of_all_coalitions_is_the_shapley_values(kind):
    ours, theirs, size, colour = subject(kind)
    params, labels = grid(size)
    close(
        raw("kernel_shap", *ours, repetitions=62, baseline=colour, **params),
        twins.kernel_shap(*theirs, labels, colour),
        1e-4,
    )


def test_shapley_values_are_complete_symmetric_and_zero_for_a_dummy(x):
    def product(images):  # of two segments of four; the others play no part
        left, right = images[:, :10, :12].mean(axis=(1, 2, 3)), images[:, 10:, 12:].mean(axis=(1, 2, 3))
        return (left * right)[:, None]

    scores, maps = raw("kernel_shap", product, x, segments=2, baseline=0.0)
    close(maps[:, 0, 0], maps[:, -1, -1], rtol=1e-4)
    close(2 * maps[:, 0, 0], scores, rtol=1e-4)
    assert abs(maps[:, 0, -1]).max() < 1e-6 * abs(maps).max()


@numpy_only
def test_drawn_coalitions_solve_the_weighted_regression():
    rng = np.random.default_rng(0)
    some = coalitions(60, 7, 3)
    z, weights = some.drawn(0, 60)
    assert len(z) == 60 and (weights == 1).all() and set(z.sum(axis=1)) <= set(range(1, 7))
    np.testing.assert_array_equal(z[::2] + z[1::2], 1)
    f, empty, full = rng.normal(size=60), 0.7, 2.0
    # The Lagrange conditions of least squares under sum phi = full - empty.
    system = np.block([[z.T @ z, np.ones((7, 1))], [np.ones((1, 7)), np.zeros((1, 1))]])
    phi = np.linalg.solve(system, np.append(z.T @ (f - empty), full - empty))[:7]
    of_none, coefficients = shapley_coefficients(some, 7)
    ours = of_none * (empty - full) + coefficients(z, weights).T @ (f - full)
    close(ours, phi, rtol=1e-8)
    sizes = coalitions(40_000, 18, 3).drawn(0, 40_000)[0].sum(axis=1)
    share = np.array([1 / (s * (18 - s)) for s in range(1, 18)])
    close(np.bincount(sizes.astype(int))[1:] / 40_000, share / share.sum(), atol=0.01)


@numpy_only
def test_drawn_coalitions_come_near_the_shapley_values(x):
    model = keras_models.build("functional")
    exact = raw("kernel_shap", model, x, UNITS, segments=3, repetitions=510).maps
    drawn = raw("kernel_shap", model, x, UNITS, segments=3, repetitions=300).maps
    assert np.corrcoef(exact.ravel(), drawn.ravel())[0, 1] > 0.9


@numpy_only
def test_drawn_shapley_values_add_up_for_each_image():
    x = numbered()

    def score(images):
        return np.tanh(linear(images) / 20)

    drawn = {"repetitions": 40, "segments": columns, "baseline": 0.3}  # fewer than 2^6 - 2
    scores, maps = raw("kernel_shap", score, x, **drawn)
    close(raw("kernel_shap", score, x, batch_size=1, **drawn), (scores, maps), 1e-4)
    for b, labels in enumerate(columns(x)):
        _, first = np.unique(labels, return_index=True)
        total = maps[b].reshape(-1, 4)[first].sum(axis=0)
        close(total, (scores - score(np.full_like(x, 0.3)))[b], atol=1e-4)


def test_kernel_shap_warns_where_it_is_hardly_determined(recwarn):
    x = np.random.default_rng(0).normal(size=(1, 8, 8, 3)).astype("float32")
    model = ke.BlackBox(lambda images: images.mean((1, 2, 3))[:, None])
    for cells, repetitions, warned in ((4, 63, True), (4, 64, False), (2, 14, False)):  # 16, 16, and all of 4
        raw("kernel_shap", model, x, 0, segments=cells, repetitions=repetitions)
        messages = [w for w in recwarn if "(worst near 32): give repetitions=64" in str(w.message)]
        assert bool(messages) == warned
        recwarn.clear()
