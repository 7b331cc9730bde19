"""What cannot be explained is refused before any work, with the way out."""

import functools

import keras
import numpy as np
import pytest
from keras import layers as L
from keras import ops

import keras_explainable as ke
from keras_explainable.errors import InputError, LayerError
from support import keras_models
from support.calls import gradcam, raw
from support.compare import close
from support.keras_models import SHAPE, counted, on
from support.selection import fast_on_torch, slow_compiled

N = 5


model, x = on("nested_sequential", N)


X = np.zeros((3, *SHAPE), "float32")


def changed(index, value):
    x = X.copy()
    x[index] = value
    return x


BAD = {
    "one image": ((X[0], 1), r"\(20, 24, 3\) came, .* add the batch axis, x\[None\], and to a dataset .*\.batch\(n\)"),
    "one small image": ((X[0, 5:], 1), r"\(15, 24, 3\) came, .* add the batch axis"),
    "no channels": ((X[..., 0], 1), r"\(3, 20, 24\) came, .* add the axis of channels, x\[\.\.\., None\]"),
    "channels first": ((X.transpose(0, 3, 1, 2), 1), r"\(3, 3, 20, 24\) came, .* transpose them first"),
    "no image, no unit": ((X[:0], np.zeros(0, int)), r"\(0, 20, 24, 3\) came: it holds no image"),
    "no image in a list": (([], []), "empty list"),
    "rank 2": ((X[0, :, :, 0], 1), r"Images of shape \(20, 24\) came, and the model takes .* x\[None\]"),
    "rank 5": ((X[None], 1), r"\(1, 3, 20, 24, 3\) came, .* give an array with 4 axes"),
    "NaN": ((changed((1, 2, 3, 0), np.nan), 1), "Image 1 has NaN or infinite values, as do 1 of these 3"),
    "infinity": ((changed((2, 0, 0, 0), np.inf), 1), "Image 2 has NaN or infinite values"),
    "no image": ((X[:0], 1), r"\(0, 20, 24, 3\) came: it holds no"),
    "wrong size": (
        (np.zeros((2, 30, 24, 3), "float32"), 1),
        r"\(2, 30, 24, 3\) came, and the model takes \(None, 20, 24, 3\): resize them",
    ),
    "wrong channels": (
        (X[..., :1], 1),
        r"takes \(None, 20, 24, 3\): give images of 3 channels, not 1, as in np.repeat",
    ),
    "too many channels": (
        (np.zeros((3, 20, 24, 4)), 1),
        r"takes \(None, 20, 24, 3\): give images of 3 channels, not 4\.",
    ),
    "words": ((np.full((3, *SHAPE), "a"), 1), "real numbers were expected"),
    "unit too large": ((X, 5), "Unit 5 was asked for, and the model has units 0 to 4"),
    "unit too large, in an array": ((X, [0, 1, 9]), "Unit 9 .* 0 to 4"),
    "negative unit": ((X, -1), "Unit -1 .* 0 to 4"),
    "y too short": ((X, [0, 1]), "3 images and units for 2 came"),
    "y too long": ((X, np.zeros((4, 2), int)), "3 images and units for 4 came"),
    "y of fractions": ((X, np.array([0.0, 1.5, 2.0])), "float64 came, 1.5 among them, and integers were expected"),
    "y of NaN": ((X, np.array([0.0, np.nan, 2.0])), "nan among them"),
    "y of several classes, of floats": (
        (X, np.eye(5, dtype="float32")[[0, 1, 2]] + np.eye(5)[3]),
        "one-hot rows.*argmax",
    ),
    "y of a name": ((X, "dig", {"labels": ["cat", "dog"]}), "y='dig' came, which is not a class. Did you mean 'dog'"),
    "y of a name that is there twice": ((X, "crane", {"labels": ["crane", "crane"]}), "2 times in labels="),
    "y of names without labels": ((X, ["cat", "dog", "cat"]), "names, such as 'cat', and .* labels="),
    "labels": ((X, 1, {"labels": "cat"}), "labels='cat' came, and the names of all classes"),
    "y of probabilities": ((X, np.full((3, 5), 0.2)), "0.2 among them.*argmax"),
    "y of a word": ((X, "best"), 'y=\'best\' came.*"predicted".*"top-3"'),
    "y of no unit": ((X, "top-0"), "y='top-0' came"),
    "y of too many": ((X, "top-6"), 'y="top-6" came, and the model has 5 units'),
    "y of several classes": ((X, np.eye(5, dtype=int)[[0, 1, 2]] | 1), "one-hot rows.*argmax"),
    "y of rank 3": ((X, np.zeros((3, 1, 1), int)), r"shape \(3, 1, 1\)"),
    "y ragged": ((X, [[0, 1], [2], [3]]), "ragged"),
    "batch size": ((X, 1, {"batch_size": 0}), "batch_size=0"),
    "steps": ((X, 1, {"steps": 0}), "steps=0"),
    "beyond single precision": ((changed((0, 0, 0, 0), 1).astype("float64") * 1e300, 1), "Image 0 has NaN or infinite"),
    "y of no units": ((X, np.zeros((3, 0), int)), r"shape \(3, 0\) came, with none in them"),
    "resizing": ((X, 1, {"resizing": 7}), "resizing=7 came, and True, False, or a size such as"),
    "resizing to nothing": ((X, 1, {"resizing": (0, 5)}), r"resizing=\(0, 5\) came"),
    "resizing one axis": ((X, 1, {"resizing": (5,)}), r"resizing=\(5,\) came for images with 2 spatial axes"),
    "postprocessing": ((X, 1, {"postprocessing": "normalize"}), "postprocessing='normalize' came, and a function"),
    "a path": (("dog.png", 1), "str came"),
    "not a model": ((X, 1, {"model": "resnet"}), "str came, and a keras.Model"),
}
# These need no run of the model at all, the others only an abstract one of a single image.
BEFORE_ANY_CALL = [case for case in BAD if not case.startswith(("unit", "negative", "resizing one", "y of too"))]


