"""What `y` may be: numbers of units however a dataset has them, both classes of one unit, and what the model prefers."""

import warnings

import keras
import numpy as np
import pytest
from keras import layers as L

import keras_explainable as ke
from keras_explainable import scores
from keras_explainable.errors import InputError
from support import keras_models
from support.calls import raw
from support.compare import close
from support.keras_models import SHAPE
from support.selection import BACKEND, crossed, fast_on_torch, slow_compiled

pytestmark = fast_on_torch

host, N = keras.ops.convert_to_numpy, 5
LABELS = np.array([0, 1, 1, 0, 1])


def head(*layers):
    """A small network with this head."""
    stack = [keras.Input(SHAPE), L.Conv2D(6, 3, activation="relu", name="conv"), L.GlobalAveragePooling2D()]
    return keras_models.randomize(keras.Sequential([*stack, *layers]), 1)


@pytest.fixture(scope="module")
def x():
    return keras_models.images("functional", N)


@pytest.fixture(scope="module")
def model():
    return keras_models.build("sequential")


@pytest.fixture(scope="module")
def binary():
    return head(L.Dense(1, activation="sigmoid"))


@pytest.mark.parametrize("method", ["gradcam", "occlusion"])
def test_whole_numbers_are_units_whatever_their_type(method, model, x):
    units = np.array([[1, 4], [0, 0], [3, 2], [1, 0], [4, 4]])
    for y in (units, units[:, 0], units[:, :1]):
        expected = raw(method, model, x, y)
        for given in (y.astype("float32"), keras.ops.convert_to_tensor(y, "float32"), y.astype("float64").tolist()):
            close(raw(method, model, x, given), expected, 0)
        direct = ke.get(method)(model, x, keras.ops.convert_to_tensor(y, "float32"))
        close([host(v) for v in direct], expected)
    close(raw(method, model, x, 3.0), raw(method, model, x, 3), 0)
    with pytest.raises(InputError, match=r"1\.5 among them"):
        ke.get(method)(model, x, keras.ops.convert_to_tensor(units + 0.5, "float32"))


@pytest.mark.parametrize("kind", ["int32", "float32"])
def test_one_hot_labels_are_the_class_of_each_image(kind, model, x):
    y = np.array([4, 0, 3, 1, 4])
    expected = raw("gradients", model, x, y)
    with pytest.warns(
        UserWarning, match=r"y of shape \(5, 5\) has one-hot rows: each image is explained for its class"
    ):
        close(raw("gradients", model, x, np.eye(5, dtype=kind)[y]), expected, 0)


def test_classes_are_named_by_labels(model, x):
    labels = ["disk", "square", "cross", "ring", "top-2"]
    close(raw("gradients", model, x, "ring", labels=labels), raw("gradients", model, x, 3), 0)
    names = [["ring", "disk"], ["disk", "cross"], ["cross", "disk"], ["ring", "square"], ["disk", "ring"]]
    units = np.vectorize(labels.index)(names)
    close(raw("gradients", model, x, names, labels=labels), raw("gradients", model, x, units), 0)
    close(raw("gradients", model, x, "top-2", labels=labels), raw("gradients", model, x, 4), 0)  # a name comes first
    close(raw("gradients", model, x, "predicted", labels=labels), raw("gradients", model, x, "predicted"), 0)


@slow_compiled
@pytest.mark.parametrize("rank", [1, 2])
def test_each_image_is_explained_for_its_own_class_of_a_binary_head(rank, binary, x):
    y = LABELS.astype("float32") if rank == 1 else LABELS[:, None].astype("float32")
    z, g = raw("gradients", binary, x, 0, reduce=None)
    sign = np.where(LABELS, 1, -1)[:, None]
    expected = sign * z, sign[..., None, None, None] * g
    p = host(binary(x))
    assert abs(z - np.log(p / (1 - p))).max() < 1e-4  # before the sigmoid
    found = raw("gradients", binary, x, y, score=scores.binary(), reduce=None)
    close(found, expected)
    for labels in (y, y.astype(int), y.astype(bool), keras.ops.convert_to_tensor(y)):
        close(raw("gradients", binary, x, scores.binary(labels), reduce=None), found, 0)
    for source in sources(x, y).values():
        close(raw("gradients", binary, source, score=scores.binary(), reduce=None), expected)
    close(raw("gradients", binary, x, 0, score=scores.negated(), reduce=None), [-z, -g])
    both = raw("gradients", binary, x, score=scores.binary(), reduce=None)
    close(both, [np.concatenate([-z, z], 1), np.concatenate([-g, g], 1)])


