"""Which rank a process is, by the variables of schedulers; and which engine is taken."""

import pytest

from keras_explainable.distributed import engines
from keras_explainable.distributed.engines.shard import Rank, Shard, place
from keras_explainable.errors import InputError
from support.selection import fast_on_torch

pytestmark = fast_on_torch


@pytest.mark.parametrize(
    "known, workers, expected",
    [
        ({}, None, None),
        ({"RANK": "3", "WORLD_SIZE": "8"}, None, Rank(3, 8)),
        ({"RANK": "0", "WORLD_SIZE": "1"}, None, None),
        ({"SLURM_PROCID": "1", "SLURM_NTASKS": "4"}, None, Rank(1, 4)),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "1"}, None, None),
        ({"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_MIN": "4", "SLURM_ARRAY_TASK_COUNT": "5"}, None, Rank(3, 5)),
        (
            {
                "SLURM_ARRAY_TASK_ID": "9",
                "SLURM_ARRAY_TASK_MIN": "1",
                "SLURM_ARRAY_TASK_STEP": "4",
                "SLURM_ARRAY_TASK_COUNT": "3",
                "SLURM_PROCID": "0",
                "SLURM_NTASKS": "1",
            },
            None,
            Rank(2, 3),
        ),
        ({"JOB_COMPLETION_INDEX": "2"}, 6, Rank(2, 6)),
        ({"JOB_COMPLETION_INDEX": "2"}, None, Rank(2, None)),
    ],
)
def test_the_rank_by_a_scheduler(known, workers, expected):
    assert place(workers, known) == expected


def test_every_part_has_one_rank(monkeypatch):
    shares = []
    for rank in range(3):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", "3")
        shares.append(Shard(None).share(set(range(20))))
    assert set.union(*shares) == set(range(20)) and sum(map(len, shares)) == 20


def test_a_rank_that_is_not_known_is_refused(monkeypatch):
    with pytest.raises(InputError, match="set RANK and WORLD_SIZE"):
        Shard(None)
    monkeypatch.setenv("RANK", "5")
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(InputError, match="Rank 5 of 4 came"):
        Shard(None)


def test_the_engine_that_is_taken(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert engines.name_of("auto", None) == "local"
    assert engines.name_of("auto", 2) == "ray"
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    assert engines.name_of("auto", None) == "ray"
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert engines.name_of("auto", None) == "shard"
    assert engines.name_of("local", 2) == "local"
