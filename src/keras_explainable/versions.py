"""The first versions of other libraries without known security holes in reading files. Older versions read no files."""

import re
from collections.abc import Callable
from functools import cache
from importlib.metadata import PackageNotFoundError, version

from keras_explainable.errors import ModelFileError

# Each with the last fix in the parts that read files. pyproject.toml has the same numbers.
FIRST = {
    "keras": (3, 15, 1),  # fixed unpickling in configurations and weights
    "torch": (2, 10),  # CVE-2026-24747
    "pillow": (13,),  # CVE-2026-112403, CVE-2026-112395: writing and reading JPEG and TIFF past their buffers
}


def check(library: str) -> None:
    """Raise a ModelFileError if the installed version of a library has known security holes in reading files."""
    try:
        installed = _installed(version, library)
    except PackageNotFoundError:
        return  # importing it fails with a clear message where it is needed
    if tuple(int(number) for number in re.findall(r"\d+", installed)[:3]) < FIRST[library]:
        needed = ".".join(map(str, FIRST[library]))
        raise ModelFileError(
            f"{library} {installed} is installed, which has known security holes in reading files, so no file is "
            f'read. Run: pip install "{library}>={needed}". Arrays and models in memory can still be explained.'
        )


@cache
def _installed(read: Callable[[str], str], library: str) -> str:
    return read(library)  # takes a third of a millisecond, as long as decoding a small image
