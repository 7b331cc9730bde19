"""Runs a job: freezes the list of images, has an engine explain the parts that are left, and checks what came out."""

import hashlib
import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import keras_explainable as ke
from keras_explainable.distributed import engines, plan, reading, sources, summary
from keras_explainable.distributed.commits import ATTEMPTS, Commits
from keras_explainable.distributed.layout import Layout
from keras_explainable.distributed.plan import Run
from keras_explainable.distributed.progress import Progress
from keras_explainable.distributed.settings import Job, check_same, fingerprint
from keras_explainable.distributed.storage import Place
from keras_explainable.distributed.summary import Report
from keras_explainable.errors import InputError, shortly

UNIT = re.compile(r"predicted|all|top-[1-9]\d{0,8}|column:.+")
MODEL = "model.keras"
SAMPLED = 64  # images that are read before a run begins
ROUNDS = 3  # in how many rounds damaged parts are redone
PATIENCE = 900.0  # seconds that a rank waits for the first one to write the plan


@dataclass(frozen=True)
class Wanted:
    """What a user asked for."""

    job: Job
    settings: dict[str, Any]
    source: Any
    given_model: Any
    part_size: int | None
    engine: str
    workers: int | None
    cpus: float | None
    gpus: float
    verbose: int | str


def run(wanted: Wanted, retry: bool, verify: bool) -> Report:
    """Begin the run, or go on with it, until all parts are done. Return its report."""
    job = wanted.job
    place = Place(job.out, job.storage_options)
    engine = engines.of(wanted)
    try:
        known = plan.known(place) or _begun(place, wanted, engine)
        job = _going_on(place, wanted, known)
        commits = Commits(place, known.layout.format)
        if retry:
            undo(place, commits, _with_failures(commits))
        if verify:
            undo(place, commits, summary.damaged(place, known, sorted(commits.done())))
        progress = Progress(known.layout, len(commits.done()), wanted.verbose)
        for _ in range(ROUNDS):
            todo = sorted(engine.share(set(range(known.layout.parts)) - commits.done()))
            for record in engine.run(job, todo) if todo else ():
                progress.add(record)
            if set(range(known.layout.parts)) - commits.done() or place.exists(summary.IMAGES):
                break  # other ranks are at work, or all was checked before
            damaged = summary.damaged(place, known, list(range(known.layout.parts)))
            if not damaged:
                place.clear(ATTEMPTS)
                summary.write_images(place, known)
                break
            undo(place, commits, damaged)
    finally:
        engine.close()
    report = summary.report(place, known)
    own = engine.share(set(range(known.layout.parts)) - commits.done())
    report.rest = sum(known.layout.count(part) for part in own)
    return report


def _begun(place: Place, wanted: Wanted, engine: Any) -> Run:
    """Write the plan of a run. Only the first of several ranks does; the others wait for it."""
    if engine.rank != 0:
        return _waited_for(place)
    job = _with_model(place, wanted)
    listed = sources.listing(
        wanted.source,
        column=wanted.settings["column"],
        id_column=wanted.settings["id_column"],
        unit_column=_unit_column(job.unit),
        storage_options=job.storage_options,
    )
    found, shapes, matrices = engine.first(job)
    check_source(listed, tuple(found["size"]), found["fit"], job)
    layout = Layout(
        len(listed),
        plan.part_size(wanted.part_size, len(listed), job.batch_size, tuple(found["size"])),
        tuple(found["size"]),
        shapes,
        job.dtype,
        wanted.settings["format"],
    )
    about = {
        "found": found,
        "fingerprint": fingerprint({**wanted.settings, **found, "part_size": layout.part_size}),
        "versions": {"keras_explainable": ke.__version__, "numpy": np.__version__},
        "time": time.time(),
    }
    return plan.write(place, listed, Run(wanted.settings, layout, about), matrices)


def _waited_for(place: Place) -> Run:
    """The run that another rank begins."""
    until = time.time() + PATIENCE
    while time.time() < until:
        if (known := plan.known(place)) is not None:
            return known
        time.sleep(1)
    raise InputError(
        f"There is no plan in {place.url} after {PATIENCE:.0f} s, and the first rank was expected to write one: see "
        "why it did not."
    )


