"""The slow twins of `keras_explainable.methods.fullgrad.full_gradients`: one layer, sample and unit after another."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from reference.net import Maps, Net, jacobian
from reference.resize import bilinear


def psi_sum(v: np.ndarray) -> np.ndarray:
    """One sample's v (*S, C) to (*S): |v| scaled by its smallest and largest value, summed over channels."""
    v = abs(v)
    return ((v - v.min()) / (v.max() - v.min() + 1e-6)).sum(-1)


def psi_mean(v: np.ndarray) -> np.ndarray:
    """One sample's v (*S, C) to (*S): each channel's |v| scaled by its own smallest and largest value, averaged."""
    total = np.zeros(v.shape[:-1])
    for c in range(v.shape[-1]):
        channel = abs(v[..., c])
        if channel.max() > channel.min():
            total += (channel - channel.min()) / (channel.max() - channel.min())
    return total / v.shape[-1]


PSI = {"sum": psi_sum, "mean": psi_mean}


def _saliency(net: Net, x: np.ndarray, y: Any, aggregation: Any, simple: bool) -> Maps:
    psi, biases = PSI.get(aggregation, aggregation), net.biases()
    scores, values, g = jacobian(net, x, y, ["input", *biases])
    maps = np.zeros((*x.shape[:-1], scores.shape[1]))
    for b in range(scores.shape[0]):
        for k in range(scores.shape[1]):
            maps[b, ..., k] += psi(g["input"][b, k] * x[b])
            for name, bias in biases.items():
                if values[name].ndim == x.ndim:
                    term = psi(g[name][b, k] * (1 if simple else bias))
                    maps[b, ..., k] += bilinear(term[None, ..., None], x.shape[1:-1], align_corners=True)[0, ..., 0]
    return scores, maps


def full_gradients(net: Net, x: np.ndarray, y: Any = None, aggregation: Any = "sum") -> Maps:
    """Scores, and the input's and every spatial bias's contribution, scaled and laid over one another."""
    return _saliency(net, x, y, aggregation, simple=False)


def simple_full_gradients(net: Net, x: np.ndarray, y: Any = None, aggregation: Any = "sum") -> Maps:
    """The same with gradients alone where `full_gradients` has bias x gradient."""
    return _saliency(net, x, y, aggregation, simple=True)


def smooth_full_gradients(net: Net, x: np.ndarray, y: Any = None, noises: Iterable[np.ndarray] = ()) -> Maps:
    """Scores and signed contributions, averaged over the images with each of `noises` added; only then scaled."""
    draws = []
    for noise in noises:
        scores, g, parts = decomposition(net, x + noise, y)
        places = {name: part for name, part in parts.items() if part.ndim == g.ndim}
        draws.append({"scores": scores, "input": g * (x + noise)[:, None], **places})
    mean = {name: np.mean([draw[name] for draw in draws], axis=0) for name in draws[0]}
    scores = mean.pop("scores")
    maps = np.zeros((*x.shape[:-1], scores.shape[1]))
    for b in range(scores.shape[0]):
        for k in range(scores.shape[1]):
            for term in mean.values():
                size = psi_sum(term[b, k])
                maps[b, ..., k] += bilinear(size[None, ..., None], x.shape[1:-1], align_corners=True)[0, ..., 0]
    return scores, maps


def decomposition(net: Net, x: np.ndarray, y: Any = None) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Scores (B, K), the input's gradient, and bias x gradient of each value with a bias, (B, K, *S, C)."""
    biases = net.biases()
    scores, _, g = jacobian(net, x, y, ["input", *biases])
    return scores, g["input"], {name: g[name] * bias for name, bias in biases.items()}


def contributions(net: Net, x: np.ndarray, y: Any = None) -> dict[str, np.ndarray]:
    """What the input and each bias contribute, (B, K) each: on a piecewise linear net they add up to the scores."""
    _, g, parts = decomposition(net, x, y)
    terms = {"input": g * x[:, None], **parts}
    return {name: term.sum(axis=tuple(range(2, term.ndim))) for name, term in terms.items()}
