"""Networks in NumPy, float64, channels-last: every value forwards, the gradient at every value backwards.

Slow and obvious, the second witness of what the library does on a framework. The operations are in `layers` and
`token_layers`: each has `call(*xs) -> y`, `vjp(g, y, *xs) -> gradients of sum(g * y), one for each x`, and `bias`: what
it adds to each channel of y, or None.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

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
