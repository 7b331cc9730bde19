"""How far a method that repeats has come with one batch of images, where the bar of batches cannot tell."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import keras

_shown: ContextVar[bool] = ContextVar("shown", default=False)


@contextmanager
def shown(on: bool) -> Iterator[None]:
    """A scope in which a loop on the host has a bar of its own."""
    token = _shown.set(on)
    try:
        yield
    finally:
        _shown.reset(token)


def counted(steps: range) -> Iterator[int]:
    """The steps of a loop, with a bar where one is to be shown: the first loop's, and none for those inside of it."""
    bar = None
    if _shown.get() and len(steps) > 1:
        _shown.set(False)  # until the scope ends
        bar = keras.utils.Progbar(len(steps), unit_name="repetition")
    for i in steps:
        yield i
        if bar:
            bar.add(1)
