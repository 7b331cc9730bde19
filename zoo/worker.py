"""One model in a process of its own: it is built, explained by each method, and looked at again; a row each."""

import importlib
import json
import os
import signal
import time
import traceback

SOURCES = {  # and the backend that each is made for
    "timm": ("zoo.sources.timm_models", "torch"),
    "torchvision": ("zoo.sources.torchvision_models", "torch"),
    "transformers": ("zoo.sources.transformers_models", "torch"),
    "others": ("zoo.sources.other_models", "torch"),
    "keras_hub": ("zoo.sources.keras_hub_models", "torch"),
    "keras.applications": ("zoo.sources.keras_models", "tensorflow"),
}
SHORT = 25  # seconds that one method may take
LEAST = 2  # seconds that must be left for another method


class TooLongError(BaseException):
    """A method took longer than it may; no library's `except Exception` takes it for its own."""


def names(source):
    return list(importlib.import_module(SOURCES[source][0]).NAMES)


def build(source, name):
    return importlib.import_module(SOURCES[source][0]).build(name)


def work(source, name, methods, seconds, file):
    """The rows of a model are added to a file, as JSON, one a line."""

    def add(row):
        line = json.dumps({"source": source, "model": name} | row, default=str) + "\n"
        with open(file, "a") as lines:
            lines.write(line)  # less than a page of the pipe, and so in one piece

    for row in rows(source, name, methods, seconds):
        add(row)
    add({"method": "end", "outcome": "ran", "seconds": round(time.process_time(), 1)})


def rows(source, name, methods, end):
    """Rows of one model: `built` with its size, each method, and `unchanged` with what an explanation left behind.

    Time is that of the processor, so that it does not matter what else is at work; it ends at `end` seconds.
    """
    try:
        subject = build(source, name)
        reference = subject.scores(subject.images)
        again = subject.scores(subject.images)
    except Exception as failure:  # a version that no longer has it, or a size that does not fit
        told = traceback.extract_tb(failure.__traceback__)[-1]
        why = f"{type(failure).__name__}: {str(failure)[:400]} ({os.path.basename(told.filename)}:{told.lineno})"
        yield {"method": "built", "outcome": "failed", "why": why}
        return
    from zoo.checks import METHODS, check

    differ = abs(again - reference).max() > 1e-3 * abs(reference).max()
    facts = {"shape": list(subject.images.shape), "note": subject.note, "weights": subject.weights}
    yield {"method": "built", "outcome": "ran", "differ": bool(differ)} | facts
    before = subject.state()
    for method in methods or METHODS:
        if method in subject.without or (method == "without_score" and subject.score is None):
            continue
        left = end - time.process_time()
        if left < LEAST:
            yield {"method": method, "outcome": "not reached"}
            continue
        row = limited(lambda method=method: check(subject, method, reference), min(left, SHORT), method)
        yield random(row) if differ else row
    found = subject.changed(before)
    yield {"method": "unchanged", "outcome": "wrong" if found else "right", "why": "; ".join(found)[:600]}


def random(row):
    """What is said of a model of which two runs differ: whether a warning says so."""
    if row["outcome"] not in ("right", "ran", "wrong"):
        return row
    warned = any("differ" in text or "random" in text for text in row.get("warnings", ()))
    told = "two runs of the model differ, and " + ("a warning says so" if warned else "nothing says so")
    return row | {"outcome": "ran" if warned else "wrong", "why": told}


def limited(run, seconds, method):
    def stop(*_):
        raise TooLongError

    signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        return run()
    except TooLongError:
        return {"method": method, "outcome": "too long", "why": f"over {seconds:.0f} s"}
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
