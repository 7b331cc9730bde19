"""Files that are read and written: images are regular files, and what is written is there whole or not at all."""

import errno
import os
import secrets
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from stat import S_ISREG
from typing import BinaryIO

from keras_explainable.errors import InputError, ModelFileError, OutputError
from keras_explainable.viz.tables import shown

ELSEWHERE = "Choose another folder."
KEPT = "Choose another folder, or --overwrite (overwrite=True)."


def opened(path: str | Path) -> BinaryIO:
    """A regular file, open to be read.

    Raises: ModelFileError: it is a pipe, a device or the like, which may never end. OSError: there is no such file.
    """
    file = open(path, "rb", opener=_at_once)  # noqa: SIM115
    if not S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise ModelFileError(f"{shown(path)} is a pipe or a device. Expected a regular file.")
    return file


def _at_once(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # a pipe that nobody writes to would be waited for


def write(path: Path, save: Callable[[BinaryIO], object]) -> Path:
    """Write a file by `save`, which gets it open: under another name in its folder at first, and then renamed.

    So a failure leaves what was there. What was there is replaced; of a link it is the link, not what it leads to.

    Raises:
        InputError: the name is too long. OutputError: anything else that the system refuses.
    """
    part = path.with_name(f".{secrets.token_hex(8)}{path.suffix}")  # some formats are chosen by the ending
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(part, "x+b") as file:
                save(file)
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise InputError(
                f"{shown(path.name)} is too long a name for {shown(path.parent)}. Rename the image."
            ) from None
        why = error.strerror or error
        raise OutputError(f"{shown(path)} cannot be written: {why}. {ELSEWHERE}") from error
    return path


@dataclass(frozen=True)
class Out:
    """The folder that a command writes into. No link inside is followed, and nothing there is replaced, unless
    `overwrite`."""

    folder: Path
    overwrite: bool = False

    def check(self, names: Iterable[str]) -> None:
        """Refuse a folder that cannot be written into, or holds a file of one of these names: before the work.

        Raises: OutputError.
        """
        there = next(place for place in (self.folder, *self.folder.parents) if os.path.exists(place))
        if not there.is_dir():
            raise OutputError(f"{shown(there)} is a file, and a folder to write into was expected. {ELSEWHERE}")
        if not os.access(there, os.W_OK | os.X_OK):
            raise OutputError(f"{shown(there)} cannot be written into. {ELSEWHERE}")
        try:
            self.folder.stat()
        except FileNotFoundError:
            pass  # it is made when there is something to write
        except OSError as error:
            raise OutputError(f"{shown(self.folder)} cannot be written into: {error.strerror}. {ELSEWHERE}") from None
        if taken := [name for name in names if self._keeps(name)]:
            others = f", and {len(taken) - 1} more of the files to be written" if len(taken) > 1 else ""
            raise OutputError(f"{shown(self.folder / taken[0])} exists{others}. {KEPT}")

    def write(self, name: str, save: Callable[[BinaryIO], object]) -> Path:
        """Write one file, whose name may contain folders, by `save`, which gets it open.

        Raises: InputError: this name cannot be written. OutputError: the folder cannot.
        """
        path = self.folder / name
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise InputError(f"{shown(name)} is a place outside {shown(self.folder)}. Expected a name inside.")
        for place in path.parents[: len(Path(name).parts) - 1]:
            if place.is_symlink():
                raise InputError(f"{shown(place)} is a link to another place, which is not written to. Remove it.")
        if self._keeps(name):
            raise InputError(f"{shown(path)} exists. {KEPT}")
        return write(path, save)

    def _keeps(self, name: str) -> bool:
        return not self.overwrite and os.path.lexists(self.folder / name)


def distinct(names: Sequence[str], endings: Sequence[str] = ("",)) -> list[str]:
    """The names, numbered where with one of the endings it would be the name of another's file, also where names that
    differ in case, or in how accents are composed, are one."""
    taken: set[str] = set()
    chosen = []
    for name in names:
        numbered = (f"{name}-{n}" for n in count(2))
        one = next(one for one in chain([name], numbered) if taken.isdisjoint(_folded(one + end) for end in endings))
        taken.update(_folded(one + end) for end in endings)
        chosen.append(one)
    return chosen


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())
