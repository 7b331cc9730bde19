"""Explains this rank's share of the parts: part p is rank p mod n's. The ranks are processes that SLURM, torchrun or
Kubernetes starts."""

import os
from collections.abc import Mapping
from typing import NamedTuple

from keras_explainable.distributed.engines.local import Local
from keras_explainable.errors import InputError


class Rank(NamedTuple):
    """The number of this process, and of how many; None if that is not said."""

    rank: int
    of: int | None


def place(workers: int | None, known: Mapping[str, str] = os.environ) -> Rank | None:
    """The rank of this process by the variables of a scheduler; None if there are none."""

    def number(name: str) -> int | None:
        value = known.get(name, "")
        return int(value) if value.isdecimal() else None

    array = number("SLURM_ARRAY_TASK_ID")
    if array is not None:
        first, step = number("SLURM_ARRAY_TASK_MIN") or 0, number("SLURM_ARRAY_TASK_STEP") or 1
        return Rank((array - first) // step, number("SLURM_ARRAY_TASK_COUNT") or workers)
    for rank, count in (
        ("RANK", "WORLD_SIZE"),
        ("SLURM_PROCID", "SLURM_NTASKS"),
        ("JOB_COMPLETION_INDEX", "JOB_COMPLETIONS"),
    ):
        found, of = number(rank), number(count) or workers
        if found is not None and (of is None or of > 1 or rank == "JOB_COMPLETION_INDEX"):
            return Rank(found, of)
    return None


class Shard(Local):
    """The engine `shard`."""

    def __init__(self, workers: int | None) -> None:
        super().__init__()
        found = place(workers)
        if found is None or found.of is None:
            raise InputError(
                "engine='shard' came, and nothing says which of how many processes this is: set RANK and WORLD_SIZE, "
                "or run it by SLURM, torchrun or an indexed Kubernetes job, whose completions are num_workers."
            )
        self.rank, self.of = found.rank, int(found.of)
        if not 0 <= self.rank < self.of:
            raise InputError(f"Rank {self.rank} of {self.of} came, and ranks count from 0 to {self.of - 1}.")

    def share(self, parts: set[int]) -> set[int]:
        """Those of the parts that this rank explains."""
        return {part for part in parts if part % self.of == self.rank}
