"""The peak memory of a run does not depend on the number of images."""

import re
from pathlib import Path

import pytest

from support import killed_runs, tiny_network
from support.selection import very_slow_compiled

pytestmark = [
    very_slow_compiled,
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="measured on Linux"),
]
FEW, MANY, MORE = 100, 2000, 0.10


def measured(queue, *args):
    """The peak of a run in this process, in MB."""
    killed_runs.run(*args)
    queue.put(int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024)


def peak(tmp_path, number, **how):
    """The peak of a run of so many images in a process of its own. Driver and worker are one."""
    photos = tiny_network.folder(tmp_path / f"photos-{number}", number)
    context = killed_runs.processes()
    queue = context.Queue()
    args = (queue, tmp_path / f"out-{number}", photos, None, {}, how)
    process = context.Process(target=measured, args=args)
    process.start()
    found = queue.get(timeout=200)
    process.join()
    return found


def test_memory_is_flat(tmp_path):
    few, many = (peak(tmp_path, number) for number in (FEW, MANY))
    print(f"{FEW} images: {few:.0f} MB, {MANY} images: {many:.0f} MB")
    assert many < (1 + MORE) * few
