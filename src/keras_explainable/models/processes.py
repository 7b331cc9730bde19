"""Detect forked processes: if the parent process has run models, a forked process lacks the threads in which the
framework computes."""

import os

from keras_explainable import backend
from keras_explainable.errors import BackendError

_first: list[int] = []  # the process that first ran a model


def check(runs: bool = True) -> None:
    """Raise if this process was forked from one that has run models: it would hang.

    Args:
        runs: whether a model runs now, and is not only loaded.

    Raises:
        BackendError: it was.
    """
    process = os.getpid()
    if runs and not _first:
        _first.append(process)
    if _first and _first[0] != process:
        raise BackendError(
            f"This process (number {process}) was forked from one that had explained before ({_first[0]}), and "
            f"{backend.name} hangs in such a process. Start processes that explain with "
            'multiprocessing.get_context("spawn"), which gives each its own framework, or fork before anything is '
            "explained. Processes that only load images, such as the workers of a DataLoader, may be forked."
        )
