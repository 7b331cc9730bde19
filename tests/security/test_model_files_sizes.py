"""Model files that are small and declare, or unpack to, what exhausts memory or time: refused before that is done."""

import json
import os
import re
import zipfile

import h5py
import keras
import pytest

from keras_explainable import loading
from keras_explainable.loading import configs
from support.model_files import edited, layers_of, refused, rewrite, small, write_config
from support.selection import very_slow_compiled

pytestmark = very_slow_compiled


@pytest.fixture(params=["model.keras", "model.h5"])
def path(request, tmp_path):
    small(keras.layers.Conv2D(4, 3, name="door")).save(tmp_path / request.param)
    return tmp_path / request.param


def test_more_weights_than_the_file_holds(path):
    def units(config):
        layers_of(config)[-1]["config"]["units"] = 10**10

    refused(edited(path, units), "declares 970,000,000,112 weights and holds 306;")

    def input_shape(config):
        layers_of(config)[-1]["config"]["units"] = 2
        for layer in layers_of(config):
            layer.pop("build_config", None)
        config["config"].pop("build_input_shape", None)
        layers_of(config)[0]["config"]["batch_shape"] = [None, 5000, 4000, 3]

    refused(edited(path, input_shape), "declares .* weights and holds")


def test_weights_are_counted_without_making_one(path, monkeypatch):
    made = []
    monkeypatch.setattr(keras.initializers.GlorotUniform, "__call__", lambda *a, **k: made.append(a) or 1 / 0)
    refused(edited(path, lambda config: layers_of(config)[-1]["config"].update(units=10**10)), "weights and holds")
    assert not made


def test_more_layers_than_any_model(path):
    def many(config):
        kind = {"class_name": "Activation", "config": {"activation": "relu", "name": "a"}}
        one = {**kind, "module": "keras.layers", "registered_name": None} if path.suffix == ".keras" else kind
        layers_of(config)[1:1] = [one] * (configs.LAYERS + 1)

    refused(edited(path, many), "more than 5,000 layers")


def test_more_calls_than_any_model(path, tmp_path):
    x = keras.Input((8, 6, 3), name="x")
    path = tmp_path / f"calls{path.suffix}"
    keras.Model(x, keras.layers.Flatten()(keras.layers.ReLU()(x))).save(path)

    def often(config):
        layers_of(config)[1]["inbound_nodes"] = [[["x", 0, 0, {}]]] * (configs.CALLS + 1)

    refused(edited(path, often), "10,000 calls")


def chain(length, path):
    x = y = keras.Input((8, 6, 3), name="x")
    y = keras.layers.Flatten()(keras.layers.ReLU(name="first")(y))
    keras.Model(x, y).save(path)

    def change(config):
        layers = layers_of(config)
        first = layers[1]
        made = []
        for i in range(length):
            text = json.dumps({**first, "inbound_nodes": first["inbound_nodes"]})
            text = text.replace('"first"', f'"r{i}"').replace('"x"', f'"r{i - 1}"' if i else '"first"')
            made.append(json.loads(text))
        last = json.loads(json.dumps(layers[2]).replace('"first"', f'"r{length - 1}"'))
        config["config"]["layers"] = [layers[0], *reversed(made), last, first]

    return edited(path, change)


def test_layers_in_an_order_that_takes_long_to_connect(tmp_path):
    for name in ("model.keras", "model.h5"):
        assert loading.load(chain(30, tmp_path / name)).size == (8, 6)  # out of order alone is no harm
        refused(chain(1200, tmp_path / name), "more than a million steps")


def test_deep_configurations_and_models(path):
    def deep(config):
        layers_of(config)[-1]["config"]["anything"] = json.loads("[" * 120 + "]" * 120)

    refused(edited(path, deep), "nested more than 100 deep")
    write_config(path, '{"a":' * 100_000 + "1" + "}" * 100_000)
    refused(path, "damaged|no complete Keras model")


def test_models_in_models(path):
    model = keras.Sequential([keras.Input((8, 6, 3)), keras.layers.ReLU()])
    for _ in range(configs.NESTED):
        model = keras.Sequential([keras.Input((8, 6, 3)), model])
    model.save(path)
    refused(path, "models nested more than 10 deep")


def test_long_configurations(path):
    write_config(path, json.dumps({"a": [[]] * (configs.CONTAINERS + 1)}))
    refused(path, "configuration of more than")
    if path.suffix == ".keras":  # HDF5 allows no longer text anyway
        write_config(path, json.dumps({"a": "b" * (configs.BYTES + 1)}))
        refused(path, "configuration of more than")


def test_signals_larger_than_any(path):
    small(keras.layers.UpSampling2D(2, name="door"), keras.layers.GlobalAveragePooling2D()).save(path)
    loading.load(path)

    def change(config):
        layers_of(config)[1]["config"]["size"] = [10_000, 10_000]

    refused(edited(path, change), "a signal of shape .None, 80000, 60000, 3. at 'door'")


def test_a_pipe_is_not_waited_for(path):
    path.unlink()
    os.mkfifo(path)
    refused(path, "not a regular file")


def test_images_and_numbers_larger_than_any(path):
    def side(config):
        layers_of(config)[0]["config"]["batch_shape"] = [None, 100_000, 100_000, 3]

    refused(edited(path, side), "an input of shape .None, 100000")

    def wide(config):
        side = {"class_name": "__numpy__", "config": {"value": ["a"], "dtype": "U1000000000"}}
        layers_of(config)[0]["config"]["batch_shape"] = [None, 8, 6, 3]
        layers_of(config)[-1]["config"]["anything"] = side

    refused(edited(path, wide), "numbers of the type 'U1000000000'")


def bomb(file):
    """100 GB that are stored in a few bytes each."""
    for name in "abc":
        file.create_dataset(name, (10**5, 10**5), "float32", chunks=(1000, 1000), compression="gzip", fillvalue=1)


def test_weights_that_unpack_to_gigabytes(path, tmp_path):
    if path.suffix == ".h5":
        with h5py.File(path, "a") as file:
            bomb(file["model_weights"])
        refused(path, "bytes unpack to")
        return
    whole = path.read_bytes()
    rewrite(path, {"assets/more": bytes(300 << 20)}, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 1 << 20
    refused(path, "bytes unpack to 3")
    path.write_bytes(whole)
    with h5py.File(tmp_path / "bomb.h5", "w") as file:
        bomb(file)
    refused(rewrite(path, {"model.weights.h5": (tmp_path / "bomb.h5").read_bytes()}), "bytes unpack to")


def test_a_size_that_the_archive_lies_about(path):
    if path.suffix == ".h5":
        pytest.skip("of archives")
    rewrite(path, {"assets/more": bytes(300 << 20)}, zipfile.ZIP_DEFLATED)
    data = path.read_bytes()
    lie = re.sub(re.escape((300 << 20).to_bytes(4, "little")), (100).to_bytes(4, "little"), data, flags=re.DOTALL)
    assert lie != data
    path.write_bytes(lie)
    refused(path, "damaged|no complete Keras model")


def test_many_members(tmp_path):
    small().save(tmp_path / "model.keras")
    rewrite(tmp_path / "model.keras", {f"assets/{i}": b"" for i in range(10_001)})
    refused(tmp_path / "model.keras", "over 10,000 members")
