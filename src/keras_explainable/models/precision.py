"""The precision in which a model computes: an option of one thread's calls that changes nothing in the model."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import keras

from keras_explainable.errors import InputError, shortly
from keras_explainable.models.recording import Shared

LOWER = ("bfloat16", "float16")

_current: ContextVar[str | None] = ContextVar("precision", default=None)


def current_precision() -> str | None:
    """The lower precision that this thread asked for, or None."""
    return _current.get()


@contextmanager
def computing_in(name: str | None) -> Iterator[None]:
    """A scope in which, in this thread, models that compute in float32 compute in `name`; None leaves them as they are.

    Raises:
        InputError: it is not one of `LOWER`.
    """
    if not (name is None or (isinstance(name, str) and name in ("float32", *LOWER))):
        raise InputError(
            f"precision={shortly(name)} came: use one of {', '.join(map(repr, LOWER))}, or None for the model's own."
        )
    token = _current.set(None if name == "float32" else name)
    try:
        yield
    finally:
        _current.reset(token)


class Lowered(keras.DTypePolicy):
    """A float32 policy that computes in the precision that the current thread asked for."""

    @property
    def compute_dtype(self) -> str:
        return current_precision() or self._compute_dtype


def _lower(layer: Any) -> Callable[[], None]:
    plain = layer._dtype_policy  # the public setter also writes to policy maps that layers share
    object.__setattr__(layer, "_dtype_policy", Lowered(plain.name))
    return lambda: object.__setattr__(layer, "_dtype_policy", plain)


_lowering = Shared(_lower)


def lowered(layers: list) -> Any:
    """A scope in which Keras layers with a plain float32 policy compute as `computing_in` says."""
    wanted = [] if current_precision() is None else layers
    return _lowering(
        layer
        for layer in wanted
        if type(getattr(layer, "_dtype_policy", None)) is keras.DTypePolicy and layer.compute_dtype == "float32"
    )
