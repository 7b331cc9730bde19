"""The arrays of a run in Parquet: a file for each part, which is its own record. It has a row for each image, and maps
as bytes in the order (h, w, K)."""

import hashlib
import io
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from keras_explainable.distributed.commits import Commits, Record, reached
from keras_explainable.distributed.layout import STATUS, Layout
from keras_explainable.distributed.plan import RESIZING
from keras_explainable.distributed.storage import Place

ABOUT = b"keras_explainable"  # the key of a file's record


class ParquetArrays:
    """The arrays of a run, of which each part has a file."""

    def __init__(self, place: Place, layout: Layout) -> None:
        self.place, self.layout = place, layout

    def create(self, attributes: Mapping[str, Any], resizing: Mapping[str, np.ndarray]) -> None:
        """Write the matrices that resize the maps."""
        buffer = io.BytesIO()
        named: dict[str, Any] = {name.replace("/", "."): matrix for name, matrix in resizing.items()}
        np.savez(buffer, **named)
        self.place.write(RESIZING, buffer.getvalue())

    def check(self, fingerprint: str) -> None:
        """Nothing is shared by the parts, so there is nothing to check."""

    def commit(self, commits: Commits, record: Record, arrays: Mapping[str, np.ndarray], ids: list[str]) -> Record:
        """Write a part with its record."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        count, first = record.count, self.layout.part_rows(record.part).start
        columns: dict[str, Any] = {
            "row": pa.array(range(first, first + count), pa.int64()),
            "id": pa.array(ids, pa.string()),
            "status": pa.array([STATUS[one] for one in arrays["status"][:count]]),
            "reason": pa.array([record.reason(first + i, first) for i in range(count)], pa.string()),
        }
        shapes = {}
        for name, shape, dtype in self.layout.arrays():
            if name != "status":
                columns[name.replace("/", ".")] = _column(arrays[name][:count], shape)
                shapes[name] = f"{dtype}{list(shape)}"
        digest = hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for _, a in sorted(arrays.items())))
        record = replace(record, files={self.name(record.part): digest.hexdigest()})
        about = {ABOUT: record.as_json().encode(), b"shapes": repr(shapes).encode()}
        buffer = io.BytesIO()
        pq.write_table(pa.table(columns).replace_schema_metadata(about), buffer, compression="zstd")
        for name, _, _ in self.layout.arrays():
            reached(name.rpartition("/")[2], record.part)
        self.place.write(self.name(record.part), buffer.getvalue())
        return record

    def name(self, part: int) -> str:
        """The name of the file of a part."""
        return Commits(self.place, "parquet").name(part)

    def damaged(self, commits: Commits, record: Record) -> bool:
        """Whether the values of a part are not those that were committed."""
        try:
            arrays = self._part(record.part)
        except Exception:  # whatever a damaged file raises
            return True
        found = hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for _, a in sorted(arrays.items())))
        return record.files.get(self.name(record.part)) != found.hexdigest()

    def read(self, names: list[str], rows: slice) -> dict[str, np.ndarray]:
        """Rows of some of the arrays; 0 where a part is not done."""
        size = self.layout.part_size
        found: dict[str, list[np.ndarray]] = {name: [] for name in names}
        for part in range(rows.start // size, -(-rows.stop // size)):
            arrays = self._part(part, names)
            own = slice(max(rows.start - part * size, 0), rows.stop - part * size)
            for name in names:
                found[name].append(arrays[name][own])
        return {name: np.concatenate(some) for name, some in found.items()}

    def _part(self, part: int, names: list[str] | None = None) -> dict[str, np.ndarray]:
        """The arrays of a part, filled up with 0."""
        import pyarrow.parquet as pq

        wanted = [one for one in self.layout.arrays() if names is None or one[0] in names]
        whole = {name: np.zeros((self.layout.part_size, *shape), dtype) for name, shape, dtype in wanted}
        try:
            data = self.place.read(self.name(part))
        except FileNotFoundError:
            return whole
        table = pq.read_table(io.BytesIO(data), columns=[name.replace("/", ".") for name, *_ in wanted])
        for name, shape, dtype in wanted:
            column = table[name.replace("/", ".")]
            if name == "status":
                values = np.array([STATUS.index(one) for one in column.to_pylist()], dtype)
            elif shape[2:]:
                values = np.frombuffer(b"".join(column.to_pylist()), dtype).reshape(-1, *shape)
            else:
                values = np.array(column.to_pylist(), dtype).reshape(-1, *shape)
            whole[name][: len(values)] = values
        return whole

    def resizing(self, names: list[str]) -> list[np.ndarray] | None:
        """The matrices that resize maps along both axes; None if these maps are not resized."""
        with np.load(io.BytesIO(self.place.read(RESIZING))) as matrices:
            names = [name.replace("/", ".") for name in names]
            return [matrices[name] for name in names] if names[0] in matrices else None


def record(place: Place, name: str) -> Record:
    """The record in a part's file, of which only the end is read."""
    import pyarrow.parquet as pq

    with place.files.open(place.path(name), "rb") as file:
        return Record.of(pq.ParquetFile(file).schema_arrow.metadata[ABOUT])


def _column(values: np.ndarray, shape: tuple[int, ...]) -> Any:
    """The rows of an array as a column: maps as bytes, several numbers as a list."""
    import pyarrow as pa

    if shape[2:]:
        return pa.array([np.ascontiguousarray(one).tobytes() for one in values], pa.binary())
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), shape[0])
