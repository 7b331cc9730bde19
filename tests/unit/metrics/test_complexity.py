"""Metrics of complexity: equal to their twins, and what is known of them in closed form."""

import numpy as np
import pytest

import keras_explainable as ke
from keras_explainable.metrics.complexity import edges
from keras_explainable.metrics.ranks import rank_range
from reference import metrics_complexity as twins
from support.compare import close
from support.selection import fast_on_torch

pytestmark = fast_on_torch

RNG = np.random.default_rng(0)
MAPS = RNG.normal(size=(3, 6, 5, 2)).round(1)
X = RNG.random((3, 6, 5, 3)).astype("float32")
NAMES = ["entropy", "gini", "effective_complexity"]


def value(name, maps=MAPS, **params):
    return getattr(ke.metrics, name)(maps=maps, **params).values


def each(twin, maps=MAPS):
    return np.array([[twin(maps[n, ..., k]) for k in range(maps.shape[-1])] for n in range(len(maps))])


def test_values_equal_their_twins():
    close(value("entropy"), each(twins.entropy))
    close(value("gini"), each(twins.gini))
    for share in (0.5, 0.9, 1.0):
        close(value("effective_complexity", share=share), each(lambda m, s=share: twins.effective_complexity(m, s)))


def test_edge_likeness_equals_its_twin():
    strength = np.array([twins.sobel(x) for x in X])
    close(edges(X), strength)
    expected = [[twins.spearman(abs(MAPS[n, ..., k]).ravel(), strength[n].ravel()) for k in range(2)] for n in range(3)]
    close(value("edge_likeness", x=X), np.array(expected))
    close(value("edge_likeness", x=np.moveaxis(X, -1, 1)), np.array(expected))


def test_the_edges_themselves_and_a_flat_image():
    own = edges(X)[..., None]
    close(value("edge_likeness", own, x=X), np.ones((3, 1)))
    close(value("edge_likeness", -(own**3), x=X), np.ones((3, 1)))
    close(value("edge_likeness", own.max() - own, x=X), -np.ones((3, 1)))
    assert np.isnan(value("edge_likeness", np.ones_like(own), x=X)).all()
    assert np.isnan(value("edge_likeness", own, x=np.full_like(X, 0.3))).all()
    ramp = np.broadcast_to(np.arange(7.0)[:, None, None, None], (1, 7, 4, 3, 1)[1:])[None]  # a volume
    strength = edges(ramp)[0]
    close(strength[1:-1], np.full((5, 4, 3), 2 * 4 * 4.0))
    close(strength[0], np.full((4, 3), 4 * 4.0))


def test_random_maps_have_no_edges():
    maps, x = RNG.normal(size=(200, 6, 5, 1)), RNG.random((200, 6, 5, 3))
    found = value("edge_likeness", maps, x=x)
    assert abs(found.mean()) < 3 * found.std() / np.sqrt(200) and found.std() > 0.1


def test_closed_forms():
    flat, one = np.full((1, 6, 5, 1), -0.7), np.zeros((1, 6, 5, 1))
    one[0, 2, 3] = -4
    for name, everywhere, single in [("entropy", 1, 0), ("gini", 0, 1 - 1 / 30), ("effective_complexity", 27, 1)]:
        assert value(name, flat).item() == pytest.approx(everywhere, abs=1e-9)
        assert value(name, one).item() == pytest.approx(single, abs=1e-9)
        assert np.isnan(value(name, 0 * one)).all()
        assert ke.metrics.METRICS[name].better == ""


@pytest.mark.parametrize(
    ("draw", "expected"),
    [("random", 1 / 3), ("standard_normal", np.sqrt(2) - 1), ("standard_exponential", 1 / 2)],
)
def test_gini_of_random_values(draw, expected):
    found = value("gini", getattr(np.random.default_rng(0), draw)((200, 20, 20, 1)))
    # In a sample of P values the mean is smaller by a share of about 1 / P.
    assert abs(found.mean() * 400 / 399 - expected) < 3 * found.std() / np.sqrt(200) + 1e-3


def test_scale_sign_and_other_images_change_nothing():
    for name in NAMES:
        whole = value(name)
        close(value(name, -4 * MAPS), whole)
        close(value(name, MAPS[1:2]), whole[1:2])
        assert np.array_equal(value(name, np.repeat(MAPS, 50, axis=0)), np.repeat(whole, 50, axis=0))


def test_ranks_of_equal_values():
    first, last = rank_range(np.array([[3, 1, 3, 2, 3], [0, 0, 0, 0, 0]]))
    assert first.tolist() == [[2, 0, 2, 1, 2], [0] * 5] and last.tolist() == [[4, 0, 4, 1, 4], [4] * 5]


@pytest.mark.parametrize(
    ("name", "given", "match"),
    [
        ("effective_complexity", {"share": 0}, "share=0"),
        ("edge_likeness", {}, "needs x="),
        ("edge_likeness", {"x": X[:, :4]}, "Images of shape"),
        ("entropy", {"base": 2}, "takes no base="),
    ],
)
def test_bad_input_is_refused(name, given, match):
    with pytest.raises(ke.errors.InputError, match=match):
        value(name, **given)
