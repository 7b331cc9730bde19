"""Whether what a call is to make fits into the memory that there is: asked before the work."""

import contextlib
import os
import re
from pathlib import Path

from keras_explainable.errors import InputError

LIMIT = Path("/sys/fs/cgroup/memory.max")  # of a container
SOME = "or explain some images at a time, and keep of each what is needed"  # of maps that do not fit
SMALL = 1e8  # bytes, which are not worth asking for
UNITS = ((1e18, "EB"), (1e15, "PB"), (1e12, "TB"), (1e9, "GB"))


def available() -> float | None:
    """Bytes of memory that are free or can be made so; None where the system does not tell."""
    found = []
    try:
        told = dict(re.findall(r"(\w+):\s+(\d+) kB", Path("/proc/meminfo").read_text()))
        found.append(1024.0 * (int(told["MemAvailable"]) + int(told.get("SwapFree", 0))))
    except (OSError, KeyError):
        try:  # all that there is
            found.append(float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")))
        except (AttributeError, ValueError, OSError):
            return None
    with contextlib.suppress(OSError, ValueError):  # no container, or "max"
        found.append(float(LIMIT.read_text()))
    return min(found)


def check_fits(what: str, size: float, instead: str) -> None:
    """Refuse what takes more memory than there is.

    Args:
        what: the things and how many, as the subject of "take".
        size: bytes.
        instead: what to do.

    Raises:
        InputError: it does not fit.
    """
    if size < SMALL:
        return
    free = available()
    if free is not None and size > free:
        raise InputError(f"{what} take {told(size)} of memory, and this machine has {told(free)} left: {instead}.")


def told(size: float) -> str:
    """A number of bytes in words."""
    for unit, name in UNITS:
        if size >= unit:
            return f"{size / unit:,.1f} {name}"
    return f"{size / 1e6:,.0f} MB"
