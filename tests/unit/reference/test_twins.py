"""The twins themselves, against values worked out by hand or published."""

import numpy as np

from reference import cams, filters, fullgrad, meta
from reference import gradient as gradients
from reference.layers import Conv, Dense, GlobalAvgPool, Relu
from reference.net import Net, Node
from reference.resize import bilinear
from support.compare import close
from support.selection import fast_on_torch

pytestmark = fast_on_torch


def hand_net():
    """One pixel-wise ReLU channel, and its mean doubled: f = 2 mean(relu(3 x - 1)) + 5."""
    nodes = (
        Node("conv", Conv(np.full((1, 1, 1, 1), 3.0), np.array([-1.0])), ("input",)),
        Node("relu", Relu(), ("conv",)),
        Node("pool", GlobalAvgPool(), ("relu",)),
        Node("dense", Dense(np.array([[2.0]]), np.array([5.0])), ("pool",)),
    )
    return Net(nodes, score="dense", signal="relu")


X = np.array([[1.0, 0.0], [2.0, -1.0]])[None, :, :, None]  # conv gives 2 -1 / 5 -4, relu 2 0 / 5 0


def flat(maps):
    return maps[0, ..., 0].ravel()


def test_bilinear_is_the_published_example():
    """The example of torch.nn.Upsample's documentation."""
    v = np.array([[1.0, 2.0], [3.0, 4.0]])[None, :, :, None]
    half = [[1, 1.25, 1.75, 2], [1.5, 1.75, 2.25, 2.5], [2.5, 2.75, 3.25, 3.5], [3, 3.25, 3.75, 4]]
    close(bilinear(v, (4, 4))[0, ..., 0], half, rtol=1e-7)
    third = np.add.outer(np.arange(4) * 2 / 3, np.arange(4) / 3) + 1
    close(bilinear(v, (4, 4), align_corners=True)[0, ..., 0], third, rtol=1e-7)


def test_bilinear_shrinks_and_keeps():
    v = np.arange(6.0)[None, :, None]
    assert bilinear(v, (3,)).ravel().tolist() == [0.5, 2.5, 4.5]
    assert bilinear(v, (1,), align_corners=True).ravel().tolist() == [0]
    close(bilinear(v, (6,)), v, rtol=1e-7)


def test_filters():
    x = np.array([-1.0, 2.0, 0.0, -3.0]).reshape(1, 2, 2, 1)
    assert filters.negative(x).ravel().tolist() == [1, 0, 0, 3]
    assert filters.positive(x).ravel().tolist() == [0, 2, 0, 0]
    assert filters.normalize(x).ravel().tolist() == [0.4, 1, 0.6, 0]
    assert filters.negative_normalize(x).ravel().tolist() == [1 / 3, 0, 0, 1]
    assert filters.absolute_normalize(x).ravel().tolist() == [1 / 3, 2 / 3, 0, 1]
    assert not filters.normalize(np.full((1, 2, 2, 1), 7.0)).any()


def test_gradients_by_hand():
    scores, maps = gradients.gradients(hand_net(), X)
    assert scores.item() == 2 * 7 / 4 + 5
    assert flat(maps).tolist() == [1.5, 0, 1.5, 0]  # 2 * 3 / 4 where relu is on


def test_decomposition_by_hand():
    parts = fullgrad.contributions(hand_net(), X)
    assert {name: value.item() for name, value in parts.items()} == {"input": 4.5, "conv": -1, "dense": 5}


def test_full_gradients_by_hand():
    _, maps = fullgrad.full_gradients(hand_net(), X)
    # grad * x = 1.5 0 / 3 0 and bias * grad = -.5 0 / -.5 0, each |.| - min over (max - min + 1e-6)
    bias = 0.5 / (0.5 + 1e-6)
    close(flat(maps), [1.5 / (3 + 1e-6) + bias, 0, 3 / (3 + 1e-6) + bias, 0], rtol=1e-7)
    _, maps = fullgrad.full_gradients(hand_net(), X, aggregation="mean")
    close(flat(maps), [1.5, 0, 2, 0], rtol=1e-7)


def test_cams_by_hand():
    net = hand_net()
    close(flat(cams.cam(net, X)[1]), [4, 0, 10, 0], rtol=1e-7)
    close(flat(cams.gradcam(net, X)[1]), [1, 0, 2.5, 0], rtol=1e-7)  # the gradient is 2 / 4 everywhere
    # alpha = .25 / (.5 + 7 * .125), and four places with gradient .5
    close(flat(cams.gradcampp(net, X)[1]), np.array([2, 0, 5, 0]) * 4 * 0.5 * 0.25 / 1.375, rtol=1e-7)
    close(flat(cams.scorecam(net, X)[1]), [2, 0, 5, 0], rtol=1e-7)  # one channel has all the weight


def split_net(left, right):
    """f = left mean(relu(x)) + right mean(relu(-x)), of two channels x and -x behind a ReLU."""
    nodes = (
        Node("conv", Conv(np.array([[[[1.0, -1.0]]]])), ("input",)),
        Node("relu", Relu(), ("conv",)),
        Node("pool", GlobalAvgPool(), ("relu",)),
        Node("dense", Dense(np.array([[left], [right]])), ("pool",)),
    )
    return Net(nodes, score="dense", signal="relu")


def test_scorecam_weighs_channels_by_what_they_show():
    _, maps = cams.scorecam(split_net(4.0, 8.0), X)
    # channel 1 shows 1/2 0 / 2 0: f = 4 * 2.5 / 4; channel 2 shows only the -1: f = 8 / 4
    e = np.exp([2.5, 2.0])
    close(flat(maps), (e[0] * np.array([1, 0, 2, 0]) + e[1] * np.array([0, 0, 0, 1])) / e.sum(), rtol=1e-7)


def test_smooth_averages_maps_and_smoothgrad_signed_gradients():
    net, noises = split_net(4.0, 4.0), [np.full_like(X, 1.5), np.full_like(X, -1.5)]  # f = mean(4 |x|)
    scores, maps = meta.smooth(gradients.gradients, noises)(net, X)
    assert scores.item() == np.mean([2.5 + 1.5 + 3.5 + 0.5, 0.5 + 1.5 + 0.5 + 2.5])
    assert flat(maps).tolist() == [1, 1, 1, 1]
    assert flat(meta.smoothgrad(net, X, noises=noises)[1]).tolist() == [0, 0, 1, 0]  # only 2 keeps its sign


def test_tta_averages_over_the_passes_it_made():
    net = hand_net()
    scores, maps = meta.tta(cams.gradcam, scales=[1.0], hflip=True)(net, X)
    plain = cams.gradcam(net, X)
    close(scores, plain[0], rtol=1e-7)
    close(maps, plain[1], rtol=1e-7)


def test_ranges():
    assert meta.ranges(np.stack([X[0], 2 * X[0]])).ravel().tolist() == [3, 6]
