"""Which parts of a run are done. A part is done once its record is there, which is written last and as a whole. No
locks: two workers that explain the same part write the same values."""

import json
import os
import posixpath
import socket
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

from keras_explainable.distributed import layout
from keras_explainable.distributed.sources.stores import is_transient
from keras_explainable.distributed.storage import Place

RECORDS, ATTEMPTS = "parts", "attempts"
AT_ONCE = 16  # files read at once


@dataclass(frozen=True)
class Record:
    """What is known of a part that is done. `aside` has the reasons by place in the part; `files` the SHA-256 of each
    array's object, None if there is no object, because all its values are 0."""

    part: int
    count: int
    explained: int
    aside: dict[int, str]
    given_up: str = ""  # why the part was given up, if it was
    broken: int = 0  # images whose scores or maps have values that are not finite
    files: dict[str, str | None] = field(default_factory=dict)
    attempt: int = 1
    seconds: float = 0.0
    time: float = 0.0
    worker: str = ""
    notes: tuple[str, ...] = ()

    def reason(self, row: int, first: int) -> str | None:
        """Why an image was not explained; None if it was."""
        return self.given_up or self.aside.get(row - first)

    def as_json(self) -> str:
        """The record as text."""
        return json.dumps(asdict(self))

    @classmethod
    def of(cls, text: str | bytes) -> "Record":
        """The record of a text."""
        known = json.loads(text)
        return cls(**known | {"aside": {int(k): v for k, v in known["aside"].items()}, "notes": tuple(known["notes"])})


def reached(point: str, part: int) -> None:
    """Called between the steps of a part. Tests replace it, to end the process there."""


def me() -> str:
    """The name of this process: its machine and number."""
    return f"{socket.gethostname()}:{os.getpid()}"


class Commits:
    """The parts of a run that are done, and those that were begun.

    Args:
        session: the run of the driver that the attempts belong to. Deaths in another session of the engine `ray` are
            not counted: there its driver may have died.
    """

    def __init__(self, place: Place, format: str, session: str = "") -> None:
        self.place, self.session = place, session
        self.ending = ".parquet" if format == "parquet" else ".json"

    def done(self) -> set[int]:
        """The parts that are done."""
        return {int(n.removesuffix(self.ending)) for n in self.place.names(RECORDS) if n.endswith(self.ending)}

    def name(self, part: int) -> str:
        """The name of the file that says that a part is done."""
        return f"{RECORDS}/{layout.name(part)}{self.ending}"

    def is_done(self, part: int) -> bool:
        """Whether a part is done."""
        return self.place.exists(self.name(part))

    def record(self, part: int) -> Record:
        """The record of a part that is done."""
        if self.ending == ".json":
            return Record.of(self.place.read(self.name(part)))
        from keras_explainable.distributed.formats import parquet

        return parquet.record(self.place, self.name(part))

    def records(self, parts: Iterable[int], unreadable: list[int] | None = None) -> Iterator[Record]:
        """The records of parts that are done. Parts whose record is damaged are added to `unreadable`."""
        some = list(parts)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for i in range(0, len(some), 64 * AT_ONCE):  # not all are in memory at once
                own = some[i : i + 64 * AT_ONCE]
                for part, record in zip(own, pool.map(self._readable, own), strict=True):
                    if record is not None:
                        yield record
                    elif unreadable is not None:
                        unreadable.append(part)

    def _readable(self, part: int) -> Record | None:
        try:
            return self.record(part)
        except OSError as error:
            if is_transient(error):
                raise
            return None
        except Exception:  # whatever a damaged file raises
            return None

    def begin(self, part: int | str) -> int:
        """Note that a part is begun. Return how many processes died with it: how often it was begun in this session
        without an end, by processes that are not known to be at work."""
        before = [name for name in self._attempts(part) if name.rpartition("-")[2] == self.session]
        number = max((int(name.split(".")[1].split("-")[0]) for name in before), default=0) + 1
        name = f"{ATTEMPTS}/{_stem(part)}.{number}-{self._own()}"
        self.place.write(name, json.dumps(_now()).encode(), durable=False)
        return sum(not self._is_at_work(name) for name in before)

    def _is_at_work(self, name: str) -> bool:
        """Whether the process of an attempt is another one on this machine that still runs."""
        try:
            machine, _, pid = json.loads(self.place.read(f"{ATTEMPTS}/{name}"))["worker"].rpartition(":")
            if machine != socket.gethostname() or int(pid) == os.getpid():
                return False
            os.kill(int(pid), 0)
        except (FileNotFoundError, ProcessLookupError):
            return False
        except PermissionError:  # somebody else's process
            return True
        return True

    def begun(self) -> set[int]:
        """The parts that processes died with, or that others explain now."""
        return {int(stem) for name in self.place.names(ATTEMPTS) if (stem := name.split(".")[0]).isdecimal()}

    def end(self, part: int | str, all: bool = False) -> None:
        """Forget that this process began a part: it committed it, or an error was raised. With `all`, forget also those
        that died with it."""
        for name in self._attempts(part):
            if all or name.endswith(self._own()):
                self.place.remove(f"{ATTEMPTS}/{name}")

    def undo(self, part: int) -> None:
        """Have a part explained once more."""
        self.place.remove(self.name(part))
        self.end(part, all=True)

    def _attempts(self, part: int | str) -> list[str]:
        return self.place.names(ATTEMPTS, f"{_stem(part)}.")

    def _own(self) -> str:
        return f"{os.getpid()}-{self.session}"

    def in_folder(self, name: str) -> str:
        """The path of a file of the run, as a reader of the output sees it."""
        return posixpath.join(self.place.url, name)


def _stem(part: int | str) -> str:
    return part if isinstance(part, str) else layout.name(part)


def _now() -> dict[str, Any]:
    return {"worker": me(), "time": time.time()}
