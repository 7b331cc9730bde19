"""Functions as models: explained where scores are enough, refused where more is needed."""

import functools

import keras
import numpy as np
import pytest

import keras_explainable as ke
from keras_explainable import models
from keras_explainable.errors import ExplainError, InputError, LayerError
from support import keras_models
from support.calls import few
from support.compare import close
from support.keras_models import SHAPE
from support.selection import crossed, fast_on_torch, slow_compiled

pytestmark = slow_compiled

W = np.random.default_rng(5).normal(size=(*SHAPE, 4))


def linear(images):
    """Scores (B, 4), in double precision, as functions of NumPy arrays are wont to give."""
    assert isinstance(images, np.ndarray) and images.dtype == np.float32
    return np.einsum("bhwc,hwck->bk", images.astype("float64"), W)


class Served:
    """A method of an object, and an object that is called."""

    def __call__(self, images):
        return linear(images)

    def predict(self, images):
        return linear(images)


CALLABLES = {
    "function": linear,
    "method": Served().predict,
    "object": Served(),
    "partial": functools.partial(lambda scale, images: scale * linear(images), 1.0),
    "wrapped": ke.BlackBox(linear),
    "tensors": ke.BlackBox(lambda images: keras.ops.einsum("bhwc,hwck->bk", images, W.astype("float32")), tensors=True),
}


@pytest.mark.parametrize("name", CALLABLES)
def test_scores_are_the_functions(name):
    x = keras_models.images("functional")
    view = models.view(CALLABLES[name], x, np.array([[1], [3], [0]]))
    scores, _ = view.evaluate()
    close(keras.ops.convert_to_numpy(scores)[:, 0], linear(x)[[0, 1, 2], [1, 3, 0]], rtol=1e-4)
    assert view.unit_count() == 4


BLIND = [name for name, record in ke.registry.METHODS.items() if ke.registry.Need.BLACK_BOX not in record.needs]


@fast_on_torch
@pytest.mark.parametrize("method", BLIND)
def test_what_needs_more_is_refused(method):
    x = keras_models.images("functional")
    for function in (linear, ke.BlackBox(linear)):
        with pytest.raises(ExplainError, match="Use a method that needs nothing but a black box"):
            ke.explain(method, function, x, 1, verbose=0, **few(method))


@pytest.mark.parametrize("question", [ke.inspection.layers_with_biases, ke.inspection.expose])
def test_it_has_no_layers(question):
    with pytest.raises((LayerError, InputError)):
        question(linear)


def test_what_is_no_scores_is_refused():
    x = keras_models.images("functional")
    view = models.view
    with pytest.raises(InputError, match="returned a dict"):
        view(lambda images: {"a": images}, x).evaluate()
    with pytest.raises(InputError, match="Unit 4 was asked for, and the model has units 0 to 3"):
        ke.gradients(linear, x, 4, verbose=0)
    with pytest.raises(InputError, match="a function from images to scores"):
        ke.BlackBox("model.onnx")
    with pytest.raises(InputError, match="or function from images to scores was expected"):
        ke.gradients("model.onnx", x, 4, verbose=0)
    picked = view(lambda images: {"a": linear(images)}, x, score=ke.scores.output("a")).evaluate()[0]
    close(keras.ops.convert_to_numpy(picked), linear(x), rtol=1e-4, atol=1e-4)


def test_scores_that_make_no_map_are_refused():
    x = keras_models.images("functional")
    for value in (np.nan, np.inf, -np.inf):
        with pytest.raises(InputError, match="NaN or infinite scores for 1 of 1 images"):
            ke.rise(lambda images, value=value: np.full((len(images), 2), value), x, 0, repetitions=3, verbose=0)
    with np.errstate(invalid="ignore"), pytest.raises(InputError, match="NaN or infinite scores .* changed images"):
        ke.occlusion(standardized, x, 0, verbose=0, patch=SHAPE[:2], baseline=0.0)
    picked = ke.rise(
        lambda im: linear(im) * [1, np.nan, 1, 1], x, 0, score=lambda v: v[:, :1], repetitions=3, verbose=0
    )
    close(picked, ke.rise(linear, x, 0, repetitions=3, verbose=0), 1e-4)  # what a score leaves out may be anything


