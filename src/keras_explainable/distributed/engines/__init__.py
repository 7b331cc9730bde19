"""Engines run every part that is not done at least once. Whether a run is right does not depend on them."""

import os
import sys
from typing import Any

from keras_explainable.distributed import needs
from keras_explainable.errors import InputError

ENGINES = ("local", "shard", "ray")


def name_of(engine: str, workers: int | None) -> str:
    """The engine that is used.

    Raises:
        InputError: there is no such engine.
    """
    if engine not in ("auto", *ENGINES):
        raise InputError(f"engine={engine!r} came, and auto, {', '.join(ENGINES)} was expected.")
    if engine != "auto":
        return engine
    from keras_explainable.distributed.engines import shard

    if shard.place(None) is not None:
        return "shard"
    running = "ray" in sys.modules and sys.modules["ray"].is_initialized()
    return "ray" if running or workers is not None or os.environ.get("RAY_ADDRESS") else "local"


def of(wanted: Any) -> Any:
    """The engine. It has its `rank`, what a run that begins needs to know of the model, `first(job)`, the
    `share(parts)` that is its own, `run(job, parts)`, which yields records, and `close()`."""
    if wanted.engine == "ray":
        needs.check("ray")
        from keras_explainable.distributed.engines.ray import Ray

        return Ray(wanted.workers, wanted.cpus, wanted.gpus)
    from keras_explainable.distributed.engines.local import Local
    from keras_explainable.distributed.engines.shard import Shard

    return Local() if wanted.engine == "local" else Shard(wanted.workers)
