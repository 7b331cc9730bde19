"""Model files that mean harm: each door with a marker, a file that must not appear, and the place that is refused."""

import base64
import contextlib
import io
import marshal
import os
import pickle
import sys
import zipfile

import h5py
import keras
import numpy as np
import pytest

from keras_explainable import loading
from keras_explainable.errors import ModelFileError
from support.compare import close
from support.model_files import edited, entry, function, layers_of, put, rewrite, small
from support.selection import fast_on_torch

pytestmark = fast_on_torch

ON_TORCH = keras.backend.backend() == "torch"


@pytest.fixture
def marker(tmp_path):
    path = tmp_path / "marker.png"
    yield path
    assert not path.exists(), "a file ran what it brought"


@pytest.fixture(params=["model.keras", "model.h5"])
def path(request, tmp_path):
    small(keras.layers.Activation("relu", name="door")).save(tmp_path / request.param)
    return tmp_path / request.param


def refused(path, words):
    with pytest.raises(ModelFileError, match=words) as caught:
        loaded = loading.load(path)
        loading.scores(loaded, np.ones((1, 8, 6, 3), "float32"))
    assert str(path) in str(caught.value)
    return str(caught.value)


def gallery(marker):
    """A layer that calls a function of Keras's own API, which draws the images that it gets into a file."""
    pytest.importorskip("matplotlib")
    drawn = {"path": str(marker), "value_range": [0, 1], "rows": 1, "cols": 1}
    return entry(
        "keras.layers", "Lambda", function=function("keras.visualization", "plot_image_gallery"), arguments=drawn
    )


@pytest.mark.skipif(not ON_TORCH, reason="symbolic tensors of the others cannot be drawn")
def test_the_door_of_drawing_is_one(tmp_path):
    small(keras.layers.Activation("relu", name="door")).save(tmp_path / "model.keras")
    edited(tmp_path / "model.keras", lambda config: put(config, gallery(tmp_path / "drawn.png")))
    with contextlib.suppress(Exception):  # what it returns is no tensor
        keras.models.load_model(tmp_path / "model.keras", compile=False)(np.ones((1, 8, 6, 3), "float32"))
    assert (tmp_path / "drawn.png").exists()


def test_a_function_of_keras_that_is_no_computation(path, marker):
    edited(path, lambda config: put(config, gallery(marker)))
    refused(path, r"plot_image_gallery in 'door' inside 'sequential\w*'; safe mode allows those of keras.activations")


@pytest.mark.parametrize(
    ("module", "name", "registered"),
    [
        ("keras.visualization", "plot_image_gallery", "plot_image_gallery"),
        ("keras.visualization", "relu", "relu"),  # one name is looked up, and the other called
        ("keras.activations", "relu", "plot_image_gallery"),
        ("keras.activations", "deserialize", "function"),
        ("keras.ops", "while_loop", "function"),
        ("keras.utils", "get_file", "function"),
        ("builtins", "exec", "function"),
        ("os", "system", "system"),
        ("keras.activations", ["relu"], "function"),
    ],
)
def test_functions_anywhere_in_a_layer(path, module, name, registered):
    for key in ("activation", "kernel_initializer", "anything"):

        def change(config, key=key):
            layers_of(config)[-1]["config"][key] = function(module, name, registered)

        refused(edited(path, change), "calls the function .* in 'last' inside 'sequential")


def test_functions_in_the_arguments_of_a_call(tmp_path):
    x = keras.Input((8, 6, 3))
    keras.Model(x, keras.layers.Flatten()(keras.layers.ReLU(name="door")(x))).save(tmp_path / "model.keras")

    def change(config):
        called = next(layer for layer in layers_of(config) if layer["name"] == "door")
        called["inbound_nodes"][0]["kwargs"]["mask"] = function("keras.visualization", "plot_image_gallery")

    refused(edited(tmp_path / "model.keras", change), "plot_image_gallery in 'door'")


@pytest.mark.parametrize("key", ["build_config", "compile_config"])
def test_functions_beside_the_configuration_of_a_nested_model(tmp_path, key):
    inner = small(keras.layers.ReLU())
    keras.Sequential([keras.Input((8, 6, 3)), inner]).save(tmp_path / "model.keras")

    def change(config):
        layers_of(config)[-1][key] = {"optimizer": function("keras.visualization", "plot_image_gallery")}

    refused(edited(tmp_path / "model.keras", change), f"plot_image_gallery in '{inner.name}'")


class Trap:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_layers_of_keras_that_are_more_than_computations(path, marker, tmp_path):
    pickled = base64.b64encode(pickle.dumps(Trap(marker))).decode()
    (tmp_path / "words.txt").write_text("secret")
    for layer, words in (
        (entry("keras.layers", "TFSMLayer", filepath=str(tmp_path)), "TFSMLayer in 'sequential.*SavedModel"),
        (entry("keras.layers", "TorchModuleWrapper", module=pickled), "TorchModuleWrapper.*unpickles"),
        (entry("keras.layers", "JaxLayer", call_fn=function("os", "system")), "JaxLayer"),
        (entry("keras.layers", "StringLookup", vocabulary=str(tmp_path / "words.txt")), "read a file .*words.txt"),
        (entry("keras.visualization", "plot_image_gallery", path=str(marker)), "plot_image_gallery"),
        (entry("keras.utils", "PyDataset"), "PyDataset.*neither a layer of Keras 3"),
        (entry("keras.callbacks", "ModelCheckpoint", filepath=str(marker)), "ModelCheckpoint"),
        (entry("keras.layers", "deserialize", config=function("os", "system")), "deserialize"),
        (entry(None, "deserialize", config=function("os", "system")), "deserialize"),
        (entry("subprocess", "Popen", args=["touch", str(marker)]), "Popen"),
        (entry("keras.src.ops.core", "WhileLoop", cond=function("keras.ops", "any")), "WhileLoop.*as often as"),
        (entry(None, "__typespec__", spec_name="x"), "__typespec__"),
    ):
        words = words if path.suffix == ".keras" else words.split(".*")[0]
        message = refused(edited(path, lambda config, layer=layer: put(config, layer)), words)
        assert "Lambda" not in message and "--unsafe" in message, message


