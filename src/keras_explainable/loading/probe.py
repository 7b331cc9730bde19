"""Reads the weights of a Keras file once through: a program of its own, which may exhaust memory, hang, or crash.

HDF5 allocates what a file says before it sees that the file does not hold it. So it is tried where that does no harm.
"""

import io
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

MEGABYTES, SECONDS = 512, 5  # and one second more for each 50 MB of the file
OPENED, EXHAUSTED = 0, 3  # exit codes


def survived(path: Path) -> bool:
    """Whether the texts and sizes in a file can be read, in so much memory and time. Errors in opening it are not."""
    if getattr(sys, "frozen", False) or not sys.executable:
        return True  # there is no Python to start
    seconds = SECONDS + (path.stat().st_size >> 20) / 50
    command = [sys.executable, "-P", __file__, str(path.resolve())]
    try:
        return subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=seconds).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def _main(path: Path) -> int:
    import h5py

    source = path if path.suffix != ".keras" else io.BytesIO(zipfile.ZipFile(path).read("model.weights.h5"))
    try:
        file = h5py.File(source, "r")
    except Exception:
        return OPENED  # as will be seen and told
    _limit_memory()
    try:
        file.visititems(lambda _, item: _read(item))
        _read(file)
    except BaseException:
        return EXHAUSTED
    return OPENED


def _read(item: Any) -> None:
    for name in item.attrs:
        item.attrs[name]


def _limit_memory() -> None:
    """What is taken already, and MEGABYTES more."""
    try:
        import resource

        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + (MEGABYTES << 20), resource.RLIM_INFINITY))
    except (ImportError, OSError, ValueError):
        pass  # a system that has no such limit


if __name__ == "__main__":
    sys.exit(_main(Path(sys.argv[1])))
