"""The process that looks at models: one that is forked from it lacks the threads in which its framework computes."""

import os

from keras_explainable import backend
from keras_explainable.errors import BackendError

_first: list[int] = []  # the process in which a model was looked at first


def check(looks: bool = True) -> None:
    """Refuse to run or load models in a fork of a process that has run some, where that would never end.

    Args:
        looks: whether a model is looked at now, and not only loaded.

    Raises:
        BackendError: this is one.
    """
    process = os.getpid()
    if looks and not _first:
        _first.append(process)
    if _first and _first[0] != process:
        raise BackendError(
            f"This process (number {process}) was forked from one that had explained before ({_first[0]}), and "
            f"{backend.name} hangs in such a process. Start processes that explain by "
            'multiprocessing.get_context("spawn"), in which each has a framework of its own, or fork before anything '
            "is explained. Processes that only load images, such as the workers of a DataLoader, may be forked."
        )
