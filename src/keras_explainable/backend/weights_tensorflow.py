"""Detect changed weights on TensorFlow: memory is not written to while a tensor read from it is kept, so a variable
that changes gets other memory."""

import ctypes
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import tensorflow as tf

_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.restype, _pointer.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)

_readers: WeakKeyDictionary = WeakKeyDictionary()  # by model: its variables, and a program that reads them


class _Mark:
    def __init__(self, variable: Any, value: Any) -> None:
        self.variable, self.value, self.address = variable, value, _address(value)

    def __hash__(self) -> int:
        return hash(self.address)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Mark):
            return NotImplemented
        return self.address == other.address or (self._copied() and self._bytes() == other._bytes())

    def _copied(self) -> bool:
        """Whether each read of the variable is a copy. This is so once a part of it was changed, such as a row of an
        embedding by its gradient."""
        one, other = self.variable.read_value(), self.variable.read_value()  # keep both, so that their addresses differ
        return _address(one) != _address(other)

    def _bytes(self) -> bytes:
        return self.value.numpy().tobytes()


def _address(value: Any) -> int | None:
    capsule = tf.experimental.dlpack.to_dlpack(value)
    return ctypes.c_void_p.from_address(_pointer(capsule, b"dltensor")).value  # its first field


def _reader(variables: list) -> Callable:
    """A program that reads the variables. It takes a fifth of the time of reading them one by one."""
    return tf.function(lambda: [v.read_value() for v in variables], autograph=False).get_concrete_function()


def marks(variables: list, model: Any) -> list:
    values = [variable.value for variable in variables]
    values = [getattr(value, "values", (value,))[0] for value in values]  # on several devices, the first one's
    known, read = _readers.get(model, ((), None))
    if read is None or list(map(id, known)) != list(map(id, values)):
        read = _reader(values)
        _readers[model] = values, read
    return list(map(_Mark, values, read()))
