"""Files of Keras, `.keras` and HDF5: looked through before Keras builds anything, in safe mode."""

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
from keras_explainable.errors import ModelFileError
from keras_explainable.loading import archives, configs, limits, probe
from keras_explainable.loading.texts import first_line, printable, reason

HDF5 = b"\x89HDF\r\n\x1a\n"


def load(path: Path, safe_mode: bool) -> Any:
    """The model in a file, the file's kind told by its first bytes and not by its name.

    Raises:
        ModelFileError: it is none, is damaged, or names or allocates what safe mode refuses.
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
        problem, remedy = _told(error, kind)
    raise ModelFileError(printable(f"{path} {problem}. {remedy}.")) from None


def _check(path: Path, kind: str) -> str | None:
    """The configuration that Keras is to get, where that is not all that is in the file; None for the file as it is.

    Raises:
        Refused: the file names or allocates what safe mode refuses. Other errors are those of Keras.
    """
    import h5py

    text, source = limits.unpacked(path) if kind == "zip" else (None, path)
    named = _named(text)
    if not probe.survived(path):
        raise configs.Refused(
            "is damaged: the reader of HDF5 files hangs on it, or takes hundreds of megabytes for its texts",
            "Copy or download it again",
        )
    with h5py.File(source, "r") as file:
        values = limits.stored(file, path.stat().st_size)
        named = named or _named(file.attrs.get("model_config"))
    if not named:  # there is no configuration, as Keras will say
        return None
    config, own, changed = named
    rest = json.dumps(config) if changed else None  # before Keras changes it
    limits.check_weights(config, own, values)
    return rest


def _named(text: Any) -> tuple[Any, dict[str, Any], bool] | None:
    """A configuration, the user's own objects that it names, and whether it is less than was there; None if there is
    none."""
    if not isinstance(text, bytes | str):
        return None
    config = configs.read(text)
    return config, *configs.check(config)


def _rewritten(path: Path, copy: Path, kind: str, text: str) -> Path:
    """A copy of a file with another configuration."""
    if kind == "zip":
        with archives.opened(path) as old, zipfile.ZipFile(copy, "w") as new:
            for name in (limits.METADATA, limits.WEIGHTS):
                new.writestr(name, old.read(name))
            new.writestr(limits.CONFIG, text)
        return copy
    import h5py

    shutil.copyfile(path, copy)
    with h5py.File(copy, "a") as file:
        file.attrs["model_config"] = text
    return copy


def _told(error: Exception, kind: str) -> tuple[str, str]:
    """What is wrong with a file on which Keras failed, and what to do."""
    text = str(error)
    if "safe_mode" in text or "unsafe_deserialization" in text:
        return "brings Python code of its own, which safe mode refuses to run", configs.ALLOW
    if unknown := re.search(r"(?:Could not locate \w+|Unknown \w+:) '([^']+)'", text):
        problem = f"uses {unknown[1]}, which is not known here"
        return problem, "Load it in Python, where that can be imported, and explain the model there"
    if "truncated" in text or isinstance(error, zipfile.BadZipFile | EOFError | zlib.error):
        return f"is damaged or cut short ({first_line(error)})", "Copy or download it again"
    if isinstance(error, MemoryError):
        return "needs more memory than there is", "Load it on a larger machine"
    problem = f"is an intact {kind} file, but holds no whole Keras model ({reason(error)})"
    return problem, "Expected what `model.save` writes, not weights alone"


def _kind(path: Path) -> str:
    """Zip or HDF5. Raises: ModelFileError: it is neither, or has a name by which Keras would not open it."""
    if path.is_dir():
        raise ModelFileError(f"{path} is a folder. Expected a .keras or .h5 file, as `model.save` writes it.")
    if not path.is_file():
        raise ModelFileError(f"{path} is no regular file. Expected a .keras or .h5 file, as `model.save` writes it.")
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except OSError as error:
        raise ModelFileError(f"{path} cannot be opened: {error.strerror}.") from None
    if path.suffix == ".keras" and zipfile.is_zipfile(path):  # whatever else it is, Keras reads it as that
        return "zip"
    if start == HDF5:
        kind, suffixes = "HDF5", [".h5", ".hdf5"]
    elif zipfile.is_zipfile(path):
        kind, suffixes = "zip", [".keras"]
    elif start.startswith(b"PK") or not start:
        raise ModelFileError(f"{path} is empty or cut short: it is no whole .keras file. Copy or download it again.")
    else:
        raise ModelFileError(f"{path} is not a Keras model. Expected a .keras or .h5 file, as `model.save` writes it.")
    if path.suffix not in suffixes:
        raise ModelFileError(
            f"{path} is a {kind} file, which Keras opens only if its name ends in {suffixes[0]}: rename it."
        )
    return kind
