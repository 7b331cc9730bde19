"""Each LRP rule on one dense layer, by its formula."""

import numpy as np
import pytest
from keras import ops

from keras_explainable.methods.propagation import rules

RNG = np.random.default_rng(3)
X, W, B, R = RNG.normal(size=(2, 20)), RNG.normal(size=(20, 3)), RNG.normal(size=3), RNG.normal(size=(2, 3))


def up(v):
    return np.maximum(v, 0)


def down(v):
    return np.minimum(v, 0)


def shared(parts, bias=0.0):
    """sum_k parts_jk / (sum_j parts_jk + bias_k) r_k, for parts (2, 20, 3)."""
    return (parts / (parts.sum(1, keepdims=True) + bias) * R[:, None]).sum(-1)


PARTS = X[:, :, None] * W
ONES = np.ones((2, 20, 1))
LOW, HIGH = -4.0, 5.0
SIGN = (PARTS.sum(1) + B)[:, None] > 0
GAMMA = PARTS + 0.25 * np.where(SIGN, up(PARTS), down(PARTS))
EXPECTED = {
    "epsilon": shared(PARTS, B),
    "z_plus": shared(up(PARTS), up(B)),
    "alpha_beta": 2 * shared(up(PARTS), up(B)) - shared(down(PARTS), down(B)),
    "gamma": shared(GAMMA, (B + 0.25 * np.where(SIGN, up(B), down(B)))),
    "w_square": shared(ONES * W**2),
    "flat": shared(ONES * np.ones_like(W)),
    "z_box": shared(PARTS - LOW * up(W) - HIGH * down(W)),
    "excitation": shared(up(X)[:, :, None] * up(W)),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_rule_is_its_formula(name):
    x, w, b, r = (ops.convert_to_tensor(v.astype("float32")) for v in (X, W, B, R))
    linear = rules.Linear(lambda v, kernel: v @ kernel, w, b)
    bounds = {"low": ops.convert_to_tensor(LOW), "high": ops.convert_to_tensor(HIGH)} if name == "z_box" else {}
    found = ops.convert_to_numpy(getattr(rules, name)(linear, x, r, **bounds))
    np.testing.assert_allclose(found, EXPECTED[name], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["w_square", "flat", "z_box", "excitation"])
def test_rules_without_a_bias_keep_all_relevance(name):
    np.testing.assert_allclose(EXPECTED[name].sum(1), R.sum(1))
