"""Metrics of maps beside Quantus', on maps as they are: its metrics normalise them by default, and take their absolute
values.

Its mass accuracy is of signed values, and leaves [0, 1]: here it gets what is positive. Its top-k is our rank accuracy
for k the number of pixels in the mask. Its sparseness adds 1e-7 to each value, and its complexity is not relative to the
largest one. The pointing game and the attribution localisation were rewritten after version 0.5.3, which agrees with ours.
"""

import numpy as np
import pytest

import keras_explainable as ke
from support import peers_old
from support.compare import close

pytestmark = pytest.mark.peers
RNG = np.random.default_rng(0)
MAPS, INSIDE = RNG.normal(size=(4, 9, 8)).astype("float32"), 20
MASKS = np.stack([RNG.permutation(72).reshape(9, 8) < inside for inside in (INSIDE, INSIDE, INSIDE, 0)])
SHARE = INSIDE / 72


@pytest.fixture(scope="module", params=[False, True], ids=["0.6.0", "0.5.3"])
def older(request):
    return request.param


@pytest.fixture(scope="module")
def peer(older, tmp_path_factory):
    """The values of signed maps and of what is positive in them, by metric."""

    def found(maps):
        folder = tmp_path_factory.mktemp("quantus")
        return peers_old.values("quantus_values.py", folder, older, maps=maps, masks=MASKS)

    return found(MAPS), found(np.maximum(MAPS, 0))


def ours(name, **given):
    return getattr(ke.metrics, name)(maps=MAPS[..., None], **given).values[:, 0]


def equal(found, expected):
    """Equal, with NaN for the same images."""
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    close(np.nan_to_num(found), np.nan_to_num(expected))


def test_localisation(peer):
    signed, positive = peer
    equal(ours("mass_accuracy", masks=MASKS), positive["mass"])
    equal(ours("mass_accuracy", masks=MASKS), positive["attribution"])
    for name in ("rank", "top_k"):
        equal(ours("rank_accuracy", masks=MASKS), signed[name])
    # Of signed maps, this is no share.
    assert np.nanmax(signed["mass"]) > 1


def test_complexity(peer):
    signed, _ = peer
    close(ours("gini"), signed["sparseness"])
    close(ours("entropy") * np.log(72), signed["complexity"])


def test_pointing_game(peer, older):
    signed, _ = peer
    found = ours("pointing_game", masks=MASKS)
    assert np.isnan(found[-1])
    if older:
        equal(found, signed["pointing"])
        equal(found * (1 - SHARE), signed["pointing_weighted"])
    else:  # an empty mask is hit, and the weighted game fails
        equal(np.append(found[:-1], 1.0), signed["pointing"])
        assert signed["pointing_weighted"] == "TypeError"


def test_weighted_localisation_multiplies_by_a_size(peer, older):
    """The paper divides by the mask's share of the image. 0.6.0 takes the size of all images but two."""
    _, positive = peer
    size = SHARE if older else INSIDE / ((len(MAPS) - 2) * 3 * 72)
    equal(ours("mass_accuracy", masks=MASKS) * size, positive["attribution_weighted"])
