"""Model files whose layers run more often, or give more, than they seem to: what counts is what Keras really makes."""

import json
import struct
import time

import keras
import numpy as np
import pytest

from keras_explainable import loading
from keras_explainable.loading import limits
from support.compare import close
from support.model_files import config_of, edited, entry, function, layers_of, put, refused, small
from support.selection import fast_on_torch

pytestmark = fast_on_torch

IMAGE = np.ones((1, 8, 6, 3), "float32")


@pytest.fixture(params=["model.keras", "model.h5"])
def path(request, tmp_path):
    small(keras.layers.Activation("relu", name="door")).save(tmp_path / request.param)
    return tmp_path / request.param


def nested(levels, calls):
    x = keras.Input((None, None, 3))
    model = keras.Model(x, keras.layers.ReLU()(x))
    for _ in range(levels):
        x = y = keras.Input((None, None, 3))
        for _ in range(calls):
            y = model(y)
        model = keras.Model(x, y)
    return model


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_models_in_models_that_are_called_often(tmp_path, suffix):
    path = tmp_path / f"model{suffix}"
    nested(4, 3).save(path)
    assert loading.load(path).size == (224, 224)

    def inner(config, often=12):
        """Each model of the file calls the one inside so many times: 12 ** 4."""
        called = [layer for layer in layers_of(config) if layer["class_name"] == "Functional"]
        for layer in called:
            layer["inbound_nodes"] = layer["inbound_nodes"][:1] * often
            inner(layer, often)

    refused(edited(path, inner), "more than 10,000 calls of layers")


def test_a_model_that_takes_long_to_connect(path, monkeypatch):
    monkeypatch.setattr(limits, "SECONDS", 0.2)
    monkeypatch.setattr(keras.layers.Dense, "build", lambda *_: time.sleep(1))
    refused(path, "take more than 0.2 s to connect")


def test_a_layer_in_several_places_is_described_alike(tmp_path):
    """Keras makes it once: that the second is small says nothing."""
    path = tmp_path / "model.keras"
    x, shared = keras.Input((8, 6, 3)), keras.layers.UpSampling2D(1, name="up")
    first, second = (keras.Sequential([keras.Input((None, None, 3)), shared]) for _ in "ab")
    y = keras.layers.GlobalAveragePooling2D()(second(first(x)))
    keras.Model(x, keras.layers.Dense(2)(y)).save(path)

    def change(config, size):
        ups = [layers_of(model)[1] for model in layers_of(config)[1:3]]
        for up in ups:
            up["shared_object_id"] = 7
        ups[0]["config"]["size"] = [size, 1]

    model = loading.load(edited(path, lambda config: change(config, 1))).model
    assert model.layers[1].layers[0] is model.layers[2].layers[0]
    refused(edited(path, lambda config: change(config, 9000)), "uses one layer in several places .* differently")


def compiled_within(path):
    inner = small(keras.layers.ReLU())
    inner.compile("adam", "mse", metrics=[keras.metrics.MeanIoU(3, name="metric")])
    model = keras.Sequential([keras.Input((8, 6, 3)), inner])
    model.save(path)
    return model, inner.name


def test_how_models_inside_were_compiled_is_left_out(tmp_path):
    path = tmp_path / "model.keras"
    model, name = compiled_within(path)

    def large(config):
        metric = layers_of(config)[-1]["compile_config"]["metrics"][0]
        metric["config"]["num_classes"] = 30_000  # 3.6 GB

    loaded = loading.load(edited(path, large))
    assert not loaded.model.get_layer(name).compiled
    close(loading.scores(loaded, IMAGE), model.predict(IMAGE, verbose=0), rtol=1e-5)


def test_how_models_inside_were_compiled_is_left_out_of_hdf5_files(tmp_path):
    path = tmp_path / "model.h5"
    model, name = compiled_within(tmp_path / "model.keras")
    model.save(path)
    metric = entry("keras.metrics", "MeanIoU", num_classes=30_000)
    metric["config"]["name"] = "metric"
    kept = {"optimizer": "adam", "loss": None, "metrics": [metric], "weighted_metrics": None}
    edited(path, lambda config: layers_of(config)[-1].update(compile_config=kept))
    loaded = loading.load(path)
    assert not loaded.model.get_layer(name).compiled
    close(loading.scores(loaded, IMAGE), model.predict(IMAGE, verbose=0), rtol=1e-5)


