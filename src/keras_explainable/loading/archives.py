"""Open archives with a limit on the list of members: reading a list of millions would take gigabytes of memory."""

import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from keras_explainable.loading.configs import too_much

DIRECTORY = 4 << 20  # bytes of the list of members: enough for 10,000 members with long names


@contextmanager
def open_archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open an archive to read it. Raise Refused if its list of members is longer than that of any known model."""
    with _Bounded(io.FileIO(path)) as file, zipfile.ZipFile(file) as archive:
        file.most = None
        yield archive


class _Bounded(io.BufferedReader):
    """A file that raises Refused when `zipfile` reads a list of members that is too long."""

    most: int | None = DIRECTORY

    def read(self, size: int | None = -1, /) -> bytes:
        if self.most is not None and size is not None and size > self.most:
            raise too_much(f"a list of members of more than {DIRECTORY:,} bytes")
        return super().read(size)
