"""Progress of long calls: reported to a listener, which may stop them. A method that repeats within one batch of images
has its own progress bar, because the bar of the batches cannot show its steps."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import keras

from keras_explainable.errors import InputError, shortly

STEP = 0.5  # seconds: the target for a step while there is a listener, so that no step takes more than a second

_wanted: ContextVar[bool] = ContextVar("wanted", default=False)


class Listener:
    """Calls `callback(done, of)` with the numbers of the outermost loop that is running."""

    def __init__(self, callback: Callable[[int, int | None], Any], warned: Callable[[str], Any] | None = None) -> None:
        self.callback, self.warned = callback, warned
        self.batches: tuple[int, int | None] | None = None  # if there is more than one
        self.steps: tuple[int, int] | None = None  # of the outermost loop within a batch

    def tell(self) -> None:
        numbers = self.batches or self.steps
        if numbers is not None:
            self.callback(*numbers)

    def batch(self, i: int, number: int | None) -> None:
        """The batch with this number begins, or the last one has ended."""
        self.batches, self.steps = (None if number == 1 else (i, number)), None
        self.tell()


_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextmanager
def listening(callback: Callable[[int, int | None], Any], warned: Callable[[str], Any] | None = None) -> Iterator[None]:
    """A scope in which `callback(done, of)` is called between the steps of every call of this library in this thread.

    Steps are those of the outermost loop: the batches of images, or the repetitions within a single batch. `of` is None
    if their number is not known. While an inner loop runs, `callback` is called with the numbers of the outermost one.

    With `warned`, `warned(text)` is called with each warning of this library, instead of showing it.

    `callback` may raise `ke.errors.Stopped`. The call then ends at once with this exception, as it does after Ctrl-C:
    the results of all complete batches are in its `.partial`. Other exceptions that `callback` raises are passed on as
    well, but `ke.explain` with several methods treats them as an error of one of the methods.

    In this scope, methods that cover parts of the image evaluate fewer copies at once, so that each of their steps
    takes less than a second, unless `at_once=` is given. Compiling, or a single pass of a slow model, is one step and
    may take longer. So may all channels of `scorecam` and `ablationcam`, which are one step except on PyTorch.

    Raises:
        InputError: `callback` or `warned` is not a function.
    """
    if not callable(callback):
        raise InputError(f"listening({shortly(callback)}) came, and a function of (done, of) was expected.")
    if not (warned is None or callable(warned)):
        raise InputError(f"warned={shortly(warned)} came, and a function of a text was expected.")
    token = _listener.set(Listener(callback, warned))
    try:
        yield
    finally:
        _listener.reset(token)


def listened() -> bool:
    """Whether there is a listener."""
    return _listener.get() is not None


def warned(text: str) -> bool:
    """Tell the listener a warning. False if there is none that wants it."""
    listener = _listener.get()
    if listener is None or listener.warned is None:
        return False
    listener.warned(text)
    return True


def at_batch(i: int, number: int | None) -> None:
    """Tell the listener that batch i of a number of batches begins; i = number after the last one."""
    listener = _listener.get()
    if listener is not None:
        listener.batch(i, number)


def reported(function: Callable, number: int) -> Callable:
    """A function that is called `number` times on the host, and that reports its progress before each call."""
    if not listened():
        return function
    steps = counted(range(number))

    def call(*args: Any) -> Any:
        next(steps, None)
        return function(*args)

    return call


@contextmanager
def progress_bar(on: bool) -> Iterator[None]:
    """A scope in which a loop on the host shows a progress bar of its own."""
    token = _wanted.set(on)
    try:
        yield
    finally:
        _wanted.reset(token)


def counted(steps: range) -> Iterator[int]:
    """Iterate over the steps of a loop, with a progress bar if one is wanted. Only the outermost loop shows one, and
    only its numbers are reported to the listener."""
    bar, listener = None, _listener.get()
    outermost = listener is not None and listener.steps is None and steps.stop > 1
    if _wanted.get() and len(steps) > 1:
        _wanted.set(False)  # until the scope ends
        bar = keras.utils.Progbar(len(steps), unit_name="repetition")
    try:
        for i in steps:
            _tell(listener, (i, steps.stop) if outermost else None)
            yield i
            if bar:
                bar.add(1)
        if outermost:
            _tell(listener, (steps.stop, steps.stop))
    finally:
        if listener is not None and outermost:
            listener.steps = None


def _tell(listener: Listener | None, steps: tuple[int, int] | None) -> None:
    if listener is not None:
        listener.steps = steps or listener.steps
        listener.tell()
