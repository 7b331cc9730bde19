"""What lies where in the output of a run: the arrays, their shapes, and the rows of each part."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from typing import Any

NOT_YET, EXPLAINED, SET_ASIDE, GIVEN_UP = range(4)
STATUS = ("not yet", "explained", "set aside", "given up")
DTYPES = ("uint8", "float16", "float32")
FORMATS = ("zarr", "parquet")
RESOLUTIONS = ("signal", "image")
MOST_ROWS, MOST_PIXELS = 1024, 128 * 2**20  # of a part: images, and bytes of their pixels
LEAST_PARTS = 8  # into which a run is cut, if its images fill as many batches


@dataclass(frozen=True)
class Layout:
    """The sizes of a run. `maps` has for each method the shape (h, w, K) of its maps as they are stored, `size` is the
    size (H, W) of the images as the model sees them."""

    images: int
    part_size: int
    size: tuple[int, int]
    maps: dict[str, tuple[int, int, int]]
    dtype: str
    format: str

    @classmethod
    def of(cls, known: dict[str, Any]) -> "Layout":
        """The layout that `as_json` wrote down."""
        given = {field.name: known[field.name] for field in fields(cls)}
        return cls(**given | {"size": tuple(given["size"]), "maps": {k: tuple(v) for k, v in given["maps"].items()}})

    def as_json(self) -> dict[str, Any]:
        """The same as JSON has it."""
        return asdict(self)

    @property
    def parts(self) -> int:
        """The number of parts."""
        return -(-self.images // self.part_size)

    @property
    def rows(self) -> int:
        """The number of rows of the arrays. The last part is as long as the others."""
        return self.parts * self.part_size

    @property
    def units(self) -> int:
        """The number of units that are explained of each image."""
        return next(iter(self.maps.values()))[-1]

    def count(self, part: int) -> int:
        """The number of images in a part."""
        return min(self.part_size, self.images - part * self.part_size)

    def part_rows(self, part: int) -> slice:
        """The rows of a part in the arrays."""
        return slice(part * self.part_size, (part + 1) * self.part_size)

    def prefix(self, label: str) -> str:
        """What the names of a method's arrays begin with. There is none if there is one method."""
        return "" if len(self.maps) == 1 else f"{label}/"

    def arrays(self) -> Iterator[tuple[str, tuple[int, ...], str]]:
        """The name, shape of a row, and type of each array, in the order in which they are written."""
        for label, shape in self.maps.items():
            before = self.prefix(label)
            yield f"{before}maps", shape, self.dtype
            yield f"{before}low", shape[-1:], "float32"
            yield f"{before}high", shape[-1:], "float32"
            yield f"{before}scores", shape[-1:], "float32"
        yield "units", (self.units,), "int32"
        yield "status", (), "uint8"


def part_size(images: int, batch_size: int, size: tuple[int, int], channels: int = 3) -> int:
    """The rows of a part: whole batches, at most 1024 and 128 MiB of pixels, and fewer if there would be few parts."""
    most = min(MOST_ROWS, MOST_PIXELS // (size[0] * size[1] * channels), -(-images // LEAST_PARTS))
    return max(1, most // batch_size) * batch_size


def name(part: int) -> str:
    """The name of a part's files, without ending."""
    return f"{part:05d}"
