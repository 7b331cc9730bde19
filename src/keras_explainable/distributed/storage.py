"""The files of a run, in a folder or an object store: each is there as a whole or not at all. What fails because a
store is busy is tried again."""

import contextlib
import hashlib
import os
import posixpath
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from keras_explainable.distributed.sources.stores import is_local, located, patiently
from keras_explainable.errors import OutputError


class Place:
    """A folder: of this machine, or of an object store by its URL. Names are relative to it, with slashes."""

    def __init__(self, url: str, options: Mapping[str, Any] | None = None) -> None:
        self.url, self.options = str(url), dict(options or {})
        self.files, root = located(self.url, self.options)
        self.local, self.root = is_local(self.files), root.rstrip("/")

    def path(self, name: str) -> str:
        """The path of a file as the file system takes it."""
        return posixpath.join(self.root, name)

    def read(self, name: str) -> bytes:
        """The contents of a file."""
        return patiently(self.files.cat_file, self.path(name))

    def write(self, name: str, data: bytes, durable: bool = True) -> None:
        """Write a file. Nobody ever sees a part of it. It outlives this process, and if it is durable also the
        machine's loss of power."""
        with self.refusals(name):
            patiently(self._write, name, data, durable)

    def _write(self, name: str, data: bytes, durable: bool) -> None:
        if not self.local:
            self.files.pipe_file(self.path(name), data)  # one PUT
            return
        path = Path(self.path(name))
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        try:
            with partial.open("wb") as file:
                file.write(data)
                if durable:
                    file.flush()
                    os.fsync(file.fileno())
            partial.replace(path)
            if durable:
                _sync(path.parent)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise

    def put(self, name: str, file: Path) -> None:
        """Move a file of this machine here."""
        with self.refusals(name):
            if self.local:
                path = Path(self.path(name))
                _sync(file)
                file.replace(path)
                _sync(path.parent)
            else:
                patiently(self.files.put_file, str(file), self.path(name))
                file.unlink()

    def exists(self, name: str) -> bool:
        """Whether there is such a file."""
        return patiently(self._exists, name)

    def _exists(self, name: str) -> bool:
        try:
            self.files.invalidate_cache()
            self.files.info(self.path(name))
        except FileNotFoundError:
            return False
        return True

    def names(self, folder: str, prefix: str = "") -> list[str]:
        """The names of the files in a folder, those of half-written ones left out."""
        found = patiently(self._listed, folder, prefix)
        names = (posixpath.basename(path) for path in found)
        return sorted(name for name in names if name.startswith(prefix) and not name.startswith("."))

    def _listed(self, folder: str, prefix: str) -> list[str]:
        self.files.invalidate_cache()
        try:
            if prefix and not self.local:  # of the objects in the folder, only some
                return self.files.glob(f"{self.path(folder)}/{prefix}*")
            return self.files.ls(self.path(folder), detail=False)
        except FileNotFoundError:
            return []

    def clear(self, folder: str) -> None:
        """Remove all files in a folder, also half-written ones."""
        for path in patiently(self._listed, folder, ""):
            self.remove(f"{folder}/{posixpath.basename(path)}")

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        with self.refusals(name), contextlib.suppress(FileNotFoundError):
            patiently(self.files.rm_file, self.path(name))

    def sha256(self, name: str) -> str | None:
        """The SHA-256 of a file; None if there is none."""
        try:
            return hashlib.sha256(self.read(name)).hexdigest()
        except FileNotFoundError:
            return None

    def sync(self, names: Iterable[str]) -> None:
        """Make files durable that others wrote."""
        if self.local:
            paths = [path for name in names if (path := Path(self.path(name))).exists()]
            for path in dict.fromkeys([*paths, *(path.parent for path in paths)]):
                _sync(path)

    @contextlib.contextmanager
    def refusals(self, name: str) -> Iterator[None]:
        """A scope in which the errors of the file system say what could not be done."""
        try:
            yield
        except OutputError:
            raise
        except OSError as error:
            raise OutputError(
                f"{posixpath.join(self.url, name)} cannot be written: {error.strerror or error}. Nothing of its part "
                "was committed. Mend this, and give the same command again: it goes on where it stopped."
            ) from error


def _sync(path: Path) -> None:
    """Have what was written to a file or folder on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
