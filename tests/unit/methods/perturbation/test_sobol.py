"""Total Sobol indices: equal to their twin, and the shares of variance of an additive score."""

import numpy as np
import pytest

from keras_explainable.masking.segments import grid as grid_segments
from keras_explainable.numerics import random
from reference import perturbation as twins
from support.calls import raw
from support.compare import close
from support.perturbation import KINDS, SEED, SPACE, contributions, grid, linear, numpy_only, subject
from support.selection import very_slow_compiled

pytestmark = very_slow_compiled


@pytest.mark.parametrize("kind", KINDS)
def test_sobol_equals_its_twin(kind):
    ours, theirs, size, colour = subject(kind)
    params, labels = grid(size)
    a, b = (random.on_host((4, 6), SEED, 0, stream) for stream in (0, 1))
    close(
        raw("sobol", *ours, repetitions=4, baseline=colour, **params),
        twins.sobol(*theirs, labels, a, b, colour),
        1e-4,
    )


@numpy_only
def test_sobol_and_hsic_of_a_linear_score_rise_with_its_parts(x):
    labels = grid_segments(SPACE, (2, 3))[0]
    parts = contributions(x.astype("float64"), 0.0, labels)
    share = parts**2 / (parts**2).sum(axis=1, keepdims=True)  # additive: total indices are shares of the variance
    found = raw("sobol", linear, x, repetitions=1500, segments=(2, 3), baseline=0.0, at_once=4000).maps
    close(found[:, labels == 4][:, 0], share[:, 4], atol=0.05)
    first = np.stack([found[:, labels == j][:, 0] for j in range(6)], axis=1)
    close(first, share, atol=0.08)
    hsic = raw("hsic", linear, x, repetitions=800, segments=(2, 3), baseline=0.0, at_once=4000).maps
    dependence = np.stack([hsic[:, labels == j][:, 0] for j in range(6)], axis=1)
    assert (dependence.argmax(axis=1) == share.argmax(axis=1)).all()
