"""Fair timing: the sides take turns, so that a noisy machine hits all of them alike."""

import statistics
import time


def alternate(sides, rounds=5, budget=60.0):
    """{name: seconds of each round} of callables that run in turn, after one unmeasured round each."""
    seconds = {name: [] for name in sides}
    for run in sides.values():
        run()
    end = time.perf_counter() + budget
    for done in range(rounds):
        if done >= 3 and time.perf_counter() > end:
            break
        for name, run in sides.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def ratio(ours, floor):
    """The median of the rounds' own ratios, with the smallest and the largest."""
    ratios = sorted(a / b for a, b in zip(ours, floor, strict=True))
    return statistics.median(ratios), ratios[0], ratios[-1]
