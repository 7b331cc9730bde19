"""Networks in NumPy, float64, channels-last: every value forwards, the gradient at every value backwards.

Slow and obvious, the second witness of what the library does on a framework. An operation has `call(*xs) -> y`,
`vjp(g, y, *xs) -> gradients of sum(g * y), one for each x`, and `bias`: what it adds to each channel of y, or None.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np


class Node(NamedTuple):
    """A named value of a net, and the operation and values that it is made of."""

    name: str
    op: Any
    inputs: tuple[str, ...]


class Net(NamedTuple):
    """Nodes in an order of execution, "input" before them; `score` names the (B, units) value that is explained,
    `signal` the last spatial one."""

    nodes: tuple[Node, ...]
    score: str
    signal: str

    def op(self, name: str) -> Any:
        return next(node.op for node in self.nodes if node.name == name)

    def biases(self) -> dict[str, np.ndarray]:
        """Values to which a bias has just been added, and that bias (C,)."""
        return {node.name: node.op.bias for node in self.nodes if node.op.bias is not None}


def forward(net: Net, x: np.ndarray, offsets: dict[str, np.ndarray] | None = None) -> dict[str, np.ndarray]:
    """All values of the net on images x (B, *S, C); `offsets` are added to the values that they name."""
    offsets = offsets or {}
    values = {"input": np.asarray(x, "float64") + offsets.get("input", 0)}
    for name, op, inputs in net.nodes:
        values[name] = op.call(*(values[i] for i in inputs)) + offsets.get(name, 0)
    return values


def gradient(net: Net, values: dict, cotangent: np.ndarray, at: Sequence[str] = ("input",)) -> dict[str, np.ndarray]:
    """d sum(cotangent * score) / d value, for each value named in `at`."""
    found = {name: np.zeros_like(value) for name, value in values.items()}
    found[net.score] = found[net.score] + cotangent
    for name, op, inputs in reversed(net.nodes):
        for i, g in zip(inputs, op.vjp(found[name], values[name], *(values[i] for i in inputs)), strict=True):
            found[i] = found[i] + g
    return {name: found[name] for name in at}


Maps = tuple[np.ndarray, np.ndarray]  # scores (B, K) and maps (B, *S, K)


def choose(y: Any, batch: int, units: int) -> np.ndarray:
    """Unit indices (B, K) from an int, (B,), (B, K), or None for every unit."""
    if y is None:
        return np.tile(np.arange(units), (batch, 1))
    y = np.asarray(y)
    return np.full((batch, 1), y) if y.ndim == 0 else y[:, None] if y.ndim == 1 else y


def scores_of(net: Net, values: dict, y: Any) -> np.ndarray:
    """The scores (B, K) of the units y."""
    scores = values[net.score]
    return np.take_along_axis(scores, choose(y, *scores.shape), axis=1)


def jacobian(net: Net, x: np.ndarray, y: Any, at: Sequence[str]) -> tuple[np.ndarray, dict, dict]:
    """Scores (B, K), all values, and the gradient (B, K, *S, C) of each chosen unit's score at each value in `at`."""
    values = forward(net, x)
    batch, units = values[net.score].shape
    chosen = choose(y, batch, units)
    each = [gradient(net, values, np.eye(units)[chosen[:, k]], at) for k in range(chosen.shape[1])]
    return scores_of(net, values, y), values, {name: np.stack([g[name] for g in each], axis=1) for name in at}


class Window(NamedTuple):
    """One place under a sliding window: its offset, and the part of the padded input that comes to lie there."""

    offset: tuple[int, ...]
    part: tuple


