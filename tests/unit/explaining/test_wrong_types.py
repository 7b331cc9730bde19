"""What is of the wrong type is refused at the door by one error, which says what came and what was expected."""

import keras
import numpy as np
import pytest
from keras import layers as L

import keras_explainable as ke
from keras_explainable import scores
from keras_explainable.errors import InputError
from support import keras_models
from support.calls import raw
from support.keras_models import SHAPE
from support.selection import BACKEND, crossed, fast_on_torch

pytestmark = fast_on_torch

N = 4


@pytest.fixture(scope="module")
def model():
    return keras_models.build("functional")


@pytest.fixture(scope="module")
def x():
    return keras_models.images("functional", N)


@pytest.mark.parametrize("score", ["unit", 3, {"a": 1}, np.ones((4, 1))])
def test_a_score_that_is_no_function(score, model, x):
    for explain in (ke.gradcam, ke.occlusion, ke.full_gradient_decomposition, ke.integrated_gradients_gap):
        with pytest.raises(InputError, match="(?s)score=.* came, and a function .* ke.scores.*; for a unit, give y=3"):
            explain(model, x, 1, score=score, verbose=0)


RETURNED = {
    "None": (
        lambda outputs: None,
        r"returned None \(is a return statement missing\?\), and an array or tensor \(batch, units\)",
    ),
    "a dictionary": (lambda outputs: {"a": outputs}, "returned a dict, and an array"),
    "a word": (lambda outputs: "a", "returned a str, and an array"),
    "None, negated": (scores.negated(lambda outputs: None), "None came, .* is a return statement missing"),
}


@pytest.mark.parametrize(("method", "kind"), crossed(["gradcam", "occlusion", "integrated_gradients"], RETURNED))
def test_a_score_that_returns_no_scores(method, kind, model, x):
    score, message = RETURNED[kind]
    for y in (None, 0, "predicted"):
        with pytest.raises(InputError, match=message):
            raw(method, model, x, y, score=score)
    with pytest.raises(InputError, match=message):
        ke.get(method)(model, x, None, score=score)
    with pytest.raises(InputError, match=message):
        raw("occlusion", lambda images: keras.ops.convert_to_numpy(model(images)), x, score=score)


@pytest.mark.parametrize("method", ["gradcam", "smoothgrad"])
def test_postprocessing_that_returns_no_maps(method, model, x):
    for made, described in ((None, "None"), ({}, "A dict")):
        with pytest.raises(InputError, match=f"postprocessing=.*returned {described}, and the maps were expected"):
            ke.explain(method, model, x, 1, postprocessing=lambda maps, made=made: made, verbose=0)


@pytest.mark.parametrize("seed", ["a", 1.5, True, [3], None])
def test_a_seed_that_is_no_number_also_where_nothing_is_drawn(seed, model, x):
    for method in ("gradients", "smoothgrad", "rise"):
        if seed is None:
            assert raw(method, model, x, 1, seed=np.int64(3)).maps.shape[-1] == 1
        else:
            with pytest.raises(InputError, match="seed=.* came, and a whole number or None was expected"):
                raw(method, model, x, 1, seed=seed)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="ragged tensors are TensorFlow's")
def test_ragged_tensors(model, x):
    import tensorflow as tf

    ragged = tf.RaggedTensor.from_tensor(x)
    for source in (ragged, iter([ragged]), tf.data.Dataset.from_tensors(ragged)):
        with pytest.raises(InputError, match="A RaggedTensor of shape .* came, and images of one size were expected"):
            raw("gradcam", model, source, 1)
    with pytest.raises(InputError, match="y is ragged"):
        raw("gradcam", model, x, tf.ragged.constant([[1], [1, 2], [1], [1]]))


@pytest.fixture(scope="module")
def two():
    image, number = keras.Input(SHAPE, name="image"), keras.Input((2,), name="number")
    pooled = L.GlobalAveragePooling2D()(L.Conv2D(4, 3)(image))
    logits = L.Dense(3)(L.Concatenate()([pooled, number]))
    return keras_models.randomize(keras.Model({"image": image, "number": number}, logits))


def batch(x, **others):
    return {"image": x, "number": np.zeros((N, 2), "float32")} | others


LEAVES = {
    "another name": (
        lambda x: batch(x),
        "photo",
        "leaf='photo' came, and x has no such leaf: use 'image' or 'number'",
    ),
    "a list": (lambda x: batch(x), ["image"], r"leaf=\['image'\] came, and x has no such leaf"),
    "a dictionary": (lambda x: batch(x), {"image": 1}, "leaf={'image': 1} came, and x has no such leaf"),
    "an array": (lambda x: batch(x), np.array([0]), "came, and x has no such leaf"),
    "a number": (lambda x: batch(x), 0, "leaf=0 came, and x has no such leaf"),
    "labels beside": (
        lambda x: batch(x, label=np.zeros(N)),
        "image",
        "takes 'image', 'number', and x with leaf= has 'image', 'number', 'label': leave out what is not an input",
    ),
    "names of another model": (
        lambda x: {"pixels": x, "labels": np.zeros(N)},
        "pixels",
        "takes 'image', 'number', and x with leaf= has 'pixels', 'labels'",
    ),
    "nothing in its place": (
        lambda x: batch(x, number=None),
        "image",
        "takes 'image', 'number', and x .* has 'image':",
    ),
    "words": (lambda x: batch(x, number=["a"] * N), "image", "Leaf .* of x has shape"),
    "too few rows": (lambda x: batch(x, number=np.zeros((2, 2))), "image", r"'number' of x has shape \(2, 2\)"),
}


@pytest.mark.parametrize("case", LEAVES)
def test_a_dictionary_of_a_loader_whose_leaf_does_not_fit(case, two, x):
    make, leaf, message = LEAVES[case]
    for source in (make(x), iter([make(x)]), iter([(make(x), np.zeros(N))])):
        y = None if isinstance(source, dict) else "predicted"
        with pytest.raises(InputError, match=message):
            ke.gradcam(two, source, y, leaf=leaf, verbose=0)


@pytest.mark.skipif(BACKEND != "torch", reason="modules need Keras on PyTorch")
def test_a_module_that_takes_other_names_than_a_loader_gives(x):
    import torch

    class Two(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 4, 3)

        def forward(self, image, number):
            return self.conv(image).mean((2, 3)) + number.sum(1, keepdim=True)

    images = torch.as_tensor(x.transpose(0, 3, 1, 2))
    assert raw("gradcam", Two().eval(), batch(images), 1, leaf="image").scores.shape == (N, 1)
    with pytest.raises(InputError, match="takes image, number, and x with leaf= has 'image', 'number', 'label'"):
        raw("gradcam", Two().eval(), batch(images, label=np.zeros(N)), 1, leaf="image")
