"""A thousand model files with something changed: each is an error of ours, or loads and gives scores."""

import functools
import json
import random
import resource
import time
from collections import Counter

import h5py
import keras
import numpy as np
import pytest

from keras_explainable import loading
from keras_explainable.errors import ExplainError, ModelFileError
from support.model_files import config_of, rewrite, write_config
from support.selection import very_slow, very_slow_compiled

NORMAL, MANY, AT_ONCE = 100, 1000, 50
SECONDS, MEGABYTES = 10, 1000
IMAGE = np.random.default_rng(0).random((1, 8, 6, 3)).astype("float32")


@functools.cache
def original():
    """The bytes of a small model: two branches, a nested model, normalisation, weights of every kind."""
    x = keras.Input((8, 6, 3), name="x")
    y = keras.layers.Conv2D(4, 3, activation="relu", padding="same", kernel_regularizer="l2", name="conv")(x)
    y = keras.layers.BatchNormalization(name="norm")(y)
    inner = keras.Sequential([keras.Input((8, 6, 4)), keras.layers.DepthwiseConv2D(3, padding="same")], name="inner")
    z = keras.layers.Add(name="sum")([y, inner(y)])
    z = keras.layers.GlobalAveragePooling2D(name="pool")(z)
    return keras.Model(x, keras.layers.Dense(3, activation="softmax", name="head")(z), name="whole")


def values(random, marker):
    """What a hostile configuration may hold in the place of anything."""
    function = {"module": "keras.visualization", "class_name": "function", "config": "plot_image_gallery"}
    system = {"module": "os", "class_name": "function", "config": "system", "registered_name": "system"}
    name = random.choice(
        ["Lambda", "TFSMLayer", "Dense", "Functional", "Sequential", "function", "__lambda__", "Zeros"]
    )
    module = random.choice(["keras.layers", "keras", "os", "builtins", "keras.utils", "keras.initializers", None])
    inner = random.choice(
        [{}, {"function": system}, {"path": str(marker)}, {"units": 3, "name": "n"}, [], "touch", None]
    )
    made = {"module": module, "class_name": name, "config": inner, "registered_name": random.choice([None, name, "x"])}
    plain = [
        None,
        True,
        -1,
        0,
        1,
        3,
        10**6,
        10**10,
        10**40,
        -0.5,
        1e300,
        "",
        "relu",
        "../x",
        "float64",
        str(marker),
        "é",
    ]
    return random.choice([*plain, [], {}, [3, 3], [None, 8, 6, 3], [[["x", 0, 0, {}]]], function, system, made, made])


def places(node, found):
    """Every place of a configuration: the container and the key."""
    pairs = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in pairs:
        found.append((node, key))
        places(value, found)
    return found


def change_configuration(path, random, marker):
    config = json.loads(config_of(path))
    for _ in range(random.choice([1, 1, 1, 2, 4])):
        node, key = random.choice(places(config, []))
        other, again = random.choice(places(config, []))
        kind = random.choice(["put", "put", "put", "copy", "leave out", "rename"])
        if kind == "put":
            node[key] = values(random, marker)
        elif kind == "copy":
            node[key] = json.loads(json.dumps(other[again]))
        elif isinstance(node, list):
            node.pop(key)
        else:
            value = node.pop(key)
            if kind == "rename":
                node[random.choice(["class_name", "config", "module", "name", "layers", "build_config", "x"])] = value
    write_config(path, json.dumps(config))


def change_bytes(path, random, marker):
    data = bytearray(path.read_bytes())
    for _ in range(random.choice([1, 1, 2, 8, 64])):
        # Half of them where the structure is, at both ends.
        near = random.choice([len(data), 2048])
        at = random.randrange(near)
        at = at if random.random() < 0.5 else len(data) - 1 - at
        data[at] = random.choice([0, 255, data[at] ^ (1 << random.randrange(8)), random.randrange(256)])
    if random.random() < 0.2:
        start, end = sorted(random.randrange(len(data)) for _ in "ab")
        data[start:end] = random.choice([b"", bytes(end - start), data[start:end] * 2])
    path.write_bytes(data)


def change_members(path, random, marker):
    """Of the archive, or of the groups and arrays in an HDF5 file."""
    if path.suffix == ".keras":
        names = ["config.json", "metadata.json", "model.weights.h5"]
        name = random.choice(names)
        other = random.choice([*names, "../" + name, "/" + name, "assets/x", "model.weights.npz", "x" * 300, ""])
        content = random.choice([b"", b"{}", b"[]", config_of(path).encode(), b"\x80\x04.", bytes(1000)])
        rewrite(path, random.choice([{name: None}, {other: content}, {name: content}, {name: None, other: content}]))
        return
    with h5py.File(path, "a") as file:
        found = ["model_weights"]
        file["model_weights"].visit(lambda name: found.append(f"model_weights/{name}"))
        name, other = random.choice(found), random.choice(found)
        kind = random.choice(["leave out", "rename", "shape", "link", "attribute"])
        if kind == "attribute":
            attributes = file[name].attrs
            attributes[random.choice([*attributes, "x"])] = random.choice([1, "x", [b"a", b"b"], np.zeros(3)])
            return
        moved = file[name]
        del file[name]
        if kind == "rename":
            file["model_weights/renamed"] = moved
        elif kind == "shape":
            file[name] = np.zeros(random.choice([(), (1,), (3, 3), (0,), (10**6,)]), random.choice(["f4", "i8", "S5"]))
        elif kind == "link" and other in file:
            file[name] = file[other]


CHANGES = [change_configuration, change_configuration, change_bytes, change_members]


def outcome(number, folder):
    """What came of the file of a number, and what is wrong with that, if anything."""
    chance = random.Random(number)
    path = folder / random.Random(-number).choice(["model.keras", "model.h5"])
    original().save(path)
    change = chance.choice(CHANGES)
    change(path, chance, folder / "marker")
    start = time.perf_counter()
    try:
        loaded = loading.load(path)
        loading.scores(loaded, IMAGE)
        made = "scores"
    except ExplainError as error:
        made, message = type(error).__name__, str(error)
        if isinstance(error, ModelFileError) and str(path) not in message:
            return made, f"does not name the file: {message[:200]}"
    except Exception as error:
        return "other", f"{type(error).__name__}: {error}"[:300]
    seconds = time.perf_counter() - start
    return made, f"took {seconds:.0f} s" if seconds > SECONDS else None


@pytest.mark.parametrize(
    "start", [pytest.param(n, marks=very_slow if n >= NORMAL else very_slow_compiled) for n in range(0, MANY, AT_ONCE)]
)
@pytest.mark.filterwarnings("ignore")
def test_a_changed_file_is_refused_by_an_error_of_ours_or_works(start, tmp_path):
    before, made, wrong = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, Counter(), []
    for number in range(start, start + AT_ONCE):
        what, flaw = outcome(number, tmp_path)
        made[what] += 1
        if flaw:
            wrong.append(f"{number}: {flaw}")
    assert not wrong, "\n".join(wrong)
    assert not (tmp_path / "marker").exists(), "a file ran what it brought"
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < MEGABYTES
    assert made["scores"] > AT_ONCE / 20 and made["ModelFileError"] > AT_ONCE / 4, made  # both come