@dataclass
class Sliding:
    """y at p depends on padded x at p * strides + offset * dilation, for the offsets of a window of a given size.

    padding: "valid", "same" (Keras: ceil(n / stride) outputs, the odd pixel of padding goes to the end), or pixels."""

    size: tuple[int, ...]
    strides: int | tuple[int, ...] = 1
    padding: Any = "valid"
    dilation: int = 1
    bias = None
    fill: ClassVar[float] = 0.0

    def pads(self, shape: tuple) -> list[tuple[int, int]]:
        spatial = shape[1:-1]
        if self.padding == "valid":
            middle = [(0, 0)] * len(spatial)
        elif self.padding == "same":
            middle = []
            for n, k, s in zip(spatial, self.size, self.steps(), strict=True):
                total = max((-(-n // s) - 1) * s + (k - 1) * self.dilation + 1 - n, 0)
                middle.append((total // 2, total - total // 2))
        else:
            middle = [(self.padding, self.padding)] * len(spatial)
        return [(0, 0), *middle, (0, 0)]

    def steps(self) -> tuple[int, ...]:
        return (self.strides,) * len(self.size) if isinstance(self.strides, int) else tuple(self.strides)

    def windows(self, shape: tuple) -> Iterator[Window]:
        """Of a padded input."""
        reach = [(k - 1) * self.dilation + 1 for k in self.size]
        counts = [(n - r) // s + 1 for n, r, s in zip(shape[1:-1], reach, self.steps(), strict=True)]
        for offset in itertools.product(*map(range, self.size)):
            starts = [o * self.dilation for o in offset]
            parts = [slice(a, a + (c - 1) * s + 1, s) for a, c, s in zip(starts, counts, self.steps(), strict=True)]
            yield Window(offset, (slice(None), *parts))

    def padded(self, x: np.ndarray) -> np.ndarray:
        return np.pad(x, self.pads(x.shape), constant_values=self.fill)

    def cropped(self, x: np.ndarray, shape: tuple) -> np.ndarray:
        return x[tuple(slice(a, a + n) for (a, _), n in zip(self.pads(shape), shape, strict=True))]


class Conv(Sliding):
    """y = sum over offsets of x @ kernel[offset], plus bias; kernel (*size, C, C')."""

    def __init__(self, kernel: np.ndarray, bias: np.ndarray | None = None, **sliding: Any) -> None:
        super().__init__(kernel.shape[:-2], **sliding)
        self.kernel, self.bias = kernel, bias

    def call(self, x):
        x = self.padded(x)
        y = sum(x[part] @ self.kernel[offset] for offset, part in self.windows(x.shape))
        return y if self.bias is None else y + self.bias

    def vjp(self, g, y, x):
        gx = np.zeros_like(self.padded(x))
        for offset, part in self.windows(gx.shape):
            gx[part] += g @ self.kernel[offset].T
        return (self.cropped(gx, x.shape),)


class DepthwiseConv(Conv):
    """Each channel by itself, with M kernels: y[..., c M + m] = sum over offsets of x[..., c] kernel[offset, c, m]."""

    def call(self, x):
        x = self.padded(x)
        y = sum(x[part][..., None] * self.kernel[offset] for offset, part in self.windows(x.shape))
        y = y.reshape(*y.shape[:-2], -1)
        return y if self.bias is None else y + self.bias

    def vjp(self, g, y, x):
        gx = np.zeros_like(self.padded(x))
        for offset, part in self.windows(gx.shape):
            gx[part] += (g.reshape(*g.shape[:-1], *self.kernel.shape[-2:]) * self.kernel[offset]).sum(-1)
        return (self.cropped(gx, x.shape),)


class MaxPool(Sliding):
    """The largest value under the window; among equals, the first has the gradient."""

    fill = -np.inf

    def call(self, x):
        x = self.padded(x)
        return np.max([x[part] for _, part in self.windows(x.shape)], axis=0)

    def vjp(self, g, y, x):
        padded, given = self.padded(x), np.zeros(y.shape, bool)
        gx = np.zeros_like(padded)
        for _, part in self.windows(padded.shape):
            here = (padded[part] == y) & ~given
            gx[part] += g * here
            given |= here
        return (self.cropped(gx, x.shape),)


class AvgPool(Sliding):
    """The mean of those pixels under the window that are not padding."""

    def count(self, x):
        ones = self.padded(np.ones_like(x))
        return sum(ones[part] for _, part in self.windows(ones.shape))

    def call(self, x):
        padded = self.padded(x)
        return sum(padded[part] for _, part in self.windows(padded.shape)) / self.count(x)

    def vjp(self, g, y, x):
        gx = np.zeros_like(self.padded(x))
        for _, part in self.windows(gx.shape):
            gx[part] += g / self.count(x)
        return (self.cropped(gx, x.shape),)


@dataclass
class Dense:
    """y = x @ kernel + bias."""

    kernel: np.ndarray
    bias: np.ndarray | None = None

    def call(self, x):
        return x @ self.kernel + (0 if self.bias is None else self.bias)

    def vjp(self, g, y, x):
        return (g @ self.kernel.T,)


@dataclass
class Affine:
    """y = scale x + bias, for each channel: what a normalisation is at inference."""

    scale: np.ndarray
    bias: np.ndarray | None = None

    def call(self, x):
        return x * self.scale + (0 if self.bias is None else self.bias)

    def vjp(self, g, y, x):
        return (g * self.scale,)


def batch_norm(gamma: Any, beta: Any, mean: np.ndarray, variance: np.ndarray, epsilon: float) -> Affine:
    """gamma (x - mean) / sqrt(variance + epsilon) + beta; gamma and beta may be None."""
    scale = (1 if gamma is None else gamma) / np.sqrt(variance + epsilon)
    return Affine(scale, (0 if beta is None else beta) - mean * scale)


class Plain:
    """An operation without a bias."""

    bias = None


class Relu(Plain):
    """max(x, 0), no gradient at 0."""

    def call(self, x):
        return np.maximum(x, 0)

    def vjp(self, g, y, x):
        return (g * (x > 0),)


class Relu6(Plain):
    """min(max(x, 0), 6)."""

    def call(self, x):
        return np.minimum(np.maximum(x, 0), 6)

    def vjp(self, g, y, x):
        return (g * ((x > 0) & (x < 6)),)


class Softmax(Plain):
    """exp(x) / sum over the last axis of exp(x)."""

    def call(self, x):
        e = np.exp(x - x.max(-1, keepdims=True))
        return e / e.sum(-1, keepdims=True)

    def vjp(self, g, y, x):
        return (y * (g - (g * y).sum(-1, keepdims=True)),)


class Sigmoid(Plain):
    """1 / (1 + exp(-x))."""

    def call(self, x):
        return 1 / (1 + np.exp(-x))

    def vjp(self, g, y, x):
        return (g * y * (1 - y),)


class Add(Plain):
    def call(self, *xs):
        return sum(xs)

    def vjp(self, g, y, *xs):
        return (g,) * len(xs)


class Concat(Plain):
    """Along the channels."""

    def call(self, *xs):
        return np.concatenate(xs, axis=-1)

    def vjp(self, g, y, *xs):
        return tuple(np.split(g, np.cumsum([x.shape[-1] for x in xs])[:-1], axis=-1))


class GlobalAvgPool(Plain):
    """The mean over all spatial axes."""

    def call(self, x):
        return x.mean(axis=tuple(range(1, x.ndim - 1)))

    def vjp(self, g, y, x):
        pixels = np.prod(x.shape[1:-1])
        return (np.broadcast_to(g.reshape(len(x), *(1,) * (x.ndim - 2), -1), x.shape) / pixels,)


class Flatten(Plain):
    def call(self, x):
        return x.reshape(len(x), -1)

    def vjp(self, g, y, x):
        return (g.reshape(x.shape),)


class Reshape(Plain):
    """The same numbers in another shape (B, *shape)."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape

    def call(self, x):
        return x.reshape(len(x), *self.shape)

    def vjp(self, g, y, x):
        return (g.reshape(x.shape),)


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
