"""The operations of networks in NumPy: sliding windows, dense layers, normalisation, activations, pooling, shapes."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np


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
