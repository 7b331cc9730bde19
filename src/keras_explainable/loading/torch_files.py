"""Load PyTorch files that hold a whole model without unpickling them: TorchScript files and `torch.export` archives."""

import zipfile
from pathlib import Path
from typing import Any

from keras_explainable import versions
from keras_explainable.errors import ModelFileError
from keras_explainable.loading import archives, configs
from keras_explainable.loading.texts import first_line
from keras_explainable.models.torch import files

SAFE = (
    "and a file that `torch.jit.save` or `torch.export.save` writes was expected: save it so, or name your own "
    "function, as in package.module:factory, that creates the module and loads its weights with "
    "torch.load(..., weights_only=True) or from safetensors"
)
TRUSTED = (
    "Reading it can run code in the file: PyTorch itself says never to load one from a source that you do not trust. "
    "If you trust the source, allow it: --unsafe, or safe_mode=False. Safe alternatives are a .keras file, or your own "
    "function (package.module:factory) that creates the module and loads its weights with "
    "torch.load(..., weights_only=True)"
)
OBJECTS = ("custom_obj_", "opaque_obj_")  # members of an archive that can only be unpickled


def load(path: Path, safe_mode: bool = True) -> Any:
    """Load the module in a TorchScript file or `torch.export` archive. The contents decide which of the two it is.

    Raises:
        ModelFileError: the file is damaged, is neither of the two, or can only be unpickled, which may run any code. In
            safe mode, also if it is one of the two.
    """
    names = _names(path)
    inside = {name.partition("/")[2] for name in names} | {Path(name).name for name in names}
    scripted = "constants.pkl" in inside and any("/code/" in name for name in names)
    exported = "archive_format" in inside or "serialized_exported_program.json" in inside
    if safe_mode and (scripted or exported):
        kind = "a TorchScript file" if scripted else "an archive of torch.export"
        raise ModelFileError(f"{path} is {kind}, which safe mode does not read. {TRUSTED}.")
    versions.check("torch")
    try:
        if scripted:
            return files.scripted(path)
        if exported:
            return _exported(path, names)
    except ModelFileError:
        raise
    except Exception as error:
        raise ModelFileError(
            f"{path} cannot be read ({first_line(error)}). Save it again with the installed PyTorch."
        ) from None
    raise ModelFileError(f"{path} holds pickled Python objects, or only weights, {SAFE}.")


def _names(path: Path) -> list[str]:
    """The names of the members of an archive. An empty list for a pickle in the older format without archives."""
    try:
        with archives.open_archive(path) as archive:
            return archive.namelist()
    except configs.Refused as refused:
        raise ModelFileError(f"{path} {refused.problem}.") from None
    except zipfile.BadZipFile:
        with path.open("rb") as file:
            start = file.read(2)
    except OSError as error:
        raise ModelFileError(f"{path} cannot be opened: {error.strerror}.") from None
    if start[:1] == b"\x80":
        return []
    if start in (b"PK", b""):
        raise ModelFileError(f"{path} is empty or cut short. Copy or download it again.")
    raise ModelFileError(f"{path} is not a PyTorch file, {SAFE}.")


def _exported(path: Path, names: list[str]) -> Any:
    if any(Path(name).name.startswith(OBJECTS) and not name.endswith(".json") for name in names):
        raise ModelFileError(f"{path} holds pickled Python objects, {SAFE}.")
    module = files.exported(path)
    shape = files.input_shape(module)
    if shape and len(shape) == 4 and isinstance(shape[0], int):
        raise ModelFileError(
            f"{path} only takes batches of {shape[0]}. Export it for any batch size: torch.export.export(module, (x,), "
            'dynamic_shapes=({0: torch.export.Dim("batch")},)) with more than one image in x.'
        )
    return module
