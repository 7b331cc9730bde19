"""Explains parts on Ray: on a cluster, or on all of this machine. A row of the data set is a part, so that the sizes
and order of Ray's blocks change nothing."""

import logging
import os
import sys
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from keras_explainable.distributed.commits import Record
from keras_explainable.distributed.reading import Batch
from keras_explainable.distributed.settings import Job

STARTS = 4  # deaths while a worker loads the model, for each worker, after which a run ends
IN_FLIGHT = 2  # parts that wait at a worker
MOST_BLOCKS = 4096  # tasks into which the parts are put: more would be slow to schedule
STORE = 256 * 2**20  # bytes of the object store where no pixels pass through it
SENT = ("KERAS_BACKEND", "JAX_PLATFORMS", "TF_CPP_MIN_LOG_LEVEL", "OMP_NUM_THREADS")  # variables that workers get


class Actor:
    """A worker in an actor. Without pixels in the rows, it reads the images itself."""

    def __init__(self, job: Job, paths: Sequence[str], workers: int) -> None:
        _search(paths)
        from keras_explainable.distributed.work import Worker

        self.worker = Worker.started(job, STARTS * workers)

    def __call__(self, rows: dict[str, Any]) -> dict[str, Any]:
        """Explain and commit the part of the one row."""
        (part,) = (int(one) for one in rows["part"])
        batches = _batches(rows) if "pixels" in rows else self.worker.images([part])
        return {"record": np.array([self.worker.part(part, batches).as_json()])}


class Reader:
    """Reads the images of a part, in tasks on CPUs for workers on GPUs. This imports no Keras."""

    def __init__(self, job: Job) -> None:
        self.job = job

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """The part with the pixels of its images, and why some of them are set aside."""
        import json

        from keras_explainable.distributed import plan, reading
        from keras_explainable.distributed.storage import Place

        place = Place(self.job.out, self.job.storage_options)
        run = plan.known(place)
        assert run is not None, "the plan is written before workers start"
        rows, size = plan.Plan(place, run.layout).rows(row["part"]), self.job.batch_size
        chunks = (rows[i : i + size] for i in range(0, len(rows), size))
        found = list(reading.batches(chunks, size, run.layout.size, self.job.found["fit"], self.job.storage_options))
        return {
            "part": row["part"],
            "pixels": np.stack([batch.pixels for batch in found]),
            "aside": json.dumps([list(batch.aside.items()) for batch in found]),
        }


def _batches(rows: dict[str, Any]) -> Iterator[Batch]:
    import json

    for pixels, aside in zip(rows["pixels"][0], json.loads(rows["aside"][0]), strict=True):
        yield Batch(pixels, dict(aside))


class Ray:
    """The engine `ray`."""

    rank = 0

    def __init__(self, workers: int | None, cpus: float | None, gpus: float) -> None:
        self.workers, self.gpus = workers or 1, gpus
        self.cpus = cpus if cpus is not None else 0 if gpus else 1
        self.own = False  # whether Ray was started here
        self.paths = [path for path in sys.path if path]

    def first(self, job: Job) -> tuple[dict[str, Any], dict, dict]:
        """What the model takes, and the shapes of its maps."""
        ray = self.started()
        try:
            # max_calls=1: the process ends with the task, and so leaves the GPU's memory to the workers.
            task = ray.remote(num_cpus=self.cpus, num_gpus=self.gpus, max_calls=1)(_first)
            return ray.get(task.remote(job, self.paths))
        except ray.exceptions.RayTaskError as error:
            raise _cause(error) from None

    def share(self, parts: set[int]) -> set[int]:
        """Those of the parts that this process explains."""
        return parts

    def run(self, job: Job, parts: Sequence[int]) -> Iterator[Record]:
        """Explain and commit these parts."""
        ray = self.started()
        from ray import data as ray_data

        job = replace(job, session=uuid.uuid4().hex)
        context = ray_data.DataContext.get_current()
        context.enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        context.max_errored_blocks = 0  # else rows would be dropped
        rows = [{"part": int(part)} for part in parts]
        data = ray_data.from_items(rows, override_num_blocks=min(len(rows), MOST_BLOCKS))
        if self.gpus:
            data = data.map(Reader(job).__call__, num_cpus=1)
        workers = min(self.workers, len(rows))
        data = data.map_batches(
            Actor,
            batch_size=1,
            compute=ray_data.ActorPoolStrategy(size=workers, max_tasks_in_flight_per_actor=IN_FLIGHT),
            fn_constructor_kwargs={"job": job, "paths": self.paths, "workers": workers},
            **self._resources(),
        )
        # Ray restarts workers and their tasks without end. What ends it is that deaths are counted: see `Worker`.
        try:
            for row in data.iter_rows():
                yield Record.of(row["record"])
        except ray.exceptions.RayTaskError as error:
            raise _cause(error) from None

    def _resources(self) -> dict[str, float]:
        """What a worker takes. Both kinds at once are experimental in Ray, and it wants the number of CPUs to be left
        out where it is 0."""
        return {name: n for name, n in {"num_cpus": self.cpus, "num_gpus": self.gpus}.items() if n}

    def started(self) -> Any:
        """Ray: on a running cluster if there is one, else on this machine."""
        import ray

        if ray.is_initialized():
            return ray
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent to others
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
        variables = {name: os.environ[name] for name in SENT if name in os.environ}
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
        quiet["runtime_env"] = {"env_vars": variables}
        try:
            if os.environ.get("RAY_ADDRESS") != "local":
                ray.init(address="auto", **quiet)
        except ConnectionError:
            pass
        if not ray.is_initialized():
            cpus = max(os.cpu_count() or 1, int(self.workers * max(self.cpus, 1)) + 1)
            store = None if self.gpus else STORE
            ray.init(address="local", num_cpus=cpus, object_store_memory=store, include_dashboard=False, **quiet)
            self.own = True
        return ray

    def close(self) -> None:
        """End Ray, if it was started here."""
        if self.own:
            import ray

            ray.shutdown()
            self.own = False


def _first(job: Job, paths: Sequence[str]) -> tuple[dict[str, Any], dict, dict]:
    _search(paths)
    from keras_explainable.distributed.explainer import Explainer

    explainer = Explainer(job)
    return explainer.found, *explainer.first()


def _search(paths: Sequence[str]) -> None:
    """Find the modules of factories where the driver finds them."""
    sys.path.extend(path for path in paths if path not in sys.path)


def _cause(error: Any) -> BaseException:
    """What a task raised, without Ray's own traceback."""
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, BaseException) else error
