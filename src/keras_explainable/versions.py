"""The first versions of other libraries whose readers have no known holes; files are read with those or later ones."""

import re
from importlib.metadata import PackageNotFoundError, version

from keras_explainable.errors import ModelFileError

# Each with what was mended last in the parts that read files; pyproject.toml has the same numbers.
FIRST = {
    "keras": (3, 15, 1),  # unpickling in configurations and weights
    "torch": (2, 10),  # CVE-2026-24747
    "pillow": (13,),  # CVE-2026-112403, CVE-2026-112395: JPEG and TIFF written and read past their buffers
}


def check(library: str) -> None:
    """Raises: ModelFileError: the library that is installed reads files with holes that are known, and mended later."""
    try:
        installed = version(library)
    except PackageNotFoundError:
        return  # it says so itself, where it is needed
    if tuple(int(number) for number in re.findall(r"\d+", installed)[:3]) < FIRST[library]:
        needed = ".".join(map(str, FIRST[library]))
        raise ModelFileError(
            f"{library} {installed} is installed, which has known holes where it reads files, and no file is given to "
            f'it. Run: pip install "{library}>={needed}". Arrays and models in memory are explained all the same.'
        )
