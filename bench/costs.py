"""What a method should take, from the cost that the registry states: `1 forward + n (forward + K backward)`."""

import re


def passes(cost, **numbers):
    """The value of a registry's cost, its letters given as numbers: `passes(cost, forward=0.6, backward=0.7, n=5, K=1)`.

    `backward` is a gradient pass less its forward pass."""
    product = re.sub(r"(?<=[\w)]) +(?=[\w(])", " * ", cost)
    return eval(product, {"__builtins__": {}}, numbers)  # noqa: S307 (a line of our own registry)
