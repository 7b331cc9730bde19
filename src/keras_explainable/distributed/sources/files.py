"""The files of a source: of a folder, a pattern, a list, or one alone."""

import itertools
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from keras_explainable.distributed.sources import stores
from keras_explainable.errors import InputError

RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
CHOICE = re.compile(r"\{([^{}]*,[^{}]*)\}")
SPECIAL = re.compile(r"[*?\[{]")


class File(NamedTuple):
    """A file, and its name in the source."""

    name: str
    uri: str


def checked(source: Any) -> list[str]:
    """Return a list of paths and URLs. Raises: InputError: it is something else, or empty."""
    given = list(source) if isinstance(source, Iterable) and not isinstance(source, bytes) else [source]
    wrong = [one for one in given if not isinstance(one, str | Path)]
    if wrong or not given:
        came = f"A {type(wrong[0]).__name__} came" if wrong else "An empty list came"
        raise InputError(f"{came} as the source, and a folder, a URL, or a list of paths and URLs was expected.")
    return [str(one) for one in given]


def of_list(given: Sequence[str]) -> list[File]:
    """Return the files of a list, each named as it is there."""
    return [File(one, _absolute(one)) for one in given]


def _absolute(address: str) -> str:
    """The address as other machines and folders can use it."""
    return address if "://" in address else stores.address(*stores.located(address))


def of_address(source: str, options: Mapping[str, Any] | None) -> list[File]:
    """Return the files of a folder and the folders in it, of a pattern, or the one file that is there, by name."""
    files, path = stores.located(source, options)
    files.invalidate_cache()  # what an earlier listing of this process saw
    try:
        kind = files.info(path)["type"]
    except FileNotFoundError:
        kind = ""
    if kind == "directory":
        paths = _walk(path) if stores.is_local(files) else files.find(path)
        return _named(files, paths, path.rstrip("/") + "/")
    if kind:
        return _named(files, [path], path[: path.rfind("/") + 1])
    if special := SPECIAL.search(path):
        found = [one for name in expanded(path) for one in (files.glob(name) if re.search(r"[*?\[]", name) else [name])]
        return _named(files, found, path[: path.rfind("/", 0, special.start()) + 1])
    raise InputError(f"There is nothing at {source}: check the path, the bucket and the region.")


def expanded(pattern: str) -> list[str]:
    """Return the names that braces stand for: `{008..010}` for 008, 009, 010, and `{a,b}` for a and b."""
    found = RANGE.search(pattern) or CHOICE.search(pattern)
    if found is None:
        return [pattern]
    if found.re is RANGE:
        first, last = found[1], found[2]
        step = 1 if int(first) <= int(last) else -1
        width = max(len(first), len(last)) if "0" in (first[0], last[0]) else 0
        inside = [f"{n:0{width}d}" for n in range(int(first), int(last) + step, step)]
    else:
        inside = found[1].split(",")
    rests = expanded(pattern[found.end() :])
    return [f"{pattern[: found.start()]}{one}{rest}" for one, rest in itertools.product(inside, rests)]


def _named(files: Any, paths: Sequence[str], folder: str) -> list[File]:
    return [File(path.removeprefix(folder), stores.address(files, path)) for path in sorted(paths)]


def _walk(folder: str) -> list[str]:
    """The files below a folder of this machine. Links are followed, except into a folder that they are in."""
    found: list[str] = []
    for here, inside, names in os.walk(folder, onerror=_raise, followlinks=True):
        around = os.path.realpath(here) + os.sep
        inside[:] = [one for one in inside if not around.startswith(os.path.realpath(os.path.join(here, one)) + os.sep)]
        found += [f"{here}/{name}" for name in names]
    return found


def _raise(error: OSError) -> None:
    raise error


def groups(names: Sequence[str]) -> Iterator[tuple[str, list[int]]]:
    """Give the positions of the names that share what is before the first dot of their last part."""
    places: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        folder, slash, last = name.rpartition("/")
        places.setdefault(f"{folder}{slash}{last.partition('.')[0]}", []).append(place)
    yield from places.items()
