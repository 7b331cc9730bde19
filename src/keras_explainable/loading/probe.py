"""Read the attributes in a Keras file's weights once, in a separate process that may run out of memory, hang or crash.

HDF5 allocates the sizes that a file declares before it checks that the file holds that much. So the file is first read
in a process where this does no harm.
"""

import io
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

MEGABYTES, SECONDS = 512, 5  # and one more second for each 50 MB of the file
OPENED, EXHAUSTED = 0, 3  # exit codes


def attributes_can_be_read(path: Path) -> bool:
    """Whether the attributes in a file can be read within the limits. True for files that cannot be opened."""
    if getattr(sys, "frozen", False) or not sys.executable:
        return True  # there is no Python interpreter to start
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
        return OPENED  # the caller opens the file too and reports the error
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
    """Limit the memory of this process to MEGABYTES more than it already uses."""
    try:
        import resource

        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + (MEGABYTES << 20), resource.RLIM_INFINITY))
    except (ImportError, OSError, ValueError):
        pass  # the system has no such limit


if __name__ == "__main__":
    sys.exit(_main(Path(sys.argv[1])))
