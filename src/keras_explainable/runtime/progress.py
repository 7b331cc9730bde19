"""Progress of long calls: told to a listener, who may stop them. A method that repeats within one batch of images has a
progress bar of its own, because that of batches cannot show it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import keras

from keras_explainable.errors import InputError, shortly

STEP = 0.5  # seconds that a step should take at most while somebody listens, so that no step takes longer than one

_wanted: ContextVar[bool] = ContextVar("wanted", default=False)


class Listener:
    """Tells `told(done, of)` the numbers of the outermost loop that is under way."""

    def __init__(self, told: Callable[[int, int | None], Any]) -> None:
        self.told = told
        self.batches: tuple[int, int | None] | None = None  # if there is more than one
        self.steps: tuple[int, int] | None = None  # of the outermost loop within a batch

    def tell(self) -> None:
        numbers = self.batches or self.steps
        if numbers is not None:
            self.told(*numbers)

    def batch(self, i: int, number: int | None) -> None:
        """The batch with this number begins, or the last one has ended."""
        self.batches, self.steps = (None if number == 1 else (i, number)), None
        self.tell()


_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextmanager
def listening(told: Callable[[int, int | None], Any]) -> Iterator[None]:
    """A scope in which `told(done, of)` is called between the steps of every call of this library in this thread.

    Steps are those of the outermost loop: the batches of images, or the repetitions within a single batch. `of` is None
    if their number is not known. While an inner loop runs, `told` is called with the numbers of the outermost one.

    `told` may raise `ke.errors.Stopped`. The call then ends at once with this exception, as it does after Ctrl-C: what
    was computed before is in its `.partial`, as far as whole batches are done. Other exceptions that `told` raises are
    passed on as well, but `ke.explain` with several methods takes them for an error of one of the methods.

    In this scope, methods that cover parts of the image evaluate fewer copies at once, so that each of their steps
    takes less than a second, unless `at_once=` is given. Compiling, or a single pass of a slow model, is one step and
    may take longer. So may all channels of `scorecam` and `ablationcam`, which are one step except on PyTorch.

    Raises:
        InputError: `told` is not a function.
    """
    if not callable(told):
        raise InputError(f"listening({shortly(told)}) came, and a function of (done, of) was expected.")
    token = _listener.set(Listener(told))
    try:
        yield
    finally:
        _listener.reset(token)


def listened() -> bool:
    """Whether somebody listens to the progress."""
    return _listener.get() is not None


def at_batch(i: int, number: int | None) -> None:
    """Tell the listener that batch i of a number of batches begins; i = number after the last one."""
    listener = _listener.get()
    if listener is not None:
        listener.batch(i, number)


def told_before(function: Callable, number: int) -> Callable:
    """A function that is called `number` times on the host. The listener is told before each call."""
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
    """Iterate over the steps of a loop, with a progress bar if one is wanted. Only the outermost loop shows one, and is
    told to the listener with its numbers."""
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
