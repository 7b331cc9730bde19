"""The slow twins of `keras_explainable.methods.propagation`: one node of the net after another, backwards."""

import copy
from typing import Any

import numpy as np

from reference.gradient import reduce_channels
from reference.layers import (
    Add,
    Affine,
    AvgPool,
    Conv,
    Dense,
    DepthwiseConv,
    GlobalAvgPool,
    MaxPool,
    Relu,
    Relu6,
    Sigmoid,
    Softmax,
)
from reference.net import Maps, Net, Node, choose, forward, scores_of
from reference.token_layers import Gelu, LayerNorm, Mixed, Products


def backwards(net: Net, values: dict, start: np.ndarray, rule: Any) -> np.ndarray:
    """What arrives at the input of `start` (B, units) at the score, by `rule(node, g, y, xs) -> one for each x`."""
    found = {name: np.zeros_like(value) for name, value in values.items()}
    found[net.score] = found[net.score] + start
    for node in reversed(net.nodes):
        xs = [values[i] for i in node.inputs]
        for i, g in zip(node.inputs, rule(node, found[node.name], values[node.name], xs), strict=True):
            found[i] = found[i] + g
    return found


def units(net: Net, values: dict, y: Any) -> list[np.ndarray]:
    """One-hot (B, units) starts, one for each explained unit."""
    batch, count = values[net.score].shape
    return [np.eye(count)[chosen] for chosen in choose(y, batch, count).T]


def _gradients(net: Net, x: np.ndarray, y: Any, reduce: str | None, rule: Any) -> Maps:
    values = forward(net, x)
    g = np.stack([backwards(net, values, start, rule)["input"] for start in units(net, values, y)], axis=1)
    return scores_of(net, values, y), reduce_channels(g, reduce)


def guided_backprop(net: Net, x: np.ndarray, y: Any = None, reduce: str | None = "mean") -> Maps:
    """Gradients that pass ReLUs only where they are positive."""

    def rule(node, g, y, xs):
        return node.op.vjp(np.maximum(g, 0) if isinstance(node.op, (Relu, Relu6)) else g, y, *xs)

    return _gradients(net, x, y, reduce, rule)


def deconvnet(net: Net, x: np.ndarray, y: Any = None, reduce: str | None = "mean") -> Maps:
    """What is sent back is rectified at each ReLU, whether that was on or off."""

    def rule(node, g, y, xs):
        return (np.maximum(g, 0),) if isinstance(node.op, (Relu, Relu6)) else node.op.vjp(g, y, *xs)

    return _gradients(net, x, y, reduce, rule)


# Layer-wise relevance propagation


def stabilized(z: np.ndarray, epsilon: float = 1e-6) -> np.ndarray:
    return z + np.where(z < 0, -epsilon, epsilon)


def share(op: Any, r: np.ndarray, parts: list, bias: Any, epsilon: float = 1e-6) -> np.ndarray:
    """Of each output's relevance, every input's part of the sum that `parts`, inputs and kernels, make with the bias."""
    total, layers = bias, []
    for x, kernel in parts:
        layer = copy.copy(op)
        layer.kernel, layer.bias = kernel, None
        layers.append(layer)
        total = total + layer.call(x)
    given = r / stabilized(total, epsilon)
    return sum(x * layer.vjp(given, None, x)[0] for (x, _), layer in zip(parts, layers, strict=True))


def up(v: Any) -> Any:
    return np.maximum(v, 0)


def down(v: Any) -> Any:
    return np.minimum(v, 0)


def epsilon_rule(op, w, b, x, r, epsilon=1e-6):
    return share(op, r, [(x, w)], b, epsilon)


def plus_rule(op, w, b, x, r):
    return share(op, r, [(up(x), up(w)), (down(x), down(w))], up(b))


def alpha_beta_rule(op, w, b, x, r, alpha=2, beta=1):
    return alpha * plus_rule(op, w, b, x, r) - beta * share(op, r, [(up(x), down(w)), (down(x), up(w))], down(b))


