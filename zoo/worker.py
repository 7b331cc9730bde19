"""Build one model in its own process, explain it by each method, and check that it is unchanged: a row for each."""

import importlib
import json
import os
import signal
import time
import traceback

SOURCES = {  # source -> its module and its backend
    "timm": ("zoo.sources.timm_models", "torch"),
    "torchvision": ("zoo.sources.torchvision_models", "torch"),
    "transformers": ("zoo.sources.transformers_models", "torch"),
    "others": ("zoo.sources.other_models", "torch"),
    "keras_hub": ("zoo.sources.keras_hub_models", "torch"),
    "keras.applications": ("zoo.sources.keras_models", "tensorflow"),
}
SHORT = 25  # seconds that one method may take
LEAST = 2  # seconds that must be left to start another method


class TooLongError(BaseException):
    """A method exceeded its time limit. Not an `Exception`, so that no library catches it."""


def names(source):
    return list(importlib.import_module(SOURCES[source][0]).NAMES)


def build(source, name):
    return importlib.import_module(SOURCES[source][0]).build(name)


def work(source, name, methods, seconds, file):
    """Append the rows of a model to a file, as one line of JSON each."""

    def add(row):
        line = json.dumps({"source": source, "model": name} | row, default=str) + "\n"
        with open(file, "a") as lines:
            lines.write(line)  # short enough to be written in one piece

    for row in rows(source, name, methods, seconds):
        add(row)
    add({"method": "end", "outcome": "ran", "seconds": round(time.process_time(), 1)})


def rows(source, name, methods, end):
    """Yield the rows of one model: `built` with its size, each method, and `unchanged` with what explanations changed.

    Time is processor time, so that other processes do not matter. It ends at `end` seconds.
    """
    try:
        subject = build(source, name)
        reference = subject.scores(subject.images)
        again = subject.scores(subject.images)
    except Exception as failure:  # a version without this model, or a size that does not fit
        last = traceback.extract_tb(failure.__traceback__)[-1]
        why = f"{type(failure).__name__}: {str(failure)[:400]} ({os.path.basename(last.filename)}:{last.lineno})"
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
    """Judge a model of which two runs differ by whether a warning says so."""
    if row["outcome"] not in ("right", "ran", "wrong"):
        return row
    warned = any("differ" in text or "random" in text for text in row.get("warnings", ()))
    why = "two runs of the model differ, and " + ("a warning says so" if warned else "no warning says so")
    return row | {"outcome": "ran" if warned else "wrong", "why": why}


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
