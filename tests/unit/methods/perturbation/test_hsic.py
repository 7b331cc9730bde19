"""HSIC: equal to its twin on given masks."""

import pytest

from keras_explainable.numerics import random
from reference import perturbation as twins
from support.calls import module, raw
from support.compare import close
from support.perturbation import KINDS, SEED, grid, linear, numpy_only, subject
from support.selection import very_slow_compiled

pytestmark = very_slow_compiled


@pytest.mark.parametrize("kind", KINDS)
def test_hsic_equals_its_twin(kind):
    ours, theirs, size, colour = subject(kind)
    params, labels = grid(size)
    z = random.on_host((21, 6), SEED) < 0.5
    close(raw("hsic", *ours, repetitions=21, baseline=colour, **params), twins.hsic(*theirs, labels, z, colour), 1e-4)


@numpy_only
def test_a_kernel_in_blocks_is_the_kernel(x, monkeypatch):
    whole = raw("hsic", linear, x, repetitions=50, segments=3)
    monkeypatch.setattr(
        module("methods.perturbation.hsic"), "KERNEL_AT_ONCE", 7 * x.shape[0] * 4 * 50
    )  # seven rows, of 50
    close(raw("hsic", linear, x, repetitions=50, segments=3), whole, 1e-5)