@fast_on_torch
@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_before_any_work(case):
    model, calls = sized()
    (x, y, *rest), message = BAD[case]
    params = {"model": model, **(rest[0] if rest else {})}
    for function in (ke.gradcam, ke.gradients, ke.full_gradient_decomposition):
        if {"steps", "resizing", "postprocessing", "labels"} & set(
            params
        ) and function is ke.full_gradient_decomposition:
            continue
        with pytest.raises(InputError, match=message):
            function(x=x, y=y, verbose=0, **params)
    assert 3 not in calls
    assert not (calls and case in BEFORE_ANY_CALL)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([(X[:0], np.zeros(0, int))], r"\(0, 20, 24, 3\) came: it holds no image"),
        (zip(X, [1, 1, 1], strict=True), r"\(20, 24, 3\) came, .* to a dataset of single images \.batch\(n\)"),
    ],
)
def test_bad_batches_are_refused(images, message):
    with pytest.raises(InputError, match=message):
        ke.gradcam(sized()[0], iter(images), verbose=0)


def test_one_image_of_any_size_and_other_channels_is_told_apart():
    model = keras.Sequential([keras.Input((None, None, 3)), L.Conv2D(4, 3), L.GlobalAveragePooling2D()])
    for channels in (1, 3, 4):
        with pytest.raises(InputError, match="add the batch axis"):
            ke.gradcam(model, np.zeros((20, 24, channels)), 0, verbose=0)


def sized():
    """A counted model around which a Functional one says the images' size."""
    inner, calls = counted()
    image = keras.Input(SHAPE)
    model = keras.Model(image, inner(image))
    calls.clear()
    return model, calls


class Pooled(keras.Model):
    """No spatial signal but, perhaps, one of a single pixel."""

    def __init__(self, pixel):
        super().__init__()
        self.pixel = pixel
        self.all = L.Conv2D(4, keras_models.SIZE, name="all")
        self.logits = L.Dense(keras_models.UNITS, name="logits")

    def call(self, x):
        return self.logits(self.all(x)[:, 0, 0] if self.pixel else ops.mean(x, axis=(1, 2)))