def standardized(images):
    """Scores that are NaN for an image of one value, as where a preprocessing divides by a standard deviation."""
    spread = images.std(axis=(1, 2, 3), keepdims=True)
    return linear((images / spread).astype("float32"))


@pytest.mark.parametrize("tensors", [False, True])
def test_scores_of_another_number_of_images_are_refused(tensors):
    x = keras_models.images("functional")
    for function in (lambda images: keras.ops.ones((1, 2)), lambda images: keras.ops.ones(())):
        with pytest.raises(InputError, match=r"scores of shape \(.*\) for images of shape .* a row for each image"):
            ke.rise(ke.BlackBox(function, tensors=tensors), x, repetitions=3, verbose=0)


def test_channels_that_seem_first_are_asked_for():
    x = np.zeros((2, 3, 16, 20), "float32")

    def function(images):
        return np.asarray(images).mean((1, 2, 3))[:, None]

    with pytest.raises(InputError, match=r"\(1, 3, 16, 20\) came.*ke.BlackBox\(function, channels_first=True\)"):
        ke.rise(function, x, 0, repetitions=2, verbose=0)
    assert ke.rise(ke.BlackBox(function, channels_first=True), x + 1, 0, repetitions=8, verbose=0).maps.shape[1] == 16


SEEING = [name for name, record in ke.registry.METHODS.items() if ke.registry.Need.BLACK_BOX in record.needs]


@pytest.mark.parametrize(("method", "tensors"), crossed(SEEING, [False, True]))
def test_a_function_of_one_image_gets_one_image_at_a_time(method, tensors):
    """As programs of TFLite or ONNX are often exported; the maps are those of a function that takes any number."""
    x, params = (
        keras_models.images("functional", 3),
        {"repetitions": 2 if method == "sobol" else 20} if few(method) else {"patch": 12},
    )
    plain, come = CALLABLES["tensors" if tensors else "wrapped"], []

    def one(images):
        come.append(len(images))
        if len(images) > most:
            raise ValueError(f"{len(images)} images came, and {most} at most was expected")
        return plain(images)

    expected = ke.explain(method, plain, x, [1, 3, 0], verbose=0, **params)
    for most, subject in ((1, ke.BlackBox(one, tensors=tensors)), (2, ke.BlackBox(one, tensors=tensors))):
        come.clear()
        found = ke.explain(method, subject, x, [1, 3, 0], batch_size=most, verbose=0, **params)
        assert max(come) == most
        for a, b in zip(found, expected, strict=True):
            close(a, b, rtol=1e-3, atol=1e-4 * abs(b).max())
    most = 1
    for meta in (
        ke.methods.meta.smooth(method, 2),
        ke.methods.meta.tta(method, (0.5,)),
        ke.methods.meta.ensemble([method]),
    ):
        subject = ke.BlackBox(
            lambda images: one(images) if images.shape[1] == 20 else 1 + images[:, 0, 0], tensors=tensors
        )
        assert ke.explain(meta, subject, x[:2], "predicted", batch_size=1, verbose=0, **params).maps.shape[0] == 2
    with pytest.raises(ValueError, match="images came, and 1 at most"):
        ke.explain(method, ke.BlackBox(one, tensors=tensors), x[:1], batch_size=1, at_once=4, verbose=0, **params)


def test_what_a_function_raises_comes_with_what_it_got():
    def function(images):
        raise TypeError("no tensor")

    with pytest.raises(TypeError, match="no tensor") as caught:
        ke.rise(function, np.zeros((1, 8, 8, 3), "float32"), 0, repetitions=2, verbose=0)
    assert any("NumPy arrays; ke.BlackBox(function, tensors=True)" in note for note in caught.value.__notes__)
