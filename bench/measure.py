"""Fair timing: the candidates take turns, so that noise affects all of them alike."""

import ctypes
import gc
import random
import statistics
import time
from pathlib import Path

MIB = 2**20


def first(run):
    """Return the result of a first call and its seconds, including compilation."""
    start = time.perf_counter()
    result = run()
    return result, time.perf_counter() - start


def alternate(sides, rounds=5, budget=120.0):
    """Run functions in turn, each already called once, and return {name: seconds of each round}.

    Each round has a new random order, because the previous run affects memory and caches."""
    seconds, rng = {name: [] for name in sides}, random.Random(0)
    end = time.perf_counter() + budget
    for done in range(rounds):
        if done >= 3 and time.perf_counter() > end:
            break
        for name, run in rng.sample(list(sides.items()), len(sides)):
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def middle(values):
    """Return (median, smallest, largest)."""
    return statistics.median(values), min(values), max(values)


def ratio(ours, floor):
    """Return the median, the smallest and the largest of the ratios to the floor in each round."""
    return middle([a / b for a, b in zip(ours, floor, strict=True)])


def peak(run):
    """Return the peak memory in MiB of the process during a call, minus its memory before (Linux; else NaN)."""
    try:
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)  # freed memory must not be reused without being counted
        Path("/proc/self/clear_refs").write_text("5")  # reset the peak
        before = _status("VmRSS")
        run()
        return (_status("VmHWM") - before) / 1024
    except (OSError, AttributeError):
        return float("nan")


def _status(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))
