"""The operations of transformers in NumPy: on tokens (B, T, C), and between tokens and the grid of their patches."""

import math
from dataclasses import dataclass

import numpy as np

from reference.layers import Plain
from reference.net import Net, Node


@dataclass
class Tokens:
    """A class token in front of tokens (B, T, C), and an embedding of the positions added."""

    token: np.ndarray
    position: np.ndarray
    bias = None

    def call(self, x):
        front = np.broadcast_to(self.token, (len(x), 1, x.shape[-1]))
        return np.concatenate([front, x], axis=1) + self.position

    def vjp(self, g, y, x):
        return (g[:, 1:],)


class First(Plain):
    """The first token."""

    def call(self, x):
        return x[:, 0]

    def vjp(self, g, y, x):
        gx = np.zeros_like(x)
        gx[:, 0] = g
        return (gx,)


@dataclass
class LayerNorm:
    """gamma (x - mean) / sqrt(variance + epsilon) + beta, mean and variance over the channels."""

    gamma: np.ndarray
    bias: np.ndarray
    epsilon: float

    def scaled(self, x):
        deviation = np.sqrt(x.var(-1, keepdims=True) + self.epsilon)
        return (x - x.mean(-1, keepdims=True)) / deviation, deviation

    def call(self, x):
        return self.gamma * self.scaled(x)[0] + self.bias

    def vjp(self, g, y, x):
        z, deviation = self.scaled(x)
        g = g * self.gamma
        return ((g - g.mean(-1, keepdims=True) - z * (g * z).mean(-1, keepdims=True)) / deviation,)


class Gelu(Plain):
    """x times the probability that a standard normal number is less than x."""

    def probability(self, x):
        return np.vectorize(lambda v: (1 + math.erf(v / math.sqrt(2))) / 2)(x)

    def call(self, x):
        return x * self.probability(x)

    def vjp(self, g, y, x):
        return (g * (self.probability(x) + x * np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)),)


@dataclass
class Heads(Plain):
    """Tokens (B, T, C) to (B, heads, T, D): x times the kernel (C, heads, D), plus bias (heads, D)."""

    kernel: np.ndarray
    added: np.ndarray

    def call(self, x):
        return np.einsum("btc,chd->bhtd", x, self.kernel) + self.added[:, None]

    def vjp(self, g, y, x):
        return (np.einsum("bhtd,chd->btc", g, self.kernel),)


@dataclass
class Joined(Plain):
    """(B, heads, T, D) to tokens (B, T, C): times the kernel (heads, D, C), summed over heads, plus bias (C,)."""

    kernel: np.ndarray
    bias: np.ndarray

    def call(self, x):
        return np.einsum("bhtd,hdc->btc", x, self.kernel) + self.bias

    def vjp(self, g, y, x):
        return (np.einsum("btc,hdc->bhtd", g, self.kernel),)


class Products(Plain):
    """Scores (B, heads, T, T): each query with each key, over the root of their length."""

    def call(self, q, k):
        return q @ k.swapaxes(-1, -2) / math.sqrt(q.shape[-1])

    def vjp(self, g, y, q, k):
        root = math.sqrt(q.shape[-1])
        return g @ k / root, g.swapaxes(-1, -2) @ q / root


class Mixed(Plain):
    """Probabilities (B, heads, T, T) times values (B, heads, T, D)."""

    def call(self, a, v):
        return a @ v

    def vjp(self, g, y, a, v):
        return g @ v.swapaxes(-1, -2), a.swapaxes(-1, -2) @ g


@dataclass
class Grid(Plain):
    """Tokens (B, T, C), but for `prefix` in front, as the grid (B, *size, C) of patches that they are."""

    prefix: int
    size: tuple[int, ...]

    def call(self, x):
        return x[:, self.prefix :].reshape(len(x), *self.size, x.shape[-1])

    def vjp(self, g, y, x):
        gx = np.zeros_like(x)
        gx[:, self.prefix :] = g.reshape(len(x), -1, x.shape[-1])
        return (gx,)


@dataclass
class Rejoined(Plain):
    """The first `prefix` of tokens (B, T, C), and behind them a grid (B, *S, C)."""

    prefix: int

    def call(self, x, grid):
        return np.concatenate([x[:, : self.prefix], grid.reshape(len(x), -1, x.shape[-1])], axis=1)

    def vjp(self, g, y, x, grid):
        gx = g.copy()
        gx[:, self.prefix :] = 0
        return gx, g[:, self.prefix :].reshape(grid.shape)


def on_grid(net: Net, name: str, prefix: int, size: tuple[int, ...]) -> Net:
    """The same net with the tokens of that name taken through a value "grid", which is its signal."""
    nodes = []
    for node in net.nodes:
        nodes.append(node._replace(inputs=tuple("rejoined" if i == name else i for i in node.inputs)))
        if node.name == name:
            nodes.append(Node("grid", Grid(prefix, size), (name,)))
            nodes.append(Node("rejoined", Rejoined(prefix), (name, "grid")))
    return net._replace(nodes=tuple(nodes), signal="grid")
