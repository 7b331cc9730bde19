"""The bytes of one image of a listing."""

import tarfile
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from keras_explainable.distributed.sources import parquet_rows, stores
from keras_explainable.distributed.sources.set_aside import SetAside
from keras_explainable.errors import ModelFileError
from keras_explainable.viz import image_files, output

MOST_BYTES = image_files.MAX_PIXELS * image_files.MAX_BYTES  # a larger file is refused, so it need not be read
HEADER = tarfile.BLOCKSIZE  # of a member of a tar, just before its bytes
GONE = "The file is gone."
CHANGED = "The file has changed since it was listed."


def read(row: Mapping[str, Any], storage_options: Mapping[str, Any] | None = None) -> bytes:
    """Return the bytes of the image in a row of `listing`.

    A store that is busy, or does not answer in time, is asked three times.

    Raises:
        SetAside: the image is gone, empty, or too large, or its tar or Parquet file is another one now.
        OSError: the store refuses, or still does not answer: this says nothing about the image.
    """
    try:
        data = stores.patiently(_read, row["uri"], row.get("offset"), row.get("length"), row["id"], storage_options)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise SetAside(GONE) from None
    if not data:
        raise SetAside("The file is empty.")
    if len(data) > MOST_BYTES:
        raise SetAside(f"The file is too large: more than {MOST_BYTES} bytes.")
    return data


def _read(uri: str, offset: int | None, length: int | None, name: str, options: Mapping[str, Any] | None) -> bytes:
    if offset is None:
        return _whole(uri, options)
    if length is None:
        return parquet_rows.read(uri, offset, options)
    return _member(uri, offset, length, name, options)


def _whole(uri: str, options: Mapping[str, Any] | None) -> bytes:
    files, path = stores.located(uri, options)
    if stores.is_local(files):
        return _local(path, 0, MOST_BYTES + 1)
    try:
        return files.cat_file(path, start=0, end=MOST_BYTES + 1)  # one request; without a range, s3fs makes two
    except Exception as error:
        if stores.is_beyond_the_end(error):
            return b""  # an empty object has no range
        raise


def _local(path: str, start: int, end: int) -> bytes:
    try:
        with output.open_file(path) as file:
            file.seek(start)
            return file.read(end - start)
    except ModelFileError:
        raise SetAside("The file is a pipe or a device.") from None


def _member(uri: str, offset: int, length: int, name: str, options: Mapping[str, Any] | None) -> bytes:
    """The bytes of a tar's member, after a look at its header: another tar under the same name has others there."""
    files, path = stores.located(uri, options)
    start, end = offset - HEADER, offset + length
    try:
        data = _local(path, start, end) if stores.is_local(files) else files.cat_file(path, start=start, end=end)
        header = tarfile.TarInfo.frombuf(data[:HEADER], "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        raise SetAside(CHANGED) from None
    except Exception as error:
        if stores.is_beyond_the_end(error):
            raise SetAside(CHANGED) from None
        raise
    if len(data) != HEADER + length or header.size != length or not _is_named(header.name, name):
        raise SetAside(CHANGED)
    return data[HEADER:]


def _is_named(found: str, name: str) -> bool:
    """Whether the name in a member's header can be of this id. A header holds only a part of long names, and only the
    ASCII of others."""
    known = PurePosixPath(name).name
    return (
        not (known + found).isascii()
        or len(found) >= tarfile.LENGTH_NAME
        or PurePosixPath(found).name.startswith(known)
    )