def _going_on(place: Place, wanted: Wanted, known: Run) -> Job:
    """The job of a run that was begun.

    Raises:
        InputError: it is another run.
    """
    job, found = wanted.job, known.about["found"]
    now = dict(wanted.settings)
    if not found["draws"] and known.layout.part_size % job.batch_size == 0:
        now["batch_size"] = known.settings["batch_size"]  # it changes no value
    there = {**known.settings, "part_size": known.layout.part_size}
    if wanted.part_size is not None:
        now["part_size"] = wanted.part_size
    for name in ("scale", "size", "fit"):  # what was not given is what the model takes
        there[name] = found[name]
        now.setdefault(name, found[name])
    check_same(job.out, there, now)
    job = replace(job, found=found)
    if wanted.given_model is not None:
        from keras_explainable.distributed.explainer import digest

        check_same(job.out, found, {"weights": digest(wanted.given_model)})
        job = replace(job, model=replace(job.model, name=f"{job.out}/{MODEL}"))
    return job


def _with_model(place: Place, wanted: Wanted) -> Job:
    """The job, whose model is saved in the output if it was given itself."""
    if wanted.given_model is None:
        return wanted.job
    from keras_explainable.distributed.explainer import saved

    place.write(MODEL, saved(wanted.given_model))
    return replace(wanted.job, model=replace(wanted.job.model, name=f"{wanted.job.out}/{MODEL}"))


def check_source(listed: Any, size: tuple[int, int], fit: str, job: Job) -> None:
    """Read some of the images before any work, from all over the list.

    Raises:
        InputError: over half of them cannot be explained: the source or its credentials are wrong.
    """
    rows = np.unique(np.linspace(0, len(listed) - 1, SAMPLED).astype(int))
    some = listed.take(rows).to_pylist()
    bad: list[str] = []
    for i, batch in enumerate(
        reading.batches((some[j : j + 8] for j in range(0, len(some), 8)), 8, size, fit, job.storage_options)
    ):
        bad += [f"{some[8 * i + place]['id']}: {why}" for place, why in sorted(batch.aside.items())]
    if 2 * len(bad) > len(some):
        raise InputError(
            f"{len(bad)} of {len(some)} images from all over the source cannot be explained: {' '.join(bad[:3])} Check "
            "the source and its credentials."
        )


def undo(place: Place, commits: Commits, parts: Sequence[int]) -> None:
    """Have some parts explained once more."""
    if parts:
        place.remove(summary.IMAGES)
    for part in parts:
        commits.undo(part)


def _with_failures(commits: Commits) -> list[int]:
    """The parts with images that were set aside, or that were given up."""
    return [record.part for record in commits.records(sorted(commits.done())) if record.aside or record.given_up]


def _unit_column(unit: int | str) -> str | None:
    return unit.removeprefix("column:") if isinstance(unit, str) and unit.startswith("column:") else None


def checked_unit(unit: Any, labels: tuple[str, ...] | None) -> int | str:
    """The unit of a job: a number or a text. A number may come as text, as from a command line."""
    if isinstance(unit, int | np.integer) and not isinstance(unit, bool) and unit >= 0:
        return int(unit)
    if isinstance(unit, str) and unit.isdecimal():
        return int(unit)
    if isinstance(unit, str) and (UNIT.fullmatch(unit) or labels is None or unit in labels):
        return unit
    raise InputError(
        f'unit={shortly(unit)} came, and a number, "predicted", "top-3", "all", "column:NAME" or the name of a class '
        "was expected."
    )


def absolute(out: str | Path) -> str:
    """The output as every worker finds it."""
    text = str(out)
    return text.rstrip("/") if "://" in text else str(Path(text).expanduser().resolve())


def named_source(source: Any) -> Any:
    """The source as it is named in the settings of a run."""
    if isinstance(source, str | Path):
        return absolute(source)
    texts = [str(one) for one in source]
    return {"list": len(texts), "sha256": hashlib.sha256(json.dumps(texts).encode()).hexdigest()}
