"""Model files for the tests of safety: small ones, and the same with a configuration or members of one's own."""

import json
import resource
import time
import zipfile
from pathlib import Path

import h5py
import keras
import pytest

from keras_explainable import loading
from keras_explainable.errors import ModelFileError

SECONDS, MEGABYTES = 10, 1000


def small(*layers, shape=(8, 6, 3)):
    return keras.Sequential([keras.Input(shape), *layers, keras.layers.Flatten(), keras.layers.Dense(2, name="last")])


def edited(path: Path, change) -> Path:
    """The file with its configuration as `change(configuration)` leaves it, or returns it: JSON, or text as it is."""
    config = json.loads(config_of(path))
    changed = change(config)
    write_config(path, changed if isinstance(changed, str) else json.dumps(changed or config))
    return path


def config_of(path: Path) -> str:
    if path.suffix == ".keras":
        with zipfile.ZipFile(path) as archive:
            return archive.read("config.json").decode()
    with h5py.File(path) as file:
        return file.attrs["model_config"]


def write_config(path: Path, text: str) -> None:
    if path.suffix == ".keras":
        rewrite(path, {"config.json": text.encode()})
        return
    with h5py.File(path, "a") as file:
        file.attrs["model_config"] = text


def rewrite(path: Path, members: dict[str, bytes | None], packing=zipfile.ZIP_STORED) -> Path:
    """The archive with members added, replaced, or (None) left out."""
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", packing) as archive:
        for name, data in {**content, **members}.items():
            if data is not None:
                archive.writestr(name, data)
    return path


def layers_of(config: dict) -> list[dict]:
    return config["config"]["layers"]


def function(module, name, registered="function"):
    return {"module": module, "class_name": "function", "config": name, "registered_name": registered}


def entry(module, name, /, **config):
    return {"module": module, "class_name": name, "config": {"name": "door", **config}, "registered_name": None}


def put(config, layer):
    """The layer in the place of "door"."""
    layers = layers_of(config)
    at = next(i for i, one in enumerate(layers) if one["config"]["name"] == "door")
    layers[at] = {**layer, **{key: layers[at][key] for key in ("name", "inbound_nodes") if key in layers[at]}}


def refused(path, words):
    """Refused soon, and with little memory."""
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    with pytest.raises(ModelFileError, match=words):
        loading.load(path)
    assert time.perf_counter() - start < SECONDS
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < MEGABYTES
