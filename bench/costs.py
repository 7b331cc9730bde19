"""Evaluate the cost that the registry states for a method: `1 forward + n (forward + K backward)`."""

import re


def passes(cost, **numbers):
    """Return the value of a cost for numbers in place of its letters: `passes(cost, forward=0.6, backward=0.7, n=5, K=1)`.

    `backward` is the time of a gradient pass minus that of its forward pass."""
    product = re.sub(r"(?<=[\w)]) +(?=[\w(])", " * ", cost)
    return eval(product, {"__builtins__": {}}, numbers)  # noqa: S307 (a line of our own registry)
