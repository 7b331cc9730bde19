"""What the benchmark holds a method to is read from the cost that the method states of itself."""

import pytest
from bench.passes import passes

import keras_explainable as ke

LETTERS = {"n": 5, "K": 1, "C": 10, "windows": 4, "segments": 3, "R": 2}


@pytest.mark.parametrize(
    ("cost", "seconds"),
    [
        ("1 forward + K backward", 3),
        ("(2 + C) forward", 12),
        ("1 forward + n (forward + K backward)", 16),
        ("(1 + n (1 + segments)) forward", 21),
        ("R (2 forward + 2 K backward)", 12),
        ("2 forward + 2 n (forward + K backward)", 32),
    ],
)
def test_a_cost_is_arithmetic(cost, seconds):
    assert passes(cost, forward=1.0, backward=2.0, **LETTERS) == seconds


@pytest.mark.parametrize("name", sorted(ke.registry.METHODS))
def test_every_method_states_one(name):
    assert passes(ke.registry.METHODS[name].cost, forward=1.0, backward=2.0, **LETTERS) >= 1
