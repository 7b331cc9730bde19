"""LIME: equal to its twin on given masks."""

import pytest

from keras_explainable.methods.perturbation.lime import lime_rows
from reference import perturbation as twins
from support.calls import raw
from support.compare import close
from support.perturbation import KINDS, SEED, grid, subject
from support.selection import very_slow_compiled

pytestmark = very_slow_compiled


@pytest.mark.parametrize("kind", KINDS)
def test_lime_equals_its_twin(kind):
    ours, theirs, size, colour = subject(kind)
    params, labels = grid(size)
    expected = twins.lime(*theirs, labels, lime_rows(20, 6, SEED), 0.3, 0.5, colour)
    close(raw("lime", *ours, repetitions=20, width=0.3, ridge=0.5, baseline=colour, **params), expected, 1e-4)
