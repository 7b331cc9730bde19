"""How the arrays of a part are stored."""

from typing import Any

from keras_explainable.distributed.layout import Layout
from keras_explainable.distributed.storage import Place


def opened(place: Place, layout: Layout) -> Any:
    """The arrays of a run, as its format has them: `write(part, arrays)`, `read(name, rows)`, `objects(part)`."""
    if layout.format == "parquet":
        from keras_explainable.distributed.formats.parquet import ParquetArrays

        return ParquetArrays(place, layout)
    from keras_explainable.distributed.formats.zarr import ZarrArrays

    return ZarrArrays(place, layout)
