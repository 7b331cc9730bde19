"""Run each model in its own process, several at a time and each with a time limit. Finished models are skipped."""

import json
import multiprocessing
import os
import time
from pathlib import Path

from zoo import worker

SECONDS = 40  # processor time for building and explaining one model
LONGER = {"keras.applications": 3}  # factor of the time limit: TensorFlow runs without compiling
PATIENCE = 4  # a process is ended after this many times its limit
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
FORKED = {"torch"}  # frameworks that work after a fork: imported once, by `zoo.preload`


def results(file):
    """Return the last row of each source, model and method."""
    rows = {}
    for line in file.read_text().splitlines() if file.exists() else ():
        row = json.loads(line)
        rows[row["source"], row["model"], row["method"]] = row
    return rows


def done(file):
    """Return the sources and models that finished or ran out of time."""
    return {(source, model) for source, model, method in results(file) if method == "end"}


def run(jobs, methods, file, at_once, seconds=SECONDS):
    """Run the `(source, model)` jobs, those of a backend together."""
    for name in THREADS:
        os.environ[name] = "1"
    os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}
    number = 0
    for backend in dict.fromkeys(backend for _, backend in worker.SOURCES.values()):
        os.environ["KERAS_BACKEND"] = backend
        context = multiprocessing.get_context("forkserver" if backend in FORKED else "spawn")
        if backend in FORKED:
            context.set_forkserver_preload(["zoo.preload"])
        waiting = [job for job in jobs if worker.SOURCES[job[0]][1] == backend]
        for line in several(context, waiting, methods, file, at_once, seconds):
            number += 1
            print(f"{number:4d}/{len(jobs)} {line}", flush=True)


def several(context, waiting, methods, file, at_once, seconds):
    """Keep `at_once` processes running, and yield a line for each that ends."""
    waiting, busy = list(waiting), {}
    while waiting or busy:
        while waiting and len(busy) < at_once:
            job = waiting.pop(0)
            limit = seconds * LONGER.get(job[0], 1)
            process = context.Process(target=worker.work, args=(*job, methods, limit, str(file)), daemon=True)
            process.start()
            busy[job] = process, time.monotonic(), limit
        for job, (process, begun, limit) in list(busy.items()):
            spent = time.monotonic() - begun
            if process.is_alive() and spent < limit * PATIENCE:
                continue
            why = ended(process)
            if why:
                row = {"source": job[0], "model": job[1], "outcome": "crash", "why": why, "seconds": round(spent)}
                with Path(file).open("a") as lines:
                    lines.write("".join(json.dumps(row | {"method": m}) + "\n" for m in ("process", "end")))
            del busy[job]
            yield f"{job[0]} {job[1]}: {spent:.0f} s{', ' + why if why else ''}"
        time.sleep(0.1)


def ended(process):
    """Return why a process failed, or "". A process that is still alive is stopped."""
    if process.is_alive():
        process.kill()
        process.join()
        return "out of time"
    process.join()
    return f"ended with {process.exitcode}" if process.exitcode else ""