def test_bytecode_in_both_ways_that_keras_writes_it(path, marker):
    code = base64.b64encode(marshal.dumps(compile(f"open({str(marker)!r}, 'w')", "x", "exec"))).decode()
    new = {"class_name": "__lambda__", "config": {"code": code, "defaults": None, "closure": None}}
    for written in (new, [code, None, None]):
        layer = entry("keras.layers", "Lambda", function=written)
        message = refused(edited(path, lambda config, layer=layer: put(config, layer)), "Python code of its own")
        assert "a lambda in 'door' inside 'sequential" in message


@pytest.mark.parametrize("name", ["keras_cv", "keras_hub.src.anything", "planted"])
def test_nothing_is_imported_by_a_files_word(path, marker, tmp_path, monkeypatch, name):
    top = name.split(".")[0]
    if top in sys.modules or (top == "keras_cv" and any(m.startswith("keras_cv") for m in sys.modules)):
        pytest.skip("imported by somebody else")
    (tmp_path / f"{top}.py").write_text(f"open({str(marker)!r}, 'w')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    layer = entry(name, "Layer")
    message = refused(edited(path, lambda config: put(config, layer)), f"uses {name}.Layer, which is not known here")
    assert top not in sys.modules and "Import it in Python" in message


def test_what_the_user_has_registered_is_made(path, rng):
    @keras.saving.register_keras_serializable("security")
    class Twice(keras.layers.Layer):
        def call(self, x):
            return 2 * x

    twice = small(Twice())
    twice.save(path)
    x = rng.random((2, 8, 6, 3)).astype("float32")
    close(loading.scores(loading.load(path), x), twice.predict(x, verbose=0), atol=1e-6)
    keras.saving.get_custom_objects().pop("security>Twice")
    with keras.saving.custom_object_scope({"security>Twice": Twice}):
        assert loading.load(path).size == (8, 6)
    refused(path, "security>Twice, which is not known here")


def test_layers_of_the_user_that_make_weights_of_values(path, rng):
    @keras.saving.register_keras_serializable("security")
    class Scaled(keras.layers.Layer):
        def __init__(self, **settings):
            super().__init__(**settings)
            self.scale = keras.Variable(3.0)

        def call(self, x):
            return self.scale * x

    scaled = small(Scaled())
    scaled.save(path)
    x = rng.random((2, 8, 6, 3)).astype("float32")
    close(loading.scores(loading.load(path), x), scaled.predict(x, verbose=0), rtol=1e-5)


def test_members_of_an_archive_that_keras_does_not_write(tmp_path, marker):
    path = tmp_path / "model.keras"
    small().save(path)
    whole = path.read_bytes()
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(path, "a") as archive:
        archive.writestr("config.json", "{}")
    refused(path, "members of the same name")
    path.write_bytes(whole)
    pickled = io.BytesIO()
    np.savez(pickled, **{"0": np.array([Trap(marker)], dtype=object)})
    refused(rewrite(path, {"model.weights.h5": None, "model.weights.npz": pickled.getvalue()}), "no model.weights.h5")
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + whole)  # both kinds at once: read as the kind that Keras reads
    refused(edited(path, lambda config: put_last(config, function("os", "system"))), "os.system")


def put_last(config, activation):
    layers_of(config)[-1]["config"]["activation"] = activation


@pytest.mark.parametrize("kind", ["soft", "external", "dataset", "virtual", "objects"])
def test_weights_that_are_elsewhere(tmp_path, kind):
    path = tmp_path / "model.h5"
    small().save(path)
    (tmp_path / "secret").write_bytes(b"s" * 4096)
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["a"] = np.zeros((144, 2), "float32")
    with h5py.File(path, "a") as file:
        weights = file["model_weights"]
        if kind == "soft":
            weights["link"] = h5py.SoftLink("/model_weights")
        elif kind == "external":
            weights["link"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "a")
        elif kind == "dataset":
            weights.create_dataset("x", (64,), "uint8", external=[(str(tmp_path / "secret"), 0, 64)])
        elif kind == "virtual":
            layout = h5py.VirtualLayout((144, 2), "float32")
            layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "a", (144, 2))
            weights.create_virtual_dataset("x", layout)
        else:
            weights.create_dataset("x", (3,), h5py.string_dtype())
    refused(path, "links to other places|other files|does not write")


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_control_characters_of_a_file_are_not_printed(tmp_path, suffix):
    small().save(tmp_path / f"model{suffix}")

    def change(config):
        layers_of(config)[-1]["class_name"] = "\x1b[2J\x1b]0;title\x07Dense"

    message = refused(edited(tmp_path / f"model{suffix}", change), "not known here")
    assert message.isprintable() and os.linesep not in message