def test_a_lambda_gives_what_its_function_gives(path):
    small(keras.layers.Activation("relu", name="door"), keras.layers.GlobalAveragePooling2D()).save(path)

    def tiled(repeats):
        arguments = {"repeats": [1, repeats, repeats, 1]}
        tile = function("keras.ops", "tile", "tile")
        return entry("keras.layers", "Lambda", function=tile, arguments=arguments, output_shape=[8, 6, 3])

    refused(
        edited(path, lambda config: put(config, tiled(3000))), "a signal of shape .None, 24000, 18000, 3. at 'door'"
    )


def test_a_lambda_that_says_its_shape_works(path):
    tanh = entry("keras.layers", "Lambda", function=function("keras.ops", "tanh", "tanh"), output_shape=[8, 6, 3])
    loaded = loading.load(edited(path, lambda config: put(config, tanh)))
    with_tanh = small(keras.layers.Activation("tanh"))
    with_tanh.set_weights(loaded.model.get_weights())
    close(loading.scores(loaded, IMAGE), with_tanh.predict(IMAGE, verbose=0), atol=1e-5)


def test_a_lambda_makes_no_mask(path):
    masked = entry("keras.layers", "Lambda", function=function("keras.ops", "tanh", "tanh"))
    masked["config"]["mask"] = function("keras.ops", "outer", "outer")
    refused(edited(path, lambda config: put(config, masked)), "the mask of 'door' .* by a function")


@pytest.mark.parametrize("name", ["diagflat", "transpose", "ravel"])
def test_activations_keep_the_shape(path, name):
    def change(config):
        layers_of(config)[-1]["config"]["activation"] = function("keras.ops", name, name)

    refused(edited(path, change), f"keras.ops.{name} as the activation of 'last'.* returns signals of the shape")


@pytest.mark.parametrize("name", ["tanh", "relu", "sigmoid", "square", "abs"])
def test_functions_that_keep_the_shape_are_activations(path, name):
    def change(config):
        layers_of(config)[-1]["config"]["activation"] = function("keras.ops", name, name)

    assert loading.load(edited(path, change)).size == (8, 6)


@pytest.mark.parametrize(
    ("kind", "key"), [("ELU", "alpha"), ("LeakyReLU", "negative_slope"), ("BatchNormalization", "epsilon")]
)
def test_a_list_where_a_number_belongs(path, kind, key):
    rows = {"class_name": "__numpy__", "config": {"value": [[1.0]] * 9, "dtype": "float32"}}
    for value in ([[1.0]] * 9, rows):
        layer = entry("keras.layers", kind, **{key: value})
        edited(path, lambda config, layer=layer: put(config, layer))
        refused(path, f"a list as the {key} of 'door'")


@pytest.mark.parametrize("key", ["scale", "offset"])
@pytest.mark.parametrize("within", [False, True])
def test_rescaling_keeps_the_shape(path, key, within):
    def change(config, value):
        layer = entry("keras.layers", "Rescaling", **{"scale": 1.0, "offset": 0.0, key: value})
        put(config, entry("keras.layers", "TimeDistributed", layer=layer) if within else layer)

    assert loading.load(edited(path, lambda config: change(config, [1.0, 2.0, 3.0]))).size == (8, 6)
    wider = {"class_name": "__numpy__", "config": {"value": [[[[1.0]]]] * 9, "dtype": "float32"}}
    refused(edited(path, lambda config: change(config, wider)), "signal of shape .* at 'door' by numbers of another")


ATTENTIONS = {
    "MultiHeadAttention": (lambda x: keras.layers.MultiHeadAttention(2, 4, name="door")(x, x), 2),
    "GroupQueryAttention": (lambda x: keras.layers.GroupQueryAttention(4, 4, 1, name="door")(x, x), 4),
    "Attention": (lambda x: keras.layers.Attention(name="door")([x, x]), 1),
    "AdditiveAttention": (lambda x: keras.layers.AdditiveAttention(name="door")([x, x]), 3),
}


@pytest.mark.parametrize("name", ATTENTIONS)
def test_pairs_of_places_are_counted(tmp_path, monkeypatch, name):
    attend, times = ATTENTIONS[name]
    x = keras.Input((8, 6, 3))
    y = attend(keras.layers.Reshape((48, 3))(x))
    path = tmp_path / "model.keras"
    keras.Model(x, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling1D()(y))).save(path)
    monkeypatch.setattr(limits, "SIGNAL", times * 48 * 48)
    assert loading.load(path).size == (8, 6)
    monkeypatch.setattr(limits, "SIGNAL", times * 48 * 48 - 1)
    refused(path, f"attention at 'door' with {times * 48 * 48:,} values")


