"""The list of images, frozen when a run begins: which image is in which row, for all runs that go on with it."""

import hashlib
import io
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_explainable.distributed import layout
from keras_explainable.distributed.layout import Layout
from keras_explainable.distributed.sources.stores import patiently
from keras_explainable.distributed.storage import Place
from keras_explainable.errors import InputError

RUN, PLAN, RESIZING = "run.json", "plan.parquet", "resizing.npz"
OF_RUN = ("time", "versions")  # what two runs of the same settings may differ in


@dataclass(frozen=True)
class Run:
    """A run that was begun: its settings, and its layout."""

    settings: dict[str, Any]
    layout: Layout
    about: dict[str, Any]


def known(place: Place) -> Run | None:
    """The run in a folder; None if there is none."""
    try:
        about = json.loads(place.read(RUN))
    except FileNotFoundError:
        return None
    return Run(about["settings"], Layout.of(about["layout"]), about)


def write(place: Place, listed: Any, run: Run, resizing: Mapping[str, np.ndarray]) -> Run:
    """Begin a run: write its plan, what describes its arrays, and last what says that the plan is whole."""
    import pyarrow.parquet as pq

    from keras_explainable.distributed import formats

    buffer = io.BytesIO()
    pq.write_table(listed, buffer, row_group_size=run.layout.part_size, compression="zstd")
    data = buffer.getvalue()
    place.write(PLAN, data)
    about = run.about | {"plan": hashlib.sha256(data).hexdigest()}
    whole = Run(run.settings, run.layout, about | {"settings": run.settings, "layout": run.layout.as_json()})
    described = {name: value for name, value in whole.about.items() if name not in OF_RUN}
    formats.opened(place, run.layout).create(described, resizing)
    place.write(RUN, json.dumps(whole.about, indent=1).encode())
    return whole


class Plan:
    """The rows of a plan. Those of each part are a row group, so a worker reads its own only."""

    def __init__(self, place: Place, layout: Layout) -> None:
        import pyarrow.parquet as pq

        self.layout, self._lock = layout, threading.Lock()
        self._file = pq.ParquetFile(patiently(place.files.open, place.path(PLAN), "rb"))
        if self._file.metadata.num_rows != layout.images:
            raise InputError(
                f"{place.url}/{PLAN} has {self._file.metadata.num_rows} rows, and {RUN} says {layout.images}: two runs "
                "were begun there at the same time. Give another OUT."
            )

    def part(self, part: int) -> Any:
        """The rows of a part, as a `pyarrow.Table`."""
        with self._lock:
            return self._file.read_row_group(part)

    def rows(self, part: int) -> list[dict[str, Any]]:
        """The rows of the images of a part."""
        return self.part(part).to_pylist()

    def ids(self, part: int) -> list[str]:
        """The ids of the images of a part."""
        with self._lock:
            return self._file.read_row_group(part, columns=["id"])["id"].to_pylist()

    def table(self, columns: list[str] | None = None) -> Any:
        """All rows, as a `pyarrow.Table`."""
        with self._lock:
            return self._file.read(columns)


def part_size(given: int | None, images: int, batch_size: int, size: tuple[int, int]) -> int:
    """The rows of a part.

    Raises:
        InputError: the size that was given does not hold whole batches.
    """
    if given is None:
        return layout.part_size(images, batch_size, size)
    if isinstance(given, bool) or not isinstance(given, int) or given < 1 or given % batch_size:
        raise InputError(f"part_size={given!r} came, and a multiple of batch_size={batch_size} was expected.")
    return given
