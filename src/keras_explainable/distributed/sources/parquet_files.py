"""The images of Parquet files, by their footers and the columns that are asked for: no image is read."""

import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from keras_explainable.distributed.sources import parquet_rows
from keras_explainable.distributed.sources.columns import Columns
from keras_explainable.distributed.sources.files import File
from keras_explainable.errors import InputError

AT_ONCE = 16  # files whose footers are read at once
MOST_BYTES = 1 << 30  # of a row group: each part reads its row group from the start


class Rows(NamedTuple):
    """Of a file: two columns, the address of its images, and the bytes of its largest row group."""

    ids: pa.ChunkedArray
    labels: pa.ChunkedArray | None
    address: str
    largest: int


def rows(
    files: Sequence[File], column: str, id_column: str | None, unit_column: str | None, options: Mapping | None
) -> Columns:
    """Return the rows of the files, in the files' order."""
    given = sorted(files, key=lambda one: f"{one.name}/")  # as ids sort
    with ThreadPoolExecutor(AT_ONCE) as pool:
        each = partial(_rows, column=column, id_column=id_column, unit_column=unit_column, options=options)
        found = list(pool.map(each, given))
    for file, one in zip(given, found, strict=True):
        if one.largest > MOST_BYTES:
            warnings.warn(
                f"{file.name} has row groups of more than {MOST_BYTES >> 30} GiB. Each part reads its row group from "
                "the start, which repeats much: write the file with row_group_size=1000.",
                stacklevel=2,
            )
            break
    counts = [len(one.ids) for one in found]
    return Columns(
        _joined([one.ids for one in found], pa.string()),
        _joined([pa.repeat(one.address, count) for one, count in zip(found, counts, strict=True)], pa.string()),
        _joined([pa.array(range(count), pa.int64()) for count in counts], pa.int64()),
        None,
        _joined([one.labels for one in found if one.labels is not None], None) if unit_column else None,
    )


def _rows(file: File, column: str, id_column: str | None, unit_column: str | None, options: Mapping | None) -> Rows:
    try:
        table = parquet_rows.opened(file.uri, options)
        _check(file.name, table.schema_arrow, column, [id_column, unit_column])
        values = table.read(columns=[name for name in (id_column, unit_column) if name], use_threads=False)
    except FileNotFoundError:
        raise InputError(f"There is no file {file.name} at {file.uri}: check the pattern.") from None
    except pa.ArrowInvalid as error:
        raise InputError(f"{file.name} cannot be read as Parquet: {str(error).splitlines()[0]}") from None
    count = table.metadata.num_rows
    return Rows(
        _ids(file.name, values[id_column]) if id_column else _numbered(file.name, count),
        values[unit_column] if unit_column else None,
        parquet_rows.address(file.uri, count, column),
        _largest(table, column),
    )


def _check(name: str, schema: pa.Schema, column: str, others: Sequence[str | None]) -> None:
    """Raise an `InputError` if a column is missing, or the images are no bytes."""
    if missing := [one for one in [column, *others] if one and one not in schema.names]:
        raise InputError(f"{name} has no column {missing[0]!r}. It has {', '.join(schema.names)}: name one of these.")
    if parquet_rows.leaf(schema, column) is None:
        raise InputError(
            f"The column {column!r} of {name} has {schema.field(column).type}, and bytes, or a struct with `bytes`, "
            "were expected. Of paths or URLs, give the list of them as the source."
        )


def _largest(table: pq.ParquetFile, column: str) -> int:
    path = parquet_rows.leaf(table.schema_arrow, column) or column
    groups = (table.metadata.row_group(i) for i in range(table.metadata.num_row_groups))
    return max((parquet_rows.bytes_of(group, path) for group in groups), default=0)


def _ids(name: str, values: pa.ChunkedArray) -> pa.ChunkedArray:
    if values.null_count:
        raise InputError(f"{values.null_count} rows of {name} have no id, and each needs one: name another id_column.")
    return pc.cast(values, pa.string())


def _numbered(name: str, count: int) -> pa.ChunkedArray:
    width = len(str(count - 1))  # so that ids have the order of the rows
    numbers = pc.utf8_lpad(pc.cast(pa.array(range(count), pa.int64()), pa.string()), width, "0")
    return pa.chunked_array([pc.binary_join_element_wise(f"{name}/", numbers, "")])


def _joined(arrays: Sequence[pa.Array | pa.ChunkedArray], kind: pa.DataType | None) -> pa.ChunkedArray:
    chunks = [part for one in arrays for part in (one.chunks if isinstance(one, pa.ChunkedArray) else [one])]
    return pa.chunked_array(chunks, kind or arrays[0].type)
