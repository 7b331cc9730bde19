"""What random calls found: options of the wrong kind are refused by one error, whichever method takes them."""

import keras
import numpy as np
import pytest
from keras import layers as L

import keras_explainable as ke
from keras_explainable.errors import InputError
from support import keras_models
from support.calls import raw
from support.compare import close
from support.selection import fast_on_torch, slow_compiled

pytestmark = fast_on_torch

WORDS, RAGGED = np.array(["a", "b"]), [[1], [1, 2]]


@pytest.fixture(scope="module")
def model():
    return keras_models.build("functional")


@pytest.fixture(scope="module")
def x():
    return keras_models.images("functional", 2)


WRONG = [
    ("gradients", {"reduce": WORDS}, "reduce=.* came: use one of 'mean', 'max', 'sum', or None"),
    ("input_x_gradient", {"reduce": ["sum"]}, "reduce=.* came: use one of 'sum', 'absolute'"),
    ("smoothgrad", {"noise_kind": WORDS}, "noise_kind=.* came: use one of 'absolute', 'range'"),
    ("smoothgrad", {"repetitions": 10**30}, "repetitions=1000.* came, and a whole number of 1 or more was expected"),
    ("integrated_gradients", {"quadrature": {}}, "quadrature={} came: use one of 'gauss_legendre', 'midpoint'"),
    ("full_gradients", {"aggregation": {1}}, r"aggregation=\{1\} came: use one of 'sum', 'mean', or a function"),
    ("full_gradients", {"biases": 1.5}, "biases=1.5 came for the 6 calls of layers with a bias"),
    ("lrp_epsilon", {"epsilon": [1, 2]}, r"epsilon=\[1, 2\] came, and a number above 0 was expected"),
    ("attnlrp", {"gamma": {1}}, r"gamma=\{1\} came, and a number of 0 or more was expected"),
    ("finercam", {"gamma": {}}, "gamma={} came, and a number was expected"),
    ("layercam", {"layers": -1}, "layers=-1 came, and a list of layers was expected"),
    ("lime", {"segments": RAGGED, "repetitions": 2}, "integer labels of one image"),
    ("xrai", {"segments": 3, "repetitions": 1}, "segments=3 came, and a function from an image to masks was expected"),
    ("gradcam", {"precision": WORDS}, "precision=.* came: use one of 'bfloat16', 'float16'"),
    ("gradcam", {"channels": WORDS}, "channels=.* came, and \"first\", \"last\", \"none\" or the number of an axis"),
    ("gradcam", {"as_numpy": WORDS}, "as_numpy=.* came, and True or False was expected"),
    ("gradcam", {"run_eagerly": "yes"}, "run_eagerly='yes' came, and True or False was expected"),
    ("gradcam", {"callbacks": "a"}, "callbacks=.* came, and a list of keras.callbacks.Callback was expected"),
    ("gradcam", {"callbacks": [3]}, "callbacks=.* came, and a list of keras.callbacks.Callback was expected"),
    ("gradcam", {"verbose": float("inf")}, 'verbose=inf came, and "auto", 0, 1 or 2 was expected'),
    ("gradcam", {"steps": 10**30}, "steps=1000.* came, and an integer of at least 1 was expected"),
    ("gradcam", {"score": lambda: None}, "score=.* came, and a function from the model's outputs"),
    ("gradcam", {"score": lambda outputs: WORDS}, "returned a ndarray of <U1, and an array or tensor"),
    ("gradcam", {"score": lambda outputs: ["a"]}, "returned a list, and an array or tensor"),
    ("gradcam", {"score": lambda outputs: outputs[:, :0]}, r"gave shape \(., 0\) for . images, and a row for each image"),
    ("gradcam", {"score": lambda outputs: outputs[:1]}, r"gave shape \(1, 5\) for 2 images, and a row for each image"),
    ("gradcam", {"postprocessing": lambda: None}, "postprocessing=.* came, and a function such as"),
    ("gradcam", {"postprocessing": lambda maps: maps[:1]}, r"returned maps of shape \(1, 8, 10, 1\), and the maps were"),
    ("gradcam", {"postprocessing": lambda maps: np.ones(2)}, r"returned maps of shape \(2,\), and the maps were expected"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "params", "message"), WRONG)
