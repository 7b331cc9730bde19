"""Fair timing: the sides take turns, so that a noisy machine hits all of them alike."""

import ctypes
import gc
import random
import statistics
import time
from pathlib import Path

MIB = 2**20


def first(run):
    """What a first call gives, and its seconds: with compilation, where there is any."""
    start = time.perf_counter()
    result = run()
    return result, time.perf_counter() - start


def alternate(sides, rounds=5, budget=120.0):
    """{name: seconds of each round} of callables that run in turn, each already called once. The order is drawn anew for
    each round: what ran before leaves memory and caches in a state of its own."""
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
    """(median, smallest, largest)"""
    return statistics.median(values), min(values), max(values)


def ratio(ours, floor):
    """The median of the rounds' own ratios to the floor, with the smallest and the largest."""
    return middle([a / b for a, b in zip(ours, floor, strict=True)])


def peak(run):
    """The most memory in MiB that the process held during a call, above what it held before (Linux; else NaN)."""
    try:
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)  # what was freed before is not to be used again unseen
        Path("/proc/self/clear_refs").write_text("5")  # forget the highest mark
        before = _status("VmRSS")
        run()
        return (_status("VmHWM") - before) / 1024
    except (OSError, AttributeError):
        return float("nan")


def _status(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))
