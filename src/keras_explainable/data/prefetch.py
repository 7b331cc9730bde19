"""Batches prepared one thread ahead."""

import queue
import threading
from collections.abc import Iterator
from typing import Any

AHEAD = 2  # batches prepared while the device works


def ahead(items: Iterator[Any]) -> Iterator[Any]:
    """The items of an iterator, prepared by a thread that stays at most `AHEAD` in front and ends with this one."""
    ready: queue.SimpleQueue = queue.SimpleQueue()
    room = threading.Semaphore(AHEAD)
    stopped = threading.Event()

    def prepare() -> None:
        try:
            while room.acquire() and not stopped.is_set():
                ready.put((next(items), None))
        except StopIteration:
            ready.put((None, StopIteration()))
        except BaseException as error:  # whatever it is, it is raised where the batches are used
            ready.put((None, error))

    thread = threading.Thread(target=prepare, name="keras-explainable-batches", daemon=True)
    thread.start()
    try:
        while True:
            item, error = ready.get()
            room.release()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item
    finally:
        stopped.set()
        room.release()
        if thread is not threading.current_thread():  # in which a generator may be collected
            thread.join(timeout=5)  # a source that hangs must not hang its user; the thread is a daemon
