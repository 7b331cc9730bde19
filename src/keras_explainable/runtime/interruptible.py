"""Long calls that Ctrl-C can interrupt."""

import contextvars
import threading
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

# Whether compiled programs run in a thread of their own. That is possible where no gradient is recorded, since
# recording is per thread. Programs are built before, in the calling thread, which holds the settings for that.
heard: ContextVar[bool] = ContextVar("heard", default=False)


def aside(function: Callable, *args: Any, **params: Any) -> Any:
    """Run a function in a thread of its own, and return or raise what it does. Ctrl-C ends the wait for it at once,
    even if the call would ignore Ctrl-C until its end. The thread then continues, and its result is lost; it does not
    keep the process alive."""
    if threading.current_thread() is not threading.main_thread():  # only the main thread gets Ctrl-C
        return function(*args, **params)
    found: list = []
    context = contextvars.copy_context()

    def run() -> None:
        try:
            found.append((context.run(function, *args, **params), None))
        except BaseException as error:  # raised again in the waiting thread
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
