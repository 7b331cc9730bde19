"""Small arrays as values, for what is compared and hashed by its content."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from keras import ops

from keras_explainable import backend
from keras_explainable.errors import InputError


@dataclass(frozen=True)
class Array:
    """A small array as a value: equal and hashable by its content."""

    shape: tuple[int, ...]
    content: bytes

    @classmethod
    def of(cls, value: Any, dtype: str = "float32") -> "Array":
        try:
            value = np.ascontiguousarray(backend.to_host(value) if ops.is_tensor(value) else value, dtype)
        except OverflowError as error:
            raise InputError(
                f"Numbers came that are too large for {dtype}, and an array of it was expected."
            ) from error
        return cls(value.shape, value.tobytes())

    @property
    def tensor(self) -> Any:
        return ops.convert_to_tensor(np.frombuffer(self.content, "float32").reshape(self.shape))

    def __repr__(self) -> str:
        return f"array of shape {self.shape}"
