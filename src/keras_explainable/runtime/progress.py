"""Show the progress of a method that repeats within one batch of images, which the progress bar of batches cannot
show."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import keras

_wanted: ContextVar[bool] = ContextVar("wanted", default=False)


@contextmanager
def progress_bar(on: bool) -> Iterator[None]:
    """A scope in which a loop on the host shows a progress bar of its own."""
    token = _wanted.set(on)
    try:
        yield
    finally:
        _wanted.reset(token)


def counted(steps: range) -> Iterator[int]:
    """Iterate over the steps of a loop, with a progress bar if one is wanted. Only the outermost loop shows one."""
    bar = None
    if _wanted.get() and len(steps) > 1:
        _wanted.set(False)  # until the scope ends
        bar = keras.utils.Progbar(len(steps), unit_name="repetition")
    for i in steps:
        yield i
        if bar:
            bar.add(1)
