"""Runs in processes of their own, which can be killed. They are forked from one that has imported what they need."""

import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

from keras_explainable import distributed
from keras_explainable.distributed import commits

HOW = {"engine": "local", "batch_size": 8, "part_size": 16, "verbose": 0}
NETWORK = "support.tiny_network:make"
POINTS = ("begin", "maps", "low", "high", "scores", "units", "status", "commit")


def processes():
    """Where processes come from."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["support.killed_runs", "keras_explainable.distributed.explainer", "keras", "zarr"])
    return context


def run(out, photos, die=None, variables=None, how=None):
    """Run in this process. `die` is a point and the part in which the process kills itself there."""
    os.environ.update(variables or {})

    def reached(point, part):
        if (point, part) == die:
            os.kill(os.getpid(), signal.SIGKILL)

    commits.reached = reached
    for module in ("work", "formats.zarr", "formats.parquet"):
        __import__(f"keras_explainable.distributed.{module}")
        vars(__import__("sys").modules[f"keras_explainable.distributed.{module}"])["reached"] = reached
    how = {**HOW, **(how or {})}
    distributed.explain(how.pop("method", "gradcam"), how.pop("model", NETWORK), photos, out, **how)


def on_a_gpu(out, photos, variables, how):
    """A run on a cluster that says it has a GPU: tasks read the images for the worker."""
    os.environ.update(variables)
    import ray

    ray.init(address="local", num_cpus=2, num_gpus=1, include_dashboard=False, log_to_driver=False)
    run(out, photos, how={**how, "num_gpus": 1, "part_size": 48})


def ended(*args, seconds=300, **how):
    """The exit code of a run in a process of its own: minus the number of the signal that killed it."""
    process = processes().Process(target=run, args=args, kwargs=how)
    process.start()
    process.join(seconds)
    assert process.exitcode is not None, "it hangs"
    return process.exitcode


def objects(out):
    """What lies in the output, by name: the bytes of arrays, and of records what does not depend on time."""
    found = {}
    for path in sorted(Path(out).rglob("*")):
        name = str(path.relative_to(out))
        half_written = path.name.startswith(".")  # by a process that was killed
        if path.is_file() and not half_written and not name.startswith(("attempts", "run.json")):
            found[name] = path.read_bytes()
            if name.endswith(".json") and name.startswith("parts"):
                record = json.loads(found[name])
                found[name] = {k: record[k] for k in ("part", "count", "explained", "aside", "given_up", "files")}
    return found


def terminated(out, photos):
    """A run that is terminated while it explains the part after the first one."""
    from keras_explainable.distributed.explainer import Explainer

    part, calls = Explainer.part, []

    def explain(*args):
        calls.append(args)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return part(*args)

    Explainer.part = explain
    run(out, photos)


def records(out):
    """The records of the parts that are done. Half-written ones have another name."""
    return [json.loads(path.read_text()) for path in sorted((out / "parts").glob("[0-9]*.json"))]


def begun(out, photos, variables, number, how):
    """A run in a process of its own, with at least so many parts done."""
    process = processes().Process(target=run, args=(out, photos), kwargs={"variables": variables, "how": how})
    process.start()
    until = time.time() + 150
    while len(records(out)) < number and process.is_alive():
        assert time.time() < until, "no part is done"
        time.sleep(0.02)
    return process


def worker_of(record):
    return int(record["worker"].rpartition(":")[2])
