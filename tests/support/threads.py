"""Many threads at once."""

import threading
from concurrent.futures import ThreadPoolExecutor


def in_threads(call, number=8):
    """The results of `call(i)` in that many threads, which begin together; what one of them raises, this raises."""
    start = threading.Barrier(number)

    def run(i):
        start.wait()
        return call(i)

    with ThreadPoolExecutor(number) as pool:
        return list(pool.map(run, range(number)))