def test_the_positive_class_is_the_one_unit_and_others_are_explained_to_be_none(binary, x):
    unit = raw("gradcam", binary, x, 0)
    close(unit, raw("gradcam", binary, x), 0)
    close(unit, raw("gradcam", binary, x, np.zeros(N)), 0)
    with pytest.raises(InputError, match=r"Unit 1 .* one unit, number 0: .*negated\(\).*labels.*scores.binary\(\)"):
        raw("gradcam", binary, x, LABELS)
    with pytest.raises(InputError, match=r"Unit 1 .*scores.binary\(\)"):
        raw("gradcam", binary, sources(x, LABELS.astype("float32"))["generator"])
    with pytest.raises(InputError, match=r"Unit -1 .* units 0 to 0"):
        raw("gradcam", binary, x, -1)
    with pytest.raises(InputError, match="has its own score, and score= came as well: give one"):
        raw("gradcam", binary, x, scores.binary(LABELS), score=scores.negated())
    with pytest.raises(InputError, match="Unit 2 .* the score has units 0 to 1"):
        raw("gradcam", binary, x, scores.binary(LABELS + 1))


def test_both_classes_of_a_decomposition_and_of_a_path(binary, x):
    y = scores.binary(LABELS)
    sign = np.where(LABELS, 1, -1)[:, None]
    plain, own = (ke.full_gradient_decomposition(binary, x, unit) for unit in (0, y))
    close(own.completeness[:2], [sign * v for v in plain.completeness[:2]])
    plain, own = (ke.integrated_gradients_gap(binary, x, unit, repetitions=3) for unit in (0, y))
    close(own[:3], [sign * v for v in plain[:3]])


def sources(x, y=None):
    """The same images in two batches of every kind of source, with labels that may be no units at all."""

    def batches():
        for i in (0, 3):
            yield x[i : i + 3] if y is None else (x[i : i + 3], y[i : i + 3])

    class Pairs(keras.utils.PyDataset):
        def __len__(self):
            return 2

        def __getitem__(self, i):
            return list(batches())[i]

    found = {"generator": batches(), "pydataset": Pairs()}
    if BACKEND == "tensorflow":
        import tensorflow as tf

        found["dataset"] = tf.data.Dataset.from_tensor_slices(x if y is None else (x, y)).batch(3)
    if BACKEND == "torch":
        from torch.utils.data import DataLoader

        found["loader"] = DataLoader(list(x) if y is None else list(zip(x, y, strict=True)), 3)
    return found


def order(model, x, score=None):
    return raw("gradients", model, x, score=score).scores.argsort(1)[:, ::-1]


WORDS = {"predicted": 1, "top-3": 3}


@pytest.mark.parametrize(("method", "word"), crossed(["gradcam", "smoothgrad", "occlusion"], WORDS))
def test_words_are_the_units_with_the_highest_scores(method, word, model, x):
    params = {"repetitions": 3, "noise": 2.0} if method == "smoothgrad" else {}
    expected = raw(method, model, x, order(model, x)[:, : WORDS[word]], **params)
    close(raw(method, model, x, word, batch_size=2, **params), expected)
    close(raw(method, model, x, word, run_eagerly=True, **params), expected)
    for kind, source in {**sources(x), "list": list(x), "tensor": keras.ops.convert_to_tensor(x)}.items():
        close(raw(method, model, source, word, **params), expected), kind


def test_a_source_of_labels_is_explained_for_what_the_model_prefers(model, x):
    expected = raw("gradcam", model, x, order(model, x)[:, :1])
    for labels in (LABELS, np.eye(5)[LABELS]):
        for source in sources(x, labels).values():
            close(raw("gradcam", model, source, "predicted"), expected)


SCORES = {
    "units": scores.unit([2, 0, 4]),
    "outputs": scores.value([0, 1]),
    "a function": lambda outputs: outputs[:, 1:4],
    "a choice": scores.top_k(2),
}


@pytest.mark.parametrize("kind", SCORES)
def test_with_a_score_its_columns_are_chosen(kind, model, x):
    score = SCORES[kind]
    columns = None if kind == "a choice" else score
    best = order(model, x, columns)[:, :2]
    close(raw("gradcam", model, x, "top-2", score=score), raw("gradcam", model, x, best, score=columns))
    with pytest.raises(InputError, match=r'y="top-6" came, and the (score|model) has [235] units'):
        raw("gradcam", model, x, "top-6", score=score)


