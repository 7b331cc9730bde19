"""Batches prepared one thread ahead."""

import queue
import threading
from collections.abc import Iterator
from typing import Any

AHEAD = 2  # batches prepared while the device works


def ahead(items: Iterator[Any]) -> Iterator[Any]:
    """Yield the items of an iterator. A thread prepares them, at most `AHEAD` items ahead, and ends with this
    generator."""
    ready: queue.SimpleQueue = queue.SimpleQueue()
    room = threading.Semaphore(AHEAD)
    stopped = threading.Event()

    def prepare() -> None:
        try:
            while room.acquire() and not stopped.is_set():
                ready.put((next(items), None))
        except StopIteration:
            ready.put((None, StopIteration()))
        except BaseException as error:  # raised again where the batches are used
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
        if thread is not threading.current_thread():  # the garbage collector may close the generator in that thread
            thread.join(timeout=5)  # do not wait forever for a source that hangs; the thread is a daemon