def test_every_call_of_a_layer_is_measured(tmp_path):
    path = tmp_path / "model.keras"
    x = keras.Input((8, 6, 3))
    up = keras.layers.UpSampling2D(2, name="up")
    keras.Model(x, keras.layers.GlobalAveragePooling2D()(up(up(x)))).save(path)
    loading.load(path)

    def change(config):
        next(layer for layer in layers_of(config) if layer["name"] == "up")["config"]["size"] = [150, 150]

    refused(edited(path, change), "a signal of shape .None, 180000, 135000, 3. at 'up'")


@pytest.mark.parametrize("name", ["model.keras", "model.pt"])
def test_a_million_members(tmp_path, name):
    if name == "model.pt" and keras.backend.backend() != "torch":
        pytest.skip("of PyTorch")
    header = struct.pack("<4s4B4HL2L5H2L", b"PK\x01\x02", 20, 3, 20, 0, 0, 0, 0, 33, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0)
    listed = b"".join(header + b"%06d" % i for i in range(1_000_000))
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 65535, 65535, len(listed), 0, 0)
    (tmp_path / name).write_bytes(listed + end)
    start = time.perf_counter()
    refused(tmp_path / name, "a list of members of more than")
    assert time.perf_counter() - start < 1


def test_the_file_itself_stays_as_it_is(tmp_path):
    path = tmp_path / "model.keras"
    compiled_within(path)
    before = path.read_bytes()
    loading.load(path)
    assert path.read_bytes() == before and json.loads(config_of(path))["config"]["layers"][-1]["compile_config"]


@pytest.mark.parametrize(("name", "key"), [("BytePairTokenizer", "merges"), ("WhisperTokenizer", "special_tokens")])
def test_layers_of_keras_hub_read_no_file_by_a_files_word(path, tmp_path, name, key):
    hub = pytest.importorskip("keras_hub")
    if not hasattr(hub.tokenizers, name):
        pytest.skip("of newer versions")
    (tmp_path / "secret.txt").write_text("a b")
    layer = {**entry("keras_hub.tokenizers", name, **{key: str(tmp_path / "secret.txt")})}
    for registered in (None, f"keras_hub>{name}"):
        described = {**layer, "registered_name": registered}
        edited(path, lambda config, described=described: layers_of(config).append(described))
        refused(path, f"makes {name} in 'sequential.*read a file .*secret.txt")


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_what_cannot_be_built_is_told_with_the_layer_and_the_reason(tmp_path, suffix):
    path = tmp_path / f"model{suffix}"
    for layer, words in (
        (entry("keras.layers", "Conv2D", filters=-3, kernel_size=3), "'door': Invalid value for argument `filters`"),
        (entry("keras.layers", "Reshape", target_shape=[7]), "'door': The total size of the tensor must be unchanged"),
        (entry("keras.layers", "Conv2D", filters=3, kernel_size=30), "Computed output size would be zero or negative"),
        (lambda_of("tile"), "'door': .*missing 1 required positional argument: 'repeats'"),
        (lambda_of("tile", repeats="x"), "'door': (?!Exception encountered)"),
    ):
        x = keras.Input((8, 6, 3))
        y = keras.layers.Flatten()(keras.layers.ReLU(name="door")(x))
        keras.Model(x, keras.layers.Dense(2)(y)).save(path)
        edited(path, lambda config, layer=layer: put(config, layer))
        refused(path, f"holds no complete Keras model .{words}")


def lambda_of(name, **arguments):
    return entry("keras.layers", "Lambda", function=function("keras.ops", name, name), arguments=arguments)


def test_a_layer_that_keeps_states_is_named(tmp_path):
    path = tmp_path / "model.keras"
    x = keras.Input(batch_shape=(2, 8, 6, 3))
    y = keras.layers.LSTM(4, stateful=True, name="memory")(keras.layers.Reshape((-1, 18))(x))
    keras.Model(x, keras.layers.Dense(2)(y)).save(path)
    refused(path, "weights that cannot be counted in advance in 'memory', as a stateful layer does")