def test_an_option_of_the_wrong_kind(method, params, message, model, x):
    y = None if "score" in params else 1
    with pytest.raises(InputError, match=f"(?s){message}"):
        ke.explain(method, model, x, y, **{"verbose": 0, **params})


@pytest.mark.parametrize("params", [{"grid": 3}, {"grid": ("a", 1)}, {"prefix": "a"}, {"prefix": -1}, {"prefix": 1.5}])
def test_a_grid_and_a_prefix_are_numbers(params):
    model, x = keras_models.build("transformer"), keras_models.images("transformer", 1)
    (name,) = params
    with pytest.raises(InputError, match=f"{name}=.* came, and"):
        raw("attention_rollout", model, x, 1, **params)
    with pytest.raises(InputError, match=f"{name}=.* came, and"):
        raw("gradcam", model, x, 1, layer={"name": "block1_norm1", **params})


def test_images_that_a_layer_cannot_take(x):
    subclassed = keras_models.build("subclassed")
    for images in (x[0], x[None], x[:, :1]):
        with pytest.raises(InputError, match="(?s)Images of shape .* came, and the model cannot run on them: "):
            raw("gradcam", subclassed, images, 0)
    scaled = ke.methods.meta.tta("gradients", (0.5,))
    with pytest.raises(
        InputError, match=r"scales=0.5 makes images of shape \(2, 10, 12, 3\), and the model cannot run"
    ):
        raw(scaled, keras_models.build("flatten"), x, 0)


@slow_compiled
def test_what_was_right_before_still_is(model, x):
    expected = raw("gradcam", model, x, 1)
    for params in ({"callbacks": keras.callbacks.Callback()}, {"callbacks": ()}, {"verbose": False}, {"as_numpy": 1}):
        close(raw("gradcam", model, x, 1, **params), expected)
    close(raw("gradcam", model, x, 1, postprocessing=lambda maps, axis: 2 * maps), (expected[0], 2 * expected[1]))
    mean = raw("gradcam", model, x, None, postprocessing=lambda maps: keras.ops.mean(maps, axis=-1))
    close(mean.maps, raw("gradcam", model, x, None).maps.mean(axis=-1), atol=1e-6)
    found = raw("full_gradients", model, x, 1, aggregation=lambda v: keras.ops.sum(v, axis=-1))
    assert found.maps.shape == (2, *keras_models.SIZE, 1)


@slow_compiled
def test_the_box_rule_goes_by_the_axes_of_the_model():
    """Channels that the model itself moves, and images without any: as of the model that gets them in its own order."""
    plain = keras_models.stack(0, "boxed", head=keras_models.logits())
    x = keras_models.images("boxed", 2)
    inner = keras.Input((3, *keras_models.SIZE))
    moved = keras.Model(inner, plain(L.Permute((2, 3, 1))(inner)))
    for bounds in ({}, {"low": -3.0, "high": 3.0}):
        expected = raw("lrp_epsilon_gamma_box", plain, x, 1, **bounds)
        close(raw("lrp_epsilon_gamma_box", moved, np.moveaxis(x, -1, 1), 1, **bounds), expected, 1e-4)
    for bounds in ({}, {"low": -3.0, "high": 3.0}):  # rows said to be the channels: their sum is that of both
        found, expected = (raw("lrp_epsilon_gamma_box", plain, x, 1, channels=c, **bounds) for c in (1, 3))
        assert found.maps.shape == (2, keras_models.SIZE[1], 3, 1)
        close((found.scores, found.maps.sum(axis=2)), (expected.scores, expected.maps.sum(axis=1)), 1e-4)
