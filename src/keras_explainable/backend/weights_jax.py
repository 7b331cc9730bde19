"""Detect changed weights on JAX: arrays are immutable, so changing a variable gives it another array."""

from typing import Any

from keras_explainable.backend.read_only import Mark


def marks(variables: list, model: Any) -> list:
    values = [variable.value for variable in variables]
    return [object() if value.is_deleted() else Mark(value) for value in values]  # donated to a training step