def gamma_rule(op, w, b, x, r, gamma=0.25):
    plain = copy.copy(op)
    plain.kernel, plain.bias = w, None
    y = plain.call(x) + b
    more, less = (lambda v: v + gamma * up(v)), (lambda v: v + gamma * down(v))
    raised = share(op, r * (y > 0), [(up(x), more(w)), (down(x), less(w))], more(b))
    return raised + share(op, r * (y < 0), [(up(x), less(w)), (down(x), more(w))], less(b))


def w_square_rule(op, w, b, x, r):
    return share(op, r, [(np.ones_like(x), w**2)], 0.0)


def flat_rule(op, w, b, x, r):
    return share(op, r, [(np.ones_like(x), np.ones_like(w))], 0.0)


def excitation_rule(op, w, b, x, r):
    return share(op, r, [(up(x), up(w))], 0.0)


def box_rule(low: np.ndarray, high: np.ndarray) -> Any:
    return lambda op, w, b, x, r: share(op, r, [(x, w), (-low, up(w)), (-high, down(w))], 0.0)


def normalisations(net: Net) -> dict[str, Affine]:
    """The affine operation right behind a linear one, where nothing else takes what that gives."""
    linear = {node.name for node in net.nodes if isinstance(node.op, (Conv, Dense))}
    found = {}
    for node in net.nodes:
        users = sum(node.inputs[0] in other.inputs for other in net.nodes)
        if isinstance(node.op, Affine) and node.inputs[0] in linear and users == 1:
            found[node.inputs[0]] = node.op
    return found


def first_layers(net: Net) -> list[Node]:
    """The linear operations that the images reach through no other one."""
    raw, found = {"input"}, []
    for node in net.nodes:
        if raw & set(node.inputs):
            if isinstance(node.op, (Conv, Dense)):
                found.append(node)
            else:
                raw.add(node.name)
    return found


def passing(net: Net, conv: Any, dense: Any, first: Any = None) -> Any:
    """What each node does with relevance."""
    merged, beginning = normalisations(net), [node.name for node in first_layers(net)]

    def rule(node, r, y, xs):
        op = node.op
        if isinstance(op, (Conv, Dense)):
            norm = merged.get(node.name)
            w, b = op.kernel, 0.0 if op.bias is None else op.bias
            if norm is not None:
                w = w * (norm.scale.reshape(w.shape[-2:]) if isinstance(op, DepthwiseConv) else norm.scale)
                b = b * norm.scale + norm.bias
            chosen = first if first is not None and node.name in beginning else conv if isinstance(op, Conv) else dense
            return (chosen(op, w, b, xs[0], r),)
        if isinstance(op, (AvgPool, GlobalAvgPool)):
            return (xs[0] * op.vjp(r / stabilized(y), y, *xs)[0],)
        if isinstance(op, Add) and len(xs) > 1:
            return [x * r / stabilized(y) for x in xs]
        return [r] if isinstance(op, (Affine, Relu, Relu6, Add)) else op.vjp(r, y, *xs)

    return rule


def lrp(net: Net, x: np.ndarray, y: Any, conv: Any, dense: Any, first: Any = None) -> Maps:
    """The score given back by a rule for convolutions, one for dense layers, and one for those at the pixels."""
    values = forward(net, x)
    rule = passing(net, conv, dense, first)
    starts = [start * values[net.score] for start in units(net, values, y)]
    maps = [backwards(net, values, start, rule)["input"].sum(-1) for start in starts]
    return scores_of(net, values, y), np.stack(maps, axis=-1)


def boxed(net: Net, low: np.ndarray, high: np.ndarray) -> Any:
    """The box rule of the first layer, by what it sees of images at the bounds."""
    name = first_layers(net)[0].inputs[0]
    seen = [forward(net, bound)[name] for bound in (low, high)]
    return box_rule(np.minimum(*seen), np.maximum(*seen))


def lrp_epsilon(net: Net, x: np.ndarray, y: Any = None) -> Maps:
    return lrp(net, x, y, epsilon_rule, epsilon_rule)


def lrp_epsilon_plus(net: Net, x: np.ndarray, y: Any = None) -> Maps:
    return lrp(net, x, y, plus_rule, epsilon_rule)


