"""Estimate the memory of a call, and raise before the work if it does not fit."""

import contextlib
import math
import os
import re
from collections.abc import Sequence
from numbers import Integral
from pathlib import Path

from keras_explainable.errors import InputError

LIMIT = Path("/sys/fs/cgroup/memory.max")  # the limit of a container
SOME = "or explain a few images at a time, and keep only what you need of each"  # advice if maps do not fit
SMALL = 1e8  # bytes: less is not checked
UNITS = ((1e18, "EB"), (1e15, "PB"), (1e12, "TB"), (1e9, "GB"))


def available() -> float | None:
    """Bytes of memory that are free or can be freed; None if the system does not say."""
    found = []
    try:
        fields = dict(re.findall(r"(\w+):\s+(\d+) kB", Path("/proc/meminfo").read_text()))
        found.append(1024.0 * (int(fields["MemAvailable"]) + int(fields.get("SwapFree", 0))))
    except (OSError, KeyError):
        try:  # no Linux: all physical memory
            found.append(float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")))
        except (AttributeError, ValueError, OSError):
            return None
    with contextlib.suppress(OSError, ValueError):  # no container, or no limit ("max")
        found.append(float(LIMIT.read_text()))
    return min(found)


def check_fits(what: str, size: float, instead: str) -> None:
    """Raise if something takes more memory than is available.

    Args:
        what: what takes the memory, with its number or size; it is the subject of "take" in the message.
        size: bytes.
        instead: what the user can do.

    Raises:
        InputError: it does not fit.
    """
    if size < SMALL:
        return
    free = available()
    if free is not None and size > free:
        raise InputError(
            f"{what} take {in_words(size)} of memory, and this machine has {in_words(free)} left: {instead}."
        )


def check_array_fits(what: str, shape: Sequence, instead: str, extra: int = 0) -> None:
    """`check_fits` for an array of float32 and `extra` more values. A shape with an unknown size is not checked."""
    if all(isinstance(side, Integral) for side in shape):
        check_fits(what, 4.0 * (math.prod(map(int, shape)) + extra), instead)


def in_words(size: float) -> str:
    """A number of bytes with its unit, for messages."""
    for unit, name in UNITS:
        if size >= unit:
            return f"{size / unit:,.1f} {name}"
    return f"{size / 1e6:,.0f} MB"
