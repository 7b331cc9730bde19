"""The columns of a listing while it is made."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from keras_explainable.errors import InputError, printable


@dataclass
class Columns:
    """Ids, files, places in them, and labels. Places and labels are None for whole files without labels."""

    ids: Sequence[Any] | pa.ChunkedArray
    uris: Sequence[Any] | pa.ChunkedArray
    offsets: Sequence[Any] | pa.ChunkedArray | None = None
    lengths: Sequence[Any] | None = None
    labels: Sequence[Any] | pa.ChunkedArray | None = None

    def table(self) -> pa.Table:
        """The columns as a table. Raises: InputError: a name is not UTF-8."""
        rows = len(self.ids)
        return pa.table(
            {
                "id": texts(self.ids),
                "uri": texts(self.uris),
                "offset": pa.nulls(rows, pa.int64()) if self.offsets is None else as_array(self.offsets, pa.int64()),
                "length": pa.nulls(rows, pa.int64()) if self.lengths is None else as_array(self.lengths, pa.int64()),
                "label": pa.nulls(rows) if self.labels is None else as_array(self.labels, None),
            }
        )


def as_array(values: Any, kind: Any) -> Any:
    """Return values as an Arrow array."""
    return values if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values, kind)


def texts(values: Any) -> Any:
    """Return texts as an Arrow array. Raises: InputError: one is not UTF-8."""
    try:
        return as_array(values, pa.string())
    except UnicodeEncodeError as error:
        raise InputError(f"The name {printable(error.object)} came, and UTF-8 was expected: rename the file.") from None