def test_words_are_taken_where_a_y_is(model, x):
    best = order(model, x)[:, :2]
    for function in (ke.full_gradient_decomposition, ke.integrated_gradients_gap):
        params = {"repetitions": 3} if function is ke.integrated_gradients_gap else {}
        a, b = (function(model, x, y, batch_size=3, **params) for y in ("top-2", best))
        close(a[:1] if params else [a.input_gradient], b[:1] if params else [b.input_gradient])
    for method in (
        ke.methods.meta.smooth("gradcam", 3),
        ke.methods.meta.tta("gradients", scales=(), hflip=True),
        ke.methods.meta.ensemble(["gradcam", "gradients"]),
        ke.methods.meta.contrast("gradcam"),
        lambda model, images, units: ke.get("gradients")(model, images, units),
    ):
        close(raw(method, model, x, "top-2"), raw(method, model, x, best))


def test_words_of_black_boxes_and_of_modules(model, x):
    def function(images):
        return host(model(images))

    best = function(x).argsort(1)[:, ::-1]
    for subject in (function, ke.BlackBox(function)):
        close(raw("occlusion", subject, x, "top-2", batch_size=2), raw("occlusion", subject, x, best[:, :2]))
    if BACKEND == "torch":
        import torch

        torch.manual_seed(0)
        net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.LazyLinear(4))
        images = torch.as_tensor(x.transpose(0, 3, 1, 2))
        y = net.eval()(images).argmax(1)
        close(raw("gradients", net, images, "predicted"), raw("gradients", net, images, y))


def test_words_of_a_model_of_several_inputs(x):
    image, number = keras.Input(SHAPE, name="image"), keras.Input((2,), name="number")
    pooled = L.GlobalAveragePooling2D()(L.Conv2D(4, 3)(image))
    model = keras_models.randomize(keras.Model([image, number], L.Dense(3)(L.Concatenate()([pooled, number]))))
    inputs = {"image": x, "number": np.random.default_rng(0).normal(size=(N, 2)).astype("float32") * 3}
    best = host(model(list(inputs.values()))).argmax(1)
    assert len(set(best)) > 1
    close(
        raw("gradcam", model, inputs, "predicted", leaf="image", batch_size=2),
        raw("gradcam", model, inputs, best, leaf="image"),
    )


@pytest.fixture(scope="module")
def many():
    return head(L.Dense(60, activation="softmax"))


def warnings_of(call):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    return [w for w in caught if "y= was left out" in str(w.message)]


@fast_on_torch
def test_very_many_maps_are_announced_before_the_work(many, x):
    size = 60 * np.prod(SHAPE[:2]) * 4 / 1e6
    seen = []

    def method(model, images, units):
        seen.append(len(images))
        return ke.get("gradcam")(model, images, units)

    with pytest.warns(
        UserWarning, match=f'300 maps of 5 images, 60 each, or {N * size:.0f} MB .*y="predicted"'
    ) as caught:
        ke.explain(method, many, x, verbose=0, run_eagerly=True, batch_size=2)
    assert seen == [2, 2, 1] and [w.filename for w in caught] == [__file__]
    for call in (
        lambda: raw("occlusion", many, x[:1], patch=20),
        lambda: raw("gradcam", many, x, score=lambda outputs: outputs[:, :51]),
        lambda: raw("gradcam", many, x, score=scores.output(0)),
        lambda: raw("occlusion", lambda images: host(many(images)), x[:1], patch=20),
        lambda: ke.full_gradient_decomposition(many, x[:1]),
        lambda: ke.integrated_gradients_gap(many, x[:1], repetitions=1),
    ):
        (warning,) = warnings_of(call)
        assert warning.filename == __file__
    for source in sources(x).values():
        (warning,) = warnings_of(lambda source=source: raw("gradcam", many, source))
        assert f"60 maps of each image, 60 each, or {size:.0f} MB" in str(warning.message)


@fast_on_torch
def test_few_maps_and_those_that_were_asked_for_are_not(many, model, x):
    for call in (
        lambda: raw("gradcam", model, x),
        lambda: raw("gradcam", many, x, 3),
        lambda: raw("gradcam", many, x, "top-55"),
        lambda: raw("gradcam", many, x, score=scores.top_k(55)),
        lambda: raw("gradcam", many, x, score=lambda outputs: outputs[:, :50]),
        lambda: [raw("gradcam", many, source) for source in sources(x, LABELS).values()],
    ):
        assert not warnings_of(call)
