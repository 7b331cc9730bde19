"""Small arrays as values that can be compared and hashed by content."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from keras import ops

from keras_explainable import backend
from keras_explainable.errors import InputError


@dataclass(frozen=True)
class Array:
    """A small array that compares and hashes by its content."""

    shape: tuple[int, ...]
    content: bytes

    @classmethod
    def of(cls, value: Any, dtype: str = "float32") -> "Array":
        try:
            value = np.ascontiguousarray(backend.to_host(value) if ops.is_tensor(value) else value, dtype)
        except OverflowError as error:
            raise InputError(
                f"Numbers came that are too large for {dtype}, and an array of {dtype} was expected."
            ) from error
        return cls(value.shape, value.tobytes())

    @property
    def tensor(self) -> Any:
        return ops.convert_to_tensor(np.frombuffer(self.content, "float32").reshape(self.shape))

    def __repr__(self) -> str:
        return f"array of shape {self.shape}"
