"""Images in Parquet files, each read by its row.

A Parquet file can only be read forward, from the start of one of its row groups. So each process keeps a few files open
at the place that it has reached: the rows of a part, read in order, are read once, in little memory."""

import re
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from keras_explainable.distributed.sources import stores
from keras_explainable.distributed.sources.set_aside import SetAside

BATCH_BYTES, MOST_ROWS = 16 << 20, 256  # of the rows that are read at once
KEPT = 32  # rows of a reader, at least: threads ask for them a little out of order
READERS = 4
BUFFER, BLOCK = 1 << 20, 8 << 20  # bytes that are read at once of a column; of a store: s3fs would read 50 MB
ADDRESS = re.compile(r"(.*)#parquet:(\d+):(.*)", re.DOTALL)

_readers: OrderedDict[int, "Reader"] = OrderedDict()  # the last used last
_lock = threading.Lock()


def address(uri: str, rows: int, column: str) -> str:
    """Return the address of the images in a Parquet file of so many rows."""
    return f"{uri}#parquet:{rows}:{column}"


def opened(uri: str, options: Mapping[str, Any] | None) -> pq.ParquetFile:
    """Open a Parquet file, of which nothing but the footer is read."""
    files, path = stores.located(uri, options)
    source = path if stores.is_local(files) else files.open(path, "rb", block_size=BLOCK, cache_type="readahead")
    return pq.ParquetFile(source, buffer_size=BUFFER, pre_buffer=False)


def leaf(schema: pa.Schema, column: str) -> str | None:
    """Return the path of the bytes in a column of bytes, or of `{bytes, path}`; None if it has neither."""
    kind = schema.field(column).type
    if isinstance(kind, pa.StructType):
        names = [field.name for field in kind]
        kind, column = (kind.field("bytes").type, f"{column}.bytes") if "bytes" in names else (pa.null(), column)
    kinds = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary)
    return column if any(is_kind(kind) for is_kind in kinds) else None


def read(uri: str, row: int, options: Mapping[str, Any] | None) -> bytes:
    """Return the bytes of the image in a row of the file at an `address`.

    Raises: SetAside: the row is empty, or the file is damaged or has changed."""
    found = ADDRESS.fullmatch(uri)
    if found is None:
        raise SetAside(f"{uri} names no column of a Parquet file.")
    with _lock:
        key, reader = _nearest(uri, row) or (0, None)
        try:
            if reader is None:
                reader = Reader(uri, opened(found[1], options), int(found[2]), found[3])
                key = id(reader)
            values = reader.value(row)
        except BaseException as error:
            _readers.pop(key, None)  # it may have stopped anywhere
            damaged = isinstance(error, pa.ArrowInvalid) or (type(error) is OSError and error.errno is None)
            if damaged and not stores.is_transient(error):
                raise SetAside(f"The Parquet file cannot be read: {str(error).splitlines()[0]}") from None
            raise
        _readers[key] = reader
        _readers.move_to_end(key)
        while len(_readers) > READERS:
            _readers.popitem(last=False)
    if values is None:
        raise SetAside("The row has no bytes of an image.")
    return values


def _nearest(uri: str, row: int) -> tuple[int, "Reader"] | None:
    """The reader of the file that has least to read until it reaches the row; None if each would have to go back."""
    fit = [(reader.distance(row), key) for key, reader in _readers.items() if reader.uri == uri]
    ahead = [(distance, key) for distance, key in fit if distance is not None]
    return (key := min(ahead)[1], _readers[key]) if ahead else None


class Reader:
    """A place in a Parquet file, from which its rows are read forward."""

    def __init__(self, uri: str, file: pq.ParquetFile, rows: int, column: str):
        self.uri, self.file = uri, file
        groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
        path = leaf(file.schema_arrow, column) if column in file.schema_arrow.names else None
        if file.metadata.num_rows != rows or path is None:
            raise SetAside("The Parquet file has changed since it was listed.")
        self.path: str = path
        self.starts = np.cumsum([0, *(group.num_rows for group in groups)]).tolist()
        self.sizes = [max(1, bytes_of(group, path) // max(1, group.num_rows)) for group in groups]
        self.kept: list[tuple[int, pa.Array]] = []
        self.batches: Iterator[pa.RecordBatch] = iter(())
        self.next = -1  # the row after those that were read

    def group(self, row: int) -> int:
        """The row group of a row."""
        return bisect_right(self.starts, row) - 1

    def distance(self, row: int) -> int | None:
        """How many rows are to be read until this one; None if the reader would have to start its row group anew."""
        if any(start <= row < start + len(values) for start, values in self.kept):
            return 0
        return row - self.next if self.starts[self.group(row)] <= self.next <= row else None

    def value(self, row: int) -> bytes | None:
        """The bytes in a row."""
        if not 0 <= row < self.starts[-1]:
            raise SetAside("The Parquet file has changed since it was listed.")
        if self.distance(row) is None:
            group = self.group(row)
            rows = min(MOST_ROWS, max(1, BATCH_BYTES // max(self.sizes[group:])))
            groups = range(group, len(self.sizes))
            self.kept, self.next = [], self.starts[group]
            self.batches = self.file.iter_batches(rows, row_groups=groups, columns=[self.path], use_threads=False)
        while self.next <= row:
            values = next(self.batches).column(0)
            self.kept.append((self.next, values))
            while sum(len(some) for _, some in self.kept[1:]) >= KEPT:
                self.kept.pop(0)
            self.next += len(values)
        start, values = next((start, values) for start, values in reversed(self.kept) if start <= row)
        found = values[row - start].as_py()
        return found["bytes"] if isinstance(found, dict) else found


def bytes_of(group: pq.RowGroupMetaData, path: str) -> int:
    """Return the bytes of a column in a row group, before compression."""
    columns = (group.column(i) for i in range(group.num_columns))
    return sum(column.total_uncompressed_size for column in columns if column.path_in_schema == path)
