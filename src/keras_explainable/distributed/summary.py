"""What a run has done: a row for each image, and the counts of all."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import numpy as np

from keras_explainable.distributed import formats
from keras_explainable.distributed.commits import AT_ONCE, Commits, Record
from keras_explainable.distributed.layout import EXPLAINED, STATUS
from keras_explainable.distributed.plan import Plan, Run, known
from keras_explainable.distributed.storage import Place
from keras_explainable.errors import InputError

IMAGES = "images.parquet"
SHOWN = 20  # images that were set aside, of which a report has the reasons
SPACE = 50  # parts: the speed is that of the last ones


@dataclass
class Report:
    """The counts of a run: images in all, explained, set aside, given up, and left to do."""

    out: str
    images: int
    explained: int = 0
    aside: int = 0
    given_up: int = 0
    broken: int = 0
    parts: int = 0
    parts_done: int = 0
    per_second: float | None = None
    reasons: dict[str, str] = field(default_factory=dict)  # of some images, by id
    kinds: Counter = field(default_factory=Counter)  # how often each reason came
    notes: list[str] = field(default_factory=list)
    damaged: list[int] = field(default_factory=list)
    rest: int = 0  # images of this process's share that are not done, after a run by the engine "shard"

    @property
    def left(self) -> int:
        """The images that are not done yet."""
        return self.images - self.explained - self.aside - self.given_up

    @property
    def complete(self) -> bool:
        """Whether every image has a record, and no part is damaged."""
        return not self.left and not self.damaged

    def __str__(self) -> str:
        speed = f", {self.per_second:.1f} images/s" if self.per_second else ""
        lines = [
            f"{self.out}: {self.explained:,} of {self.images:,} images explained, {self.left:,} left, "
            f"{self.aside:,} set aside, {self.given_up:,} given up{speed}"
        ]
        if self.broken:
            lines.append(f"{self.broken:,} images have scores or maps that are not finite numbers.")
        lines += [f"  {count:,} x {reason}" for reason, count in self.kinds.most_common(8)]
        lines += [f"  {id}: {reason}" for id, reason in self.reasons.items()]
        if self.damaged:
            lines.append(
                f"Damaged: {len(self.damaged)} parts, such as {self.damaged[0]:05d}. To redo them, give the command of "
                "the run again with --verify."
            )
        return "\n".join([*lines, *(f"Note: {note}" for note in self.notes)])


def opened(out: str, options: Any) -> tuple[Place, Run]:
    """The run in a folder.

    Raises:
        InputError: there is none.
    """
    place = Place(out, options)
    run = known(place)
    if run is None:
        raise InputError(f"There is no run in {out}: it has no run.json. Check the path.")
    return place, run


def report(place: Place, run: Run, verify: bool = False) -> Report:
    """The counts of a run. With `verify`, also the parts whose objects are not those that were committed."""
    commits, plan = Commits(place, run.layout.format), Plan(place, run.layout)
    done = sorted(commits.done())
    found = Report(place.url, run.layout.images, parts=run.layout.parts, parts_done=len(done))
    ends: list[tuple[float, int]] = []
    for record in commits.records(done, found.damaged):
        add(found, record, plan)
        ends.append((record.time, record.count))
    found.per_second = speed(ends)
    if verify:
        found.damaged = damaged(place, run, done)
    return found


def add(found: Report, record: Record, plan: Plan) -> None:
    """Add the counts of a part."""
    found.explained += record.explained
    found.given_up += record.count if record.given_up else 0
    found.aside += 0 if record.given_up else len(record.aside)
    found.broken += record.broken
    found.kinds.update(record.aside.values() if not record.given_up else [record.given_up])
    found.notes += [note for note in record.notes if note not in found.notes and len(found.notes) < SHOWN]
    if (record.aside or record.given_up) and len(found.reasons) < SHOWN:
        ids = plan.ids(record.part)
        some = range(record.count) if record.given_up else sorted(record.aside)
        for i in list(some)[: SHOWN - len(found.reasons)]:
            found.reasons[ids[i]] = str(record.reason(i, 0))


def speed(ends: list[tuple[float, int]]) -> float | None:
    """Images per second between the ends of the last parts."""
    last = sorted(ends)[-SPACE:]
    seconds = last[-1][0] - last[0][0] if len(last) > 1 else 0
    return sum(count for _, count in last[1:]) / seconds if seconds > 0 else None


def damaged(place: Place, run: Run, parts: list[int]) -> list[int]:
    """The parts whose objects are not those that were committed."""
    commits, arrays = Commits(place, run.layout.format), formats.opened(place, run.layout)

    def one(part: int) -> bool:
        try:
            return arrays.damaged(commits, commits.record(part))
        except Exception:  # a record that cannot be read
            return True

    found = []
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for i in range(0, len(parts), 64 * AT_ONCE):
            some = parts[i : i + 64 * AT_ONCE]
            found += [part for part, wrong in zip(some, pool.map(one, some), strict=True) if wrong]
    return found


def tables(place: Place, run: Run) -> Iterator[Any]:
    """For each part a `pyarrow.Table` with a row for each image: the plan, and status, reason, unit and score."""
    import pyarrow as pa

    layout, plan = run.layout, Plan(place, run.layout)
    commits, arrays = Commits(place, layout.format), formats.opened(place, layout)
    done = commits.done()
    scores = {label: f"{layout.prefix(label)}scores" for label in layout.maps}
    for part in range(layout.parts):
        table = plan.part(part).drop_columns(["label"])
        count, rows = layout.count(part), layout.part_rows(part)
        status = np.zeros(count, "uint8")
        reasons: list[str | None] = [None] * count
        found: dict[str, np.ndarray] = {}
        if part in done:
            record = commits.record(part)
            found = arrays.read(["status", "units", *scores.values()], slice(rows.start, rows.start + count))
            status, reasons = found["status"], [record.reason(i, 0) for i in range(count)]
        absent = status != EXPLAINED
        table = table.append_column("status", pa.array([STATUS[one] for one in status], pa.string()))
        table = table.append_column("reason", pa.array(reasons, pa.string()))
        table = table.append_column("unit", _column(found.get("units"), absent, layout.units, pa.int32()))
        for label, name in scores.items():
            title = "score" if len(scores) == 1 else f"score.{label}"
            table = table.append_column(title, _column(found.get(name), absent, layout.units, pa.float32()))
        yield table


def _column(values: np.ndarray | None, absent: np.ndarray, units: int, kind: Any) -> Any:
    """One number for each image, or a list of several; null for images that are not explained."""
    import pyarrow as pa

    if units > 1:
        rows = [None if values is None or no else list(values[i]) for i, no in enumerate(absent)]
        return pa.array(rows, pa.list_(kind))
    return pa.array(np.zeros(len(absent)) if values is None else values[:, 0], kind, mask=absent, safe=False)


def write_images(place: Place, run: Run) -> None:
    """Write the table of all images, part by part."""
    import pyarrow.parquet as pq

    with NamedTemporaryFile(
        dir=place.path("") if place.local else None, prefix=f".{IMAGES}.", suffix=".partial", delete=False
    ) as file:
        writer = None
        try:
            for table in tables(place, run):
                writer = writer or pq.ParquetWriter(file, table.schema, compression="zstd")
                writer.write_table(table)
            assert writer is not None
            writer.close()
            file.flush()
            place.put(IMAGES, Path(file.name))
        finally:
            Path(file.name).unlink(missing_ok=True)
