"""Load Keras files, `.keras` and HDF5. In safe mode, they are checked before Keras builds anything."""

import json
import re
import shutil
import zipfile
import zlib
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import keras

from keras_explainable import versions
from keras_explainable.errors import ModelFileError, printable
from keras_explainable.loading import archives, configs, limits, probe
from keras_explainable.loading.texts import first_line, reason

HDF5 = b"\x89HDF\r\n\x1a\n"
EXPECTED = "a .keras or .h5 file was expected, as `model.save` writes it"


def load(path: Path, safe_mode: bool) -> Any:
    """Load the model in a file. The first bytes decide the kind of the file, not its name.

    Raises:
        ModelFileError: it is not a model file, is damaged, or names or allocates what safe mode refuses.
    """
    kind = _kind(path)
    if safe_mode:
        versions.check("keras")
    try:
        text = _check(path, kind) if safe_mode else None
        if text is None:
            return keras.models.load_model(path, compile=False, safe_mode=safe_mode)
        with TemporaryDirectory() as folder:
            copy = _rewritten(path, Path(folder) / f"model{path.suffix}", kind, text)
            return keras.models.load_model(copy, compile=False, safe_mode=safe_mode)
    except configs.Refused as refused:
        problem, remedy = refused.problem, refused.remedy
    except Exception as error:
        problem, remedy = _described(error, kind)
    raise ModelFileError(printable(f"{path} {problem}. {remedy}.")) from None


def _check(path: Path, kind: str) -> str | None:
    """Check a file. Return the configuration to load, if parts of the file's own one were removed, or None if the file
    can be loaded as it is.

    Raises:
        Refused: the file names or allocates what safe mode refuses. Other errors come from Keras.
    """
    import h5py

    text, source = limits.unpacked(path) if kind == "zip" else (None, path)
    named = _named(text)
    if not probe.attributes_can_be_read(path):
        raise configs.Refused(
            "is damaged: the HDF5 library hangs on it, or needs hundreds of megabytes to read its attributes",
            "Copy or download it again",
        )
    with h5py.File(source, "r") as file:
        values = limits.stored(file, path.stat().st_size)
        named = named or _named(file.attrs.get("model_config"))
    if not named:  # there is no configuration: Keras raises an error
        return None
    config, own, changed = named
    rest = json.dumps(config) if changed else None  # before Keras changes it
    limits.check_weights(config, own, values)
    return rest


def _named(text: Any) -> tuple[Any, dict[str, Any], bool] | None:
    """A configuration, the user's own objects that it names, and whether parts of it were removed. None if this is not
    text."""
    if not isinstance(text, bytes | str):
        return None
    config = configs.read(text)
    return config, *configs.check(config)


def _rewritten(path: Path, copy: Path, kind: str, text: str) -> Path:
    """A copy of a file with another configuration."""
    if kind == "zip":
        with archives.open_archive(path) as old, zipfile.ZipFile(copy, "w") as new:
            for name in (limits.METADATA, limits.WEIGHTS):
                new.writestr(name, old.read(name))
            new.writestr(limits.CONFIG, text)
        return copy
    import h5py

    shutil.copyfile(path, copy)
    with h5py.File(copy, "a") as file:
        file.attrs["model_config"] = text
    return copy


def _described(error: Exception, kind: str) -> tuple[str, str]:
    """The problem of a file that Keras failed to load, and the remedy."""
    text = str(error)
    if "safe_mode" in text or "unsafe_deserialization" in text:
        return "contains Python code of its own, which safe mode does not run", configs.ALLOW
    if unknown := re.search(r"(?:Could not locate \w+|Unknown \w+:) '([^']+)'", text):
        problem = f"uses {unknown[1]}, which is not known here"
        return problem, "Load the file in Python after importing it, and explain the model there"
    if "truncated" in text or isinstance(error, zipfile.BadZipFile | EOFError | zlib.error):
        return f"is damaged or cut short ({first_line(error)})", "Copy or download it again"
    if isinstance(error, MemoryError):
        return "needs more memory than is available", "Load it on a machine with more memory"
    problem = f"is an intact {kind} file, but holds no complete Keras model ({reason(error)})"
    return problem, "Save the whole model by `model.save`, not only its weights"


def _kind(path: Path) -> str:
    """The kind, zip or HDF5. Raise a ModelFileError if it is neither, or if Keras would not open it by its name."""
    if path.is_dir():
        raise ModelFileError(f"{path} is a folder, and {EXPECTED}.")
    if not path.is_file():
        raise ModelFileError(f"{path} is not a regular file, and {EXPECTED}.")
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except OSError as error:
        raise ModelFileError(f"{path} cannot be opened: {error.strerror}.") from None
    if path.suffix == ".keras" and zipfile.is_zipfile(path):  # Keras reads it as a zip file, whatever else it is
        return "zip"
    if start == HDF5:
        kind, suffixes = "HDF5", [".h5", ".hdf5"]
    elif zipfile.is_zipfile(path):
        kind, suffixes = "zip", [".keras"]
    elif start.startswith(b"PK") or not start:
        raise ModelFileError(
            f"{path} is empty or cut short: it is not a complete .keras file. Copy or download it again."
        )
    else:
        raise ModelFileError(f"{path} is not a Keras model, and {EXPECTED}.")
    if path.suffix not in suffixes:
        raise ModelFileError(
            f"{path} is a {kind} file, which Keras opens only if its name ends in {suffixes[0]}: rename it."
        )
    return kind
