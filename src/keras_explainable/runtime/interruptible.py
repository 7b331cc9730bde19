"""Long calls that hear Ctrl-C."""

import contextvars
import threading
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

# Whether programs are run so, as nobody records what they compute, which is a matter of one thread. They are built
# before, in the thread where all is set that they are built with.
heard: ContextVar[bool] = ContextVar("heard", default=False)


def aside(function: Callable, *args: Any, **params: Any) -> Any:
    """What a function returns or raises, run in a thread of its own: Ctrl-C ends the wait for it at once, where one
    call of a library would be deaf to it to its end. After that the thread goes on, and what it finds is lost; it does
    not keep the process."""
    if threading.current_thread() is not threading.main_thread():  # which alone hears of it
        return function(*args, **params)
    found: list = []
    context = contextvars.copy_context()

    def run() -> None:
        try:
            found.append((context.run(function, *args, **params), None))
        except BaseException as error:  # raised where it is waited for
            found.append((None, error))

    thread = threading.Thread(target=run, name="keras-explainable-aside", daemon=True)
    thread.start()
    thread.join()
    value, error = found.pop()
    if error is not None:
        raise error
    return value


def ready(value: Any) -> Any:
    """A tensor, once it is computed, by looking now and then (1 % of the time too late): to wait for it, or to compute
    with it meanwhile, is deaf to Ctrl-C on JAX, and a thread that waits cannot be left."""
    start = time.perf_counter()
    while hasattr(value, "is_ready") and not value.is_ready():
        time.sleep(min(0.05, max(5e-5, (time.perf_counter() - start) / 100)))
    return value
