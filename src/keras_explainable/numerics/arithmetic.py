"""Division where the divisor may be zero."""

from typing import Any

from keras import ops


def divide(a: Any, b: Any) -> Any:
    """a / b where b > 0, else 0."""
    return ops.where(b > 0, a / ops.where(b > 0, b, ops.ones_like(b)), ops.zeros_like(a))


def quotient(a: Any, b: Any) -> Any:
    """a / b where b is not 0, else 0."""
    defined = b != 0
    return ops.where(defined, a / ops.where(defined, b, ops.ones_like(b)), ops.zeros_like(b))
