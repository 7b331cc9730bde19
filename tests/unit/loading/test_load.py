"""Models by name or file: fed as they expect, refused with a sentence where damaged, foreign, or unsafe."""

import zipfile

import keras
import numpy as np
import pytest

from keras_explainable import demo, loading
from keras_explainable.errors import InputError, ModelFileError
from support.compare import close
from support.selection import fast_on_torch, slow_compiled

pytestmark = fast_on_torch

PIXELS = np.array([[[[0, 51, 255]]]], "uint8")


def small(*layers, shape=(8, 6, 3)):
    return keras.Sequential([keras.Input(shape), *layers, keras.layers.Flatten(), keras.layers.Dense(2)])


@pytest.fixture(params=["model.keras", "model.h5"])
def path(request, tmp_path):
    return tmp_path / request.param


def test_the_demo_model_is_the_default_and_knows_its_classes():
    for name in (None, "demo"):
        model, preprocess, size, names = loading.load(name)
        images, labels, _ = demo.load_scenes(8, seed=3)
        assert size == (96, 96) and names == list(demo.CLASSES)
        scores = loading.scores(loading.load(name), preprocess(images))
        assert ((scores > 0) == labels).mean() > 0.95


@slow_compiled
def test_a_file_gives_the_model_that_was_saved(path, rng):
    model = small(keras.layers.Conv2D(4, 3))
    model.save(path)
    loaded = loading.load(path)
    x = rng.random((2, 8, 6, 3)).astype("float32")
    close(loading.scores(loaded, x), model.predict(x, verbose=0), atol=1e-6)
    assert loaded.size == (8, 6) and loaded.class_names is None


def test_a_file_is_fed_in_0_to_1_or_raw_if_it_scales_itself_or_as_told(tmp_path):
    small().save(tmp_path / "unit.keras")
    keras.Sequential([keras.Input((8, 6, 3)), small(keras.layers.Rescaling(1 / 255))]).save(tmp_path / "raw.keras")
    unit, raw = loading.load(tmp_path / "unit.keras"), loading.load(tmp_path / "raw.keras")
    close(unit.preprocess(PIXELS), PIXELS / 255, rtol=1e-7)
    np.testing.assert_array_equal(raw.preprocess(PIXELS), PIXELS)
    assert unit.preprocess.guessed and not raw.preprocess.guessed
    chosen = loading.load(tmp_path / "unit.keras", scale="tf").preprocess
    close(chosen(PIXELS), [[[[-1, -0.6, 1]]]], atol=1e-6)
    assert chosen(PIXELS).dtype == np.float32 and not chosen.guessed
    caffe = loading.load(tmp_path / "unit.keras", scale="caffe").preprocess
    close(caffe(PIXELS), [[[[255 - 103.939, 51 - 116.779, -123.68]]]], rtol=1e-5)
    np.testing.assert_array_equal(PIXELS, [[[[0, 51, 255]]]])  # untouched


def test_grey_and_channels_first_models_get_what_they_take(tmp_path):
    small(shape=(8, 6, 1)).save(tmp_path / "grey.keras")
    grey = loading.load(tmp_path / "grey.keras", scale="raw")
    close(grey.preprocess(PIXELS), [[[[0.587 * 51 + 0.114 * 255]]]], rtol=1e-6)
    small(shape=(3, 8, 6)).save(tmp_path / "first.keras")
    first = loading.load(tmp_path / "first.keras", scale="raw")
    assert first.size == (8, 6)
    np.testing.assert_array_equal(first.preprocess(PIXELS), PIXELS.transpose(0, 3, 1, 2))


def test_a_model_of_any_size_gets_224():
    loaded = loading.with_preprocessing(
        keras.Sequential([keras.Input((None, None, 3)), keras.layers.Conv2D(1, 1)]), None, "raw"
    )
    assert loaded.size == (224, 224)


def test_every_keras_application_is_known():
    names = set(loading.applications())
    public = {n for n in dir(keras.applications) if n[0].isupper()}
    assert names == public and len(names) > 30
    for name, module in {"ResNet50V2": "resnet_v2", "VGG16": "vgg16", "MobileNetV3Small": "mobilenet_v3"}.items():
        assert loading.applications()[name] is getattr(keras.applications, module)


def test_an_application_gives_logits_and_its_own_preprocessing(monkeypatch):
    built = {}

    def mobile_net(weights, classifier_activation):
        built.update(weights=weights, activation=classifier_activation)
        return small(shape=(32, 32, 3))

    monkeypatch.setattr(keras.applications, "MobileNetV2", mobile_net)
    loaded = loading.load("mobilenetv2", weights=None)
    assert built == {"weights": None, "activation": None} and loaded.size == (32, 32)
    close(loaded.preprocess(PIXELS), [[[[-1, -0.6, 1]]]], atol=1e-6)


