"""The list of a run's images: one row for each, made once."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from keras_explainable.distributed.sources import files, parquet_files, stores, tars
from keras_explainable.distributed.sources.columns import Columns
from keras_explainable.errors import ExplainError, InputError, printable
from keras_explainable.viz import image_files

SHOWN = 3  # duplicate ids in a message
IMAGES, PARQUET, TAR = "images", ".parquet", ".tar"
PACKED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")


def listing(
    source: str | Path | Sequence[str | Path],
    *,
    column: str = "image",
    id_column: str | None = None,
    unit_column: str | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> pa.Table:
    """Return a table with a row for each image of a source.

    | column | |
    |---|---|
    | `row` | int64: its place in the table |
    | `id` | str: its path below the source; `file.parquet/row` and `file.tar/key` inside files; what a list calls it |
    | `uri` | str: the file that has it |
    | `offset`, `length` | int64: its bytes in a tar; its row in a Parquet file and null; null, null for a whole file |
    | `label` | the value of `unit_column`; else null |

    Rows are sorted by id. Those of Parquet files with an `id_column` keep the order of the files, in which alone they
    can be read fast.

    Args:
        source: a folder or URL of images (found by their suffixes, also in folders inside), of Parquet files, or of
            tars; one such file; a pattern of them (`x-{000..099}.tar`, `*.parquet`); or a list of paths and URLs.
            A tar is a WebDataset: files that share a name up to its first dot are one sample.
        column: the images' column of Parquet files: bytes, or `{bytes, path}` as Hugging Face writes. Of tars, the
            suffix of the images, if a sample has several: "jpg".
        id_column: the column of Parquet files that names the images.
        unit_column: the column of Parquet files that has labels; of tars, the suffix of the files that do: "cls".
        storage_options: what fsspec needs to reach the source.

    Raises: InputError: two images have one id, there is no image, no such column, or the source cannot be read.
    """
    given = source if isinstance(source, str | Path) else files.checked(source)
    try:
        return stores.patiently(_listing, given, column, id_column, unit_column, storage_options)
    except ExplainError:
        raise
    except Exception as error:  # clients of stores raise exceptions of their own
        if stores.is_transient(error):
            raise
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise InputError(f"The source {_shown(given)} cannot be read: {printable(why)}. Check it.") from error


def _listing(source: Any, column: str, id_column: str | None, unit_column: str | None, options: Any) -> pa.Table:
    found = files.of_address(str(source), options) if isinstance(source, str | Path) else files.of_list(source)
    kind = _kind(found, source)
    if kind == IMAGES and (id_column or unit_column):
        raise InputError(
            f"id_column={id_column!r} and unit_column={unit_column!r} came, and {_shown(source)} is of image files, "
            "which have no columns: leave both out."
        )
    if kind == TAR and id_column:
        raise InputError(f"id_column={id_column!r} came, and tars have no columns: their files' names are the ids.")
    if kind == PARQUET:
        return _table(parquet_files.rows(_ending(found, kind), column, id_column, unit_column, options), source)
    if kind == TAR:
        return _table(tars.members(_ending(found, kind), column, unit_column, options), source)
    images = sorted(found if isinstance(source, list) else _ending(found, *image_files.SUFFIXES))
    return _table(Columns([one.name for one in images], [one.uri for one in images]), source)


def _ending(found: Sequence[files.File], *suffixes: str) -> list[files.File]:
    return [one for one in found if one.name.lower().endswith(suffixes)]


def _kind(found: Sequence[files.File], source: Any) -> str:
    """What is listed of the files: the images if there are any, else Parquet files, else tars."""
    if _ending(found, *image_files.SUFFIXES):
        return IMAGES
    for kind in (PARQUET, TAR):
        if _ending(found, kind):
            return kind
    if _ending(found, *PACKED):
        raise InputError(f"{_shown(source)} has compressed tars, inside which no image can be reached: unpack them.")
    if isinstance(source, list):
        return IMAGES  # URLs need no suffix
    endings = ", ".join([*sorted(image_files.SUFFIXES), PARQUET, TAR])
    raise InputError(f"There is no image at {_shown(source)}: name files that end in {endings}, or a folder of them.")


def _table(columns: Columns, source: Any) -> pa.Table:
    table = columns.table()
    if not table.num_rows:
        raise InputError(f"There is no image at {_shown(source)}: its files are empty.")
    if pc.count_distinct(table["id"]).as_py() < table.num_rows:
        counts = pc.value_counts(table["id"])
        twice = sorted(counts.filter(pc.greater(counts.field("counts"), 1)).field("values").to_pylist())
        more = f" and {len(twice) - SHOWN} more" if len(twice) > SHOWN else ""
        raise InputError(
            f"Ids came more than once, {', '.join(map(repr, twice[:SHOWN]))}{more}, and each image needs its own: name "
            "other files, or another id_column."
        )
    return table.add_column(0, "row", pa.array(range(table.num_rows), pa.int64()))


def _shown(source: str | Path | list) -> str:
    return f"a list of {len(source)}, {printable(source[0])}..." if isinstance(source, list) else printable(source)
