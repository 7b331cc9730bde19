"""The images of WebDataset tars, by the places of their bytes: no image is read."""

import tarfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

from keras_explainable.distributed.sources import files, stores
from keras_explainable.distributed.sources.columns import Columns
from keras_explainable.errors import InputError
from keras_explainable.viz import image_files

AT_ONCE = 16  # tars of a store that are searched at once: each is read through, as sizes stand between images
BLOCK = 1 << 20  # bytes that are fetched at once


class Member(NamedTuple):
    """An image in a tar: its sample's name, its first byte, how many it has, and its sample's label."""

    key: str
    offset: int
    length: int
    label: Any


def members(given: Sequence[files.File], column: str, unit_column: str | None, options: Mapping | None) -> Columns:
    """Return the images of the tars."""
    search = partial(_searched, column=column, unit_column=unit_column, options=options)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = zip(given, pool.map(search, given), strict=True)
        rows = sorted((f"{file.name}/{member.key}", file.uri, *member[1:]) for file, some in found for member in some)
    ids, uris, offsets, lengths, labels = zip(*rows, strict=True) if rows else [()] * 5
    if not all(isinstance(label, int) for label in labels):
        labels = tuple(map(str, labels))
    return Columns(ids, uris, offsets, lengths, labels if unit_column else None)


def _searched(file: files.File, column: str, unit_column: str | None, options: Mapping | None) -> list[Member]:
    store, path = stores.located(file.uri, options)
    how = {} if stores.is_local(store) else {"block_size": BLOCK, "cache_type": "readahead"}
    try:
        with store.open(path, "rb", **how) as stream, tarfile.open(fileobj=stream, mode="r:") as tar:
            infos = [info for info in tar if info.isreg()]
            names = [info.name.removeprefix("./") for info in infos]
            chosen = {key: _image(file.name, names, places, column) for key, places in files.groups(names)}
            labels = _labels(tar, infos, names, unit_column) if unit_column else {}
    except FileNotFoundError:
        raise InputError(f"There is no tar {file.name} at {file.uri}: check the pattern.") from None
    except tarfile.TarError as error:
        raise InputError(f"{file.name} cannot be read as a tar: {error}. Is it whole, and not compressed?") from None
    found = {key: infos[place] for key, place in chosen.items() if place is not None}
    if unlabelled := [key for key in found if unit_column and key not in labels]:
        raise InputError(f"{file.name}/{unlabelled[0]} has no file .{unit_column}: name another unit_column.")
    if sparse := [key for key, info in found.items() if info.issparse()]:
        raise InputError(
            f"{file.name}/{sparse[0]} is a sparse file, which has no place of its own: write the tar anew."
        )
    return [Member(key, info.offset_data, info.size, labels.get(key)) for key, info in found.items()]


def _image(tar: str, names: Sequence[str], places: Sequence[int], column: str) -> int | None:
    """The place of a sample's image; None if it has none."""
    suffixes = {place: names[place].rpartition("/")[2].partition(".")[2] for place in places}
    named = [place for place, suffix in suffixes.items() if suffix.lower() == column.lower().removeprefix(".")]
    images = [place for place in places if names[place].lower().endswith(tuple(image_files.SUFFIXES))]
    found = named if column != "image" or len(named) == 1 else images
    if len(found) > 1:
        several = ", ".join(suffixes[place] for place in found)
        raise InputError(
            f"{tar}/{names[found[0]]} is one of several images of a sample ({several}): name one by column=."
        )
    return found[0] if found else None


def _labels(
    tar: tarfile.TarFile, infos: Sequence[tarfile.TarInfo], names: Sequence[str], suffix: str
) -> dict[str, Any]:
    """The texts of the files with this suffix, by sample; whole numbers as such."""
    texts = {}
    for key, places in files.groups(names):
        for place in places:
            if names[place].rpartition("/")[2].partition(".")[2] == suffix.removeprefix("."):
                stream = tar.extractfile(infos[place])
                text = stream.read().decode().strip() if stream else ""
                texts[key] = int(text) if text.lstrip("-").isdecimal() else text
    return texts