@slow_compiled
@pytest.mark.filterwarnings("ignore:.*the same everywhere", "ignore:`build..` was called on layer")
@pytest.mark.parametrize("pixel", [False, True])
def test_a_model_without_a_spatial_signal(pixel):
    model = Pooled(pixel)
    x = keras_models.images("functional")
    for method in ("gradcam", "gradcampp", "scorecam", "cam"):
        with pytest.raises(
            LayerError, match="No layer of this model gives a spatial signal .* more than one pixel.*gradients"
        ):
            raw(method, model, x, 1)
    if pixel:
        with pytest.raises(
            LayerError, match=r"'?all'? has shape \(1, 1, 1, 4\), and one with 2 spatial axes of more than one pixel"
        ):
            gradcam(model, x, 1, layer="all")
    scores, maps = raw("gradients", model, x, 1)  # needs none
    g = keras.ops.convert_to_numpy(model.logits.kernel)[:, 1]
    g = keras.ops.convert_to_numpy(model.all.kernel) @ g if pixel else g / np.prod(keras_models.SIZE)
    close([maps[..., 0]], [np.broadcast_to(abs(g).mean(-1), maps.shape[:3])])


@slow_compiled
def test_a_pixel_at_the_end_is_passed_over():
    stack = [
        keras.Input(SHAPE),
        L.Conv2D(6, 3, activation="relu", name="conv"),
        L.MaxPooling2D(18, name="pool"),
        L.Conv2D(8, 1, name="pixel"),
    ]
    model = keras_models.randomize(keras.Sequential([*stack, L.Flatten(), L.Dense(3)]))
    x = keras_models.images("functional")
    close(gradcam(model, x, 1), gradcam(model, x, 1, layer="conv"))
    with pytest.raises(LayerError, match=r"\(1, 1, 1, 8\).* Such signals: conv\."):
        gradcam(model, x, 1, layer="pixel")


@slow_compiled
def test_layers_that_are_not_there_and_methods_that_do_not_fit():
    model, calls = counted()
    with pytest.raises(LayerError, match="no layer 'twic'.* Nearest: twice"):
        gradcam(model, X, 1, layer="twic")
    with pytest.raises(LayerError, match=r"\(1, 5\), and one with 2 spatial axes .* Such signals: .*rectify"):
        gradcam(model, X, 1, layer="logits")
    flat = keras_models.build("flatten")
    with pytest.raises(
        LayerError,
        match="CAM multiplies the 8 channels .* a linear layer with 240 inputs|no linear layer .* Use `gradcam`",
    ):
        ke.cam(flat, X, 1, verbose=0)
    for kind in (KeyError, InputError):
        with pytest.raises(kind, match="^No method is named 'Grad_CAM'. Nearest: gradcam, .* There are: .*gradcam"):
            ke.explain("Grad_CAM", model, X)
    with pytest.raises(InputError, match="^No method is named 'zzz'. There are: .*gradcam"):
        ke.get("zzz")
    with pytest.raises(InputError, match=r"composites, epsilon_everywhere\(.*EXCITATION; or your own, .*Composite\("):
        ke.explain(ke.methods.propagation.lrp.lrp, model, X, 1, verbose=0)
    for name, params, message in (
        ("gradients", {"reduce": "median"}, "reduce='median' came: use one of 'mean', 'max', 'sum'"),
        ("full_gradients", {"aggregation": "max"}, "aggregation='max' came: use one of 'sum', 'mean'"),
        ("full_gradients", {"biases": [np.zeros(3)]}, "1 biases came for the 5 calls"),
        ("smoothgrad", {"repetitions": 0}, "repetitions=0"),
        ("smoothgrad", {"reduce": "median"}, "reduce='median'"),
        ("smoothgrad", {"noise_kind": "std"}, "noise_kind='std'"),
    ):
        with pytest.raises(InputError, match=message):
            raw(name, model, X, 1, **params)
    assert 3 not in calls
    calls.clear()
    for method, params, message in (
        ("gradcam", {"reps": 3}, "gradcam takes no reps=. Its parameters: score, layer; and those of ke.explain: y,"),
        ("gradients", {"layer": "stem"}, "gradients takes no layer=. Its parameters: score, reduce;"),
        ("gradcam", {"indices": 1}, "gradcam takes no indices="),
        (lambda model, inputs, indices=None: None, {"score": None}, "Its parameters: none;"),
        (functools.partial(ke.get("gradients"), reduce="max"), {"reps": 1}, "Its parameters: score, reduce;"),
    ):
        with pytest.raises(InputError, match=message):
            raw(method, model, X, 1, **params)
    with pytest.raises(InputError, match="gradcam takes no batchsize=.* batch_size, "):
        gradcam(model, X, 1, batchsize=3)
    assert not calls