def test_weights_that_cannot_be_downloaded(monkeypatch):
    def offline(**_):
        raise Exception("URL fetch failure on https://example.org: None -- no network")

    monkeypatch.setattr(keras.applications, "MobileNetV2", offline)
    with pytest.raises(ModelFileError, match="weights of MobileNetV2 could not be downloaded.*--weights none"):
        loading.load("MobileNetV2")


def test_names_that_nobody_has():
    with pytest.raises(ModelFileError, match="Did you mean .*MobileNetV2"):
        loading.load("MobileNetV4")
    with pytest.raises(ModelFileError, match="neither a file nor a model"):
        loading.load("qqq")
    with pytest.raises(ModelFileError, match="no model file at .*none.keras"):
        loading.load("some/none.keras")


def test_code_in_a_file_is_refused_until_it_is_allowed(path, rng):
    model = small(keras.layers.Lambda(lambda x: x * 2))
    model.save(path)
    with pytest.raises(ModelFileError, match="Python code.*--unsafe"):
        loading.load(path)
    x = rng.random((2, 8, 6, 3)).astype("float32")
    loaded = loading.load(path, safe_mode=False)
    close(loading.scores(loaded, x), model.predict(x, verbose=0), atol=1e-6)


def test_a_class_that_is_not_known_here_is_named(path):
    @keras.saving.register_keras_serializable("test_loading")
    class Odd(keras.layers.Layer):
        def call(self, x):
            return x

    small(Odd()).save(path)
    keras.saving.get_custom_objects().pop("test_loading>Odd")
    with pytest.raises(ModelFileError, match="uses .*Odd, which is not known here"):
        loading.load(path)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_file_cut_short(path, share):
    small(keras.layers.Conv2D(64, 3)).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(ModelFileError, match="cut short"):
        loading.load(path)


def test_a_damaged_archive(tmp_path):
    path = tmp_path / "model.keras"
    small(keras.layers.Conv2D(64, 3)).save(path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2 - 500 : len(data) // 2 + 500] = bytes(1000)
    path.write_bytes(data)
    with pytest.raises(ModelFileError, match="damaged"):
        loading.load(path)


def test_foreign_files(tmp_path):
    (tmp_path / "text.keras").write_text("hello, I am not a model")
    with pytest.raises(ModelFileError, match="text.keras is not a Keras model"):
        loading.load(tmp_path / "text.keras")
    with zipfile.ZipFile(tmp_path / "other.keras", "w") as file:
        file.writestr("a.txt", "b")
    with pytest.raises(ModelFileError, match="no complete Keras model"):
        loading.load(tmp_path / "other.keras")
    small().save_weights(tmp_path / "model.weights.h5")
    with pytest.raises(ModelFileError, match="not only its weights"):
        loading.load(tmp_path / "model.weights.h5")
    small().save(tmp_path / "model.keras")
    (tmp_path / "model.keras").rename(tmp_path / "model.zip")
    with pytest.raises(ModelFileError, match="rename it"):
        loading.load(tmp_path / "model.zip")
    with pytest.raises(ModelFileError, match="is a folder"):
        loading.load(tmp_path)


def test_models_that_take_no_image_or_give_no_scores(tmp_path):
    keras.Sequential([keras.Input((7,)), keras.layers.Dense(2)]).save(tmp_path / "rows.keras")
    with pytest.raises(InputError, match=r"\(None, 7\)"):
        loading.load(tmp_path / "rows.keras")
    a, b = keras.Input((8, 8, 3)), keras.Input((8, 8, 3))
    keras.Model([a, b], keras.layers.Add()([a, b])).save(tmp_path / "two.keras")
    with pytest.raises(InputError, match="and one batch of images"):
        loading.load(tmp_path / "two.keras")
    keras.Sequential([keras.Input((8, 8, 5)), keras.layers.Flatten()]).save(tmp_path / "five.keras")
    with pytest.raises(InputError, match="5 channels"):
        loading.load(tmp_path / "five.keras")
    keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(2, 1)]).save(tmp_path / "dense.keras")
    with pytest.raises(InputError, match=r"\(1, 8, 8, 2\)"):
        loading.scores(loading.load(tmp_path / "dense.keras"), np.zeros((1, 8, 8, 3), "float32"))
    with pytest.raises(InputError, match="'percent'"):
        loading.load(scale="percent")


@pytest.mark.real
@pytest.mark.parametrize(("name", "scale", "best"), [("resnet8*.h5", "raw", 0.8), ("cnn_flatten*.keras", "unit", 0.6)])
def test_real_files_recognise_real_photos(real_data, name, scale, best):
    import networks

    (file,) = (real_data / "weights").glob(name)
    loaded = loading.load(file, scale=scale)
    images, labels, _ = networks.cifar10()
    units = loading.scores(loaded, loaded.preprocess(images)).argmax(-1)
    assert (units == labels).mean() >= best
