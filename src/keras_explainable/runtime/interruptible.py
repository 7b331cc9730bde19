"""Long calls that Ctrl-C can interrupt."""

import contextvars
import threading
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

# Whether compiled programs run in a separate thread. This is possible only where no gradient is recorded, because
# gradients are recorded per thread. Programs are built before that, in the calling thread, which has the settings for
# it.
interruptible: ContextVar[bool] = ContextVar("interruptible", default=False)


def run_in_thread(function: Callable, *args: Any, **params: Any) -> Any:
    """Run a function in a separate thread, and return or raise what it does. Ctrl-C ends the wait at once, even if
    the function itself ignores Ctrl-C. The thread then continues in the background, and its result is lost. It does not
    keep the process alive."""
    if threading.current_thread() is not threading.main_thread():  # only the main thread gets Ctrl-C
        return function(*args, **params)
    found = list[tuple[Any, BaseException | None]]()
    context = contextvars.copy_context()

    def run() -> None:
        try:
            found.append((context.run(function, *args, **params), None))
        except BaseException as error:  # raised again in the waiting thread
            found.append((None, error))

    thread = threading.Thread(target=run, name="keras-explainable-call", daemon=True)
    thread.start()
    thread.join()
    value, error = found.pop()
    if error is not None:
        raise error
    return value


def wait_for(value: Any) -> Any:
    """Wait until a tensor is computed, and return it. The tensor is polled, which may take 1 % longer. On JAX, a plain
    wait for a tensor, or a computation with it, would block Ctrl-C, and a waiting thread cannot be abandoned."""
    start = time.perf_counter()
    while hasattr(value, "is_ready") and not value.is_ready():
        time.sleep(min(0.05, max(5e-5, (time.perf_counter() - start) / 100)))
    return value