def lrp_epsilon_plus_flat(net: Net, x: np.ndarray, y: Any = None) -> Maps:
    return lrp(net, x, y, plus_rule, epsilon_rule, flat_rule)


def lrp_epsilon_alpha2_beta1(net: Net, x: np.ndarray, y: Any = None) -> Maps:
    return lrp(net, x, y, alpha_beta_rule, epsilon_rule)


def lrp_epsilon_gamma_box(net: Net, x: np.ndarray, y: Any = None) -> Maps:
    axes = tuple(range(1, x.ndim))
    bounds = [np.broadcast_to(f(x, axis=axes, keepdims=True), x.shape) for f in (np.min, np.max)]
    return lrp(net, x, y, gamma_rule, epsilon_rule, boxed(net, *bounds))


def attnlrp(net: Net, x: np.ndarray, y: Any = None, gamma: float = 0.25) -> Maps:
    """Pixels times a gradient that is changed where the net is not linear."""
    values = forward(net, x)

    def rule(node, g, y, xs):
        op = node.op
        if isinstance(op, Conv) and gamma:
            r = gamma_rule(op, op.kernel, 0.0 if op.bias is None else op.bias, xs[0], g * y, gamma)
            return (np.divide(r, xs[0], out=np.zeros_like(r), where=xs[0] != 0),)
        if isinstance(op, (Relu, Relu6, Gelu, Sigmoid)):
            return (g * y / stabilized(xs[0], 1e-10),)
        if isinstance(op, LayerNorm):
            g = g * op.gamma / np.sqrt(xs[0].var(-1, keepdims=True) + op.epsilon)
            return (g - g.mean(-1, keepdims=True),)
        given = op.vjp(g, y, *xs)
        return [v / 2 for v in given] if isinstance(op, (Products, Mixed)) else given

    maps = [(x * backwards(net, values, start, rule)["input"]).sum(-1) for start in units(net, values, y)]
    return scores_of(net, values, y), np.stack(maps, axis=-1)


def excitation_backprop(net: Net, x: np.ndarray, y: Any = None) -> Maps:
    """Probabilities from 1 at the unit down to the last spatial signal."""
    values = forward(net, x)
    rule = passing(net, excitation_rule, excitation_rule)
    maps = [backwards(net, values, start, rule)[net.signal].sum(-1) for start in units(net, values, y)]
    return scores_of(net, values, y), np.stack(maps, axis=-1)


# DeepLIFT


def divided(above: np.ndarray, below: np.ndarray, otherwise: Any) -> np.ndarray:
    apart = abs(below) > 1e-6
    return np.where(apart, above / np.where(apart, below, 1), otherwise)


def deeplift(net: Net, x: np.ndarray, y: Any = None, baseline: float | np.ndarray = 0.0) -> Maps:
    """Slopes from a baseline to the images, times their difference."""
    values, zero = forward(net, x), forward(net, np.broadcast_to(baseline, x.shape))
    names = {id(value): name for name, value in values.items()}

    def rule(node, m, y, xs):
        op = node.op
        befores = [zero[names[id(v)]] for v in xs]
        if isinstance(op, (Relu, Relu6, Softmax, Sigmoid)):
            return (divided(m * (y - zero[node.name]), xs[0] - befores[0], op.vjp(m, y, *xs)[0]),)
        if isinstance(op, MaxPool):
            y0 = zero[node.name]
            rise = op.vjp(m * np.maximum(y - y0, 0), y, *xs)[0]
            fall = op.vjp(m * np.minimum(y - y0, 0), y0, *befores)[0]
            return (divided(rise + fall, xs[0] - befores[0], 0.0),)
        return op.vjp(m, y, *xs)

    maps = []
    for start in units(net, values, y):
        maps.append((backwards(net, values, start, rule)["input"] * (x - zero["input"])).sum(-1))
    return scores_of(net, values, y), np.stack(maps, axis=-1)


def deep_shap(net: Net, x: np.ndarray, y: Any = None, baselines: Any = (0.0,)) -> Maps:
    """The mean over baselines."""
    found = [deeplift(net, x, y, baseline) for baseline in baselines]
    return found[0][0], np.mean([maps for _, maps in found], axis=0)