def test_a_model_of_several_inputs_is_refused_with_the_way_out(x):
    image, number = keras.Input(SHAPE, name="image"), keras.Input((2,), name="number")
    y = L.GlobalAveragePooling2D()(L.Conv2D(4, 3, name="conv")(image))
    model = keras_models.randomize(
        keras.Model([image, number], L.Dense(3, name="logits")(L.Concatenate()([y, number])))
    )
    with pytest.raises(
        InputError, match=r"takes 2 inputs \(image, number\).* name by leaf= the one that holds the images"
    ):
        gradcam(model, x, 1)

    class Fed(keras.Model):
        def __init__(self, model):
            super().__init__()
            self.model = model

        def call(self, x):
            return self.model([x, ops.ones((ops.shape(x)[0], 2))])

    scores, maps = raw("gradcam", Fed(model), x, 1)
    kernel = model.get_layer("logits").get_weights()[0][:4, 1]
    hidden = ops.convert_to_numpy(model.get_layer("conv")(x))
    close([scores], [ops.convert_to_numpy(model([x, np.ones((N, 2), "float32")]))[:, 1:2]])
    close([maps[..., 0]], [hidden @ kernel / np.prod(hidden.shape[1:3])])


@slow_compiled
def test_one_of_several_outputs_is_explained(x):
    image = keras.Input(SHAPE)
    y = L.GlobalAveragePooling2D()(L.Conv2D(4, 3, name="conv")(image))
    outputs = {"kind": L.Dense(3, activation="softmax", name="kind")(y), "age": L.Dense(2, name="age")(y)}
    model = keras_models.randomize(keras.Model(image, outputs))
    age = ops.convert_to_numpy(model(x)["age"])
    assert gradcam(model, x, 1).about["score"] == "pre-activation of kind"  # the first one, and not the first by name
    scores, maps = gradcam(ke.inspection.expose(model, "conv", "age"), x, 1)
    close([scores], [age[:, 1:]])
    close(gradcam(model, x, 1, score=lambda outputs: outputs["age"]), (scores, maps))
    with pytest.raises(InputError, match="Unit 2 .* 0 to 1"):
        gradcam(ke.inspection.expose(model, "conv", "age"), x, 2)


@slow_compiled
def test_outputs_that_are_no_scores(x):
    model = keras.Sequential([keras.Input(SHAPE), L.Conv2D(4, 3, padding="same", name="segment")])
    with pytest.raises(InputError, match=r"output has shape .*20, 24, 4.*pass score="):
        raw("gradients", model, x)
    with pytest.raises(InputError, match=r"score\(outputs\) gave shape .*20, 24, 4"):
        raw("gradients", model, x, score=lambda outputs: outputs)
    with pytest.raises(InputError, match=r"gave shape \(5,\), .* add the axis of units, as in scores\[:, None\]"):
        raw("gradients", model, x, score=lambda outputs: outputs[:, 0, 0, 0])


def test_the_composites_that_a_refusal_names_are_there():
    module = ke.methods.propagation
    for name in module.lrp.READY:
        assert hasattr(module.composites, name.partition("(")[0])
