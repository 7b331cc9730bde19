"""Blur IG, guided IG and XRAI are those of PAIR's library `saliency`, where a difference of definition is undone."""

import numpy as np
import pytest
from keras import ops

from keras_explainable.methods.gradient.xrai import felzenszwalb
from reference import pair
from support.calls import module, raw
from support.compare import close
from support.selection import very_slow_compiled

pytestmark = very_slow_compiled


@pytest.fixture(scope="module")
def theirs():
    return np.load(pair.FILE)


def black_beyond(size, sigma):
    """Their blur along an axis: black beyond the border, and nothing from farther than 4 sigma."""
    offsets = np.arange(-64, 65, dtype="float32")
    squares = ops.convert_to_tensor(offsets**2)
    near = ops.convert_to_tensor(abs(offsets)) <= ops.floor(4 * sigma + 0.5)
    kernel = ops.where(near, ops.exp(-squares / (2 * sigma**2)), 0.0)
    kernel = kernel / ops.sum(kernel)
    moved = kernel * (squares - ops.sum(kernel * squares)) / sigma**3
    i = np.arange(size)
    return tuple(ops.take(v, i[:, None] - i[None] + 64, axis=0) for v in (kernel, moved))


def even_sigmas(kind, number):
    """Their places: sigmas in even steps, without the last. The first is 0, where nothing changes yet."""
    nodes = np.sqrt(np.arange(1, number + 1) / (number + 1))
    return [v.astype("float32") for v in (nodes, 1 / (2 * nodes * (number + 1)))]


def both_ends(kind, number):
    """Their straight path: even steps from end to end, all of one weight."""
    return np.linspace(0, 1, number, dtype="float32"), np.full(number, 1 / number, "float32")


def test_blur_ig_is_theirs_with_their_border_and_sum(theirs, monkeypatch):
    monkeypatch.setattr(module("numerics.blur"), "blur_weights", black_beyond)
    monkeypatch.setattr(module("methods.gradient.blur_ig"), "quadrature_of", even_sigmas)
    params = {"repetitions": pair.STEPS - 1, "max_sigma": pair.SIGMA, "reduce": None}
    ours = raw("blur_ig", *pair.coloured(), pair.UNIT, **params).maps[0, 0]
    close([ours], [theirs["blur"]], 1e-4)


@pytest.mark.parametrize("case", range(len(pair.GUIDED)))
def test_guided_ig_is_theirs(theirs, case):
    steps, fraction, distance = pair.GUIDED[case]
    params = {"repetitions": steps, "fraction": fraction, "max_distance": distance, "reduce": None}
    ours = raw("guided_ig", *pair.coloured(), pair.UNIT, **params).maps[0, 0]
    close([ours], [theirs[f"guided{case}"]], 1e-4)


def test_xrai_is_theirs_with_their_sum(theirs, monkeypatch):
    monkeypatch.setattr(module("methods.meta.integrate"), "quadrature_of", both_ends)
    params = {"repetitions": pair.STEPS, "segments": lambda image: pair.parts()}
    close([raw("xrai", *pair.gray(), pair.UNIT, **params).maps[0, ..., 0]], [theirs["xrai"]], 1e-4)


def test_segments_of_a_photo_of_224_pixels_are_theirs(theirs):
    pytest.importorskip("skimage", reason="scikit-image, which finds the segments, is not installed")
    masks = felzenszwalb(pair.picture())
    assert len(masks) > 30
    found = [[m.sum(), *np.argwhere(m).sum(0)] for m in masks]
    np.testing.assert_array_equal(found, theirs["segments"])
