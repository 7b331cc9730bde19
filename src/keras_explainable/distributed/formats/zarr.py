"""The arrays of a run in Zarr version 3: each part is one shard of the maps, and one chunk of every other array."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_explainable.distributed.commits import Commits, Record, reached
from keras_explainable.distributed.layout import Layout
from keras_explainable.distributed.sources.stores import patiently
from keras_explainable.distributed.storage import Place
from keras_explainable.errors import InputError

FOLDER = "maps.zarr"
CHUNK = 2**20  # bytes of the maps that are read at once, about
LEVEL = 3  # of zstd


class ZarrArrays:
    """The arrays of a run, of which each part has its own objects."""

    def __init__(self, place: Place, layout: Layout) -> None:
        self.place, self.layout = place, layout
        self._group: Any = None

    def group(self, mode: str = "r") -> Any:
        """The Zarr group."""
        import zarr

        if self._group is None or self._group.store.read_only != (mode == "r"):
            self._group = zarr.open_group(store(self.place, mode == "r"), mode=mode)
        return self._group

    def create(self, attributes: Mapping[str, Any], resizing: Mapping[str, np.ndarray]) -> None:
        """Write what describes the arrays, and the matrices that resize the maps. What is there is not removed."""
        import zarr

        with self.place.refusals(FOLDER):
            group = zarr.open_group(store(self.place), mode="a")
            group.attrs.update(attributes)
            part, compressor = self.layout.part_size, zarr.codecs.ZstdCodec(level=LEVEL)
            for name, shape, dtype in self.layout.arrays():
                one = int(np.prod(shape, dtype="int64")) * np.dtype(dtype).itemsize
                cut = _divisor(part, CHUNK // one) if shape[2:] else part
                own: Any = {"shards": (part, *shape)} if shape[2:] else {}
                if name not in group:
                    group.create_array(
                        name,
                        shape=(self.layout.rows, *shape),
                        chunks=(cut, *shape),
                        dtype=dtype,
                        fill_value=0,
                        compressors=compressor,
                        **own,
                    )
            for name, matrix in resizing.items():
                if name not in group:
                    group.create_array(name, shape=matrix.shape, dtype="float32", chunks=matrix.shape)[:] = matrix

    def check(self, fingerprint: str) -> None:
        """Raise if the arrays are those of another run."""
        if self.group("r+").attrs.get("fingerprint") != fingerprint:
            raise InputError(
                f"{self.place.url}/{FOLDER} has the settings of another run than run.json: two runs were begun there "
                "at the same time. Give another OUT."
            )

    def objects(self, part: int) -> list[str]:
        """The names of the objects of a part."""
        return [
            f"{FOLDER}/{name}/c/{'/'.join(map(str, (part, *(0,) * len(shape))))}"
            for name, shape, _ in self.layout.arrays()
        ]

    def write(self, part: int, arrays: Mapping[str, np.ndarray]) -> None:
        """Write the arrays of a part, and have them on the disk."""
        group, rows = self.group("r+"), self.layout.part_rows(part)
        objects = self.objects(part)
        with self.place.refusals(FOLDER):
            for (name, *_), path in zip(self.layout.arrays(), objects, strict=True):
                patiently(self._set, group[name], rows, arrays[name], path)
                reached(name.rpartition("/")[2], part)
            self.place.sync(objects)

    def _set(self, array: Any, rows: slice, values: np.ndarray, path: str) -> None:
        try:
            array[rows] = values
        except ValueError as error:
            # Zarr reads a shard before it replaces it, and so fails for ever on one that is torn. It is not removed
            # beforehand: another worker may have committed it.
            if not _is_torn(error):
                raise
            self.place.remove(path)
            array[rows] = values

    def commit(self, commits: Commits, record: Record, arrays: Mapping[str, np.ndarray], ids: list[str]) -> Record:
        """Write a part, and then its record."""
        self.write(record.part, arrays)
        files = {name: self.place.sha256(name) for name in self.objects(record.part)}
        record = Record(**{**vars(record), "files": files})
        self.place.write(commits.name(record.part), record.as_json().encode())
        return record

    def damaged(self, commits: Commits, record: Record) -> bool:
        """Whether an object of a part is not the one that was committed."""
        return any(self.place.sha256(name) != digest for name, digest in record.files.items())

    def read(self, names: list[str], rows: slice) -> dict[str, np.ndarray]:
        """Rows of some of the arrays."""
        return {name: np.asarray(self.group()[name][rows]) for name in names}

    def resizing(self, names: list[str]) -> list[np.ndarray] | None:
        """The matrices that resize maps along both axes; None if these maps are not resized."""
        group = self.group()
        return [group[name][:] for name in names] if names[0] in group else None


def store(place: Place, read_only: bool = False) -> Any:
    """The store of the group, as Zarr takes it."""
    import zarr

    if place.local:
        return zarr.storage.LocalStore(place.path(FOLDER), read_only=read_only)
    return zarr.storage.FsspecStore.from_url(
        f"{place.url.rstrip('/')}/{FOLDER}", storage_options=place.options, read_only=read_only
    )


def _divisor(number: int, most: int) -> int:
    """The largest divisor of a number that is not above `most`, and at least 1."""
    return next(n for n in range(max(1, min(number, most)), 0, -1) if number % n == 0)


def _is_torn(error: ValueError) -> bool:
    text = str(error).lower()
    return "checksum" in text or "crc32c" in text or "index" in text
