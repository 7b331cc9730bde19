"""Read and write files safely: only regular files are read, and files are written whole or not at all."""

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

from keras_explainable.errors import InputError, ModelFileError, OutputError, printable

ELSEWHERE = "Choose another folder."
KEPT = "Choose another folder, or --overwrite (overwrite=True)."


def open_file(path: str | Path) -> BinaryIO:
    """Open a regular file for reading.

    Raises: ModelFileError: it is a pipe or a device, which may never end. OSError: it cannot be opened.
    """
    file = open(path, "rb", opener=_at_once)  # noqa: SIM115
    if not S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise ModelFileError(f"{printable(path)} is a pipe or a device, and a regular file was expected.")
    return file


def _at_once(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # opening a pipe without a writer would block


def write(path: Path, save: Callable[[BinaryIO], object]) -> Path:
    """Write a file by calling `save` with it. It is written under a temporary name in its folder, then renamed.

    A failure leaves an existing file as it was; otherwise it is replaced. If it is a link, the link is replaced, not
    its target.

    Raises:
        InputError: the name is too long. OutputError: the system refuses anything else.
    """
    part = path.with_name(f".{secrets.token_hex(8)}{path.suffix}")  # some formats are chosen by the suffix
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
                f"The name {printable(path.name)} is too long for {printable(path.parent)}. Rename the image."
            ) from None
        why = error.strerror or error
        raise OutputError(f"{printable(path)} cannot be written: {why}. {ELSEWHERE}") from error
    return path


@dataclass(frozen=True)
class Out:
    """The output folder of a command. Links inside it are not followed. Files are replaced only if `overwrite`."""

    folder: Path
    overwrite: bool = False

    def check(self, names: Iterable[str]) -> None:
        """Check the folder before the work.

        Raises: OutputError: it cannot be written into, or it has a file with one of these names.
        """
        there = next(place for place in (self.folder, *self.folder.parents) if os.path.exists(place))
        if not there.is_dir():
            raise OutputError(f"{printable(there)} is a file, and a folder to write into was expected. {ELSEWHERE}")
        if not os.access(there, os.W_OK | os.X_OK):
            raise OutputError(f"{printable(there)} cannot be written into. {ELSEWHERE}")
        try:
            self.folder.stat()
        except FileNotFoundError:
            pass  # it is created when the first file is written
        except OSError as error:
            raise OutputError(
                f"{printable(self.folder)} cannot be written into: {error.strerror}. {ELSEWHERE}"
            ) from None
        if taken := [name for name in names if self._keeps(name)]:
            others = f", and {len(taken) - 1} more of the files to be written" if len(taken) > 1 else ""
            raise OutputError(f"{printable(self.folder / taken[0])} exists{others}. {KEPT}")

    def write(self, name: str, save: Callable[[BinaryIO], object]) -> Path:
        """Write one file by calling `save` with it. Its name may contain folders.

        Raises: InputError: this name cannot be written. OutputError: the folder cannot be written into.
        """
        path = self.folder / name
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise InputError(f"{printable(name)} is outside {printable(self.folder)}, and a name inside was expected.")
        for place in path.parents[: len(Path(name).parts) - 1]:
            if place.is_symlink():
                raise InputError(f"{printable(place)} is a link, and links are not followed. Remove it.")
        if self._keeps(name):
            raise InputError(f"{printable(path)} exists. {KEPT}")
        return write(path, save)

    def _keeps(self, name: str) -> bool:
        return not self.overwrite and os.path.lexists(self.folder / name)


def distinct(names: Sequence[str], endings: Sequence[str] = ("",)) -> list[str]:
    """Number the names so that no two files, with any of the endings, share a name.

    Names that differ only in case, or in how accents are composed, count as equal, as some file systems treat them."""
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
