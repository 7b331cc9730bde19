"""Models of several inputs: explained as the same model with all but the images a part of it, and in closed form."""

import keras
import numpy as np
import pytest
from keras import layers as L
from keras import ops

import keras_explainable as ke
from keras_explainable.errors import InputError
from support import keras_models
from support.calls import few, raw, subject
from support.compare import close
from support.keras_models import SHAPE
from support.left_as_found import same, state
from support.memory import limited
from support.selection import BACKEND, every_method, slow_compiled

pytestmark = [slow_compiled, pytest.mark.filterwarnings("ignore:.*the same everywhere")]
N = 3
Y = np.array([[1, 4], [0, 2], [3, 3]])
KNOWN = [n for n, r in ke.registry.METHODS.items() if r.needs & {ke.registry.Need.KNOWN_LAYERS, ke.registry.Need.RELUS}]


def given(n=N, seed=0):
    """Images, an integer and a float for each."""
    rng = np.random.default_rng(seed)
    kind = rng.permutation(10)[:n] if n <= 10 else rng.integers(0, 10, n)
    return {"image": keras_models.images("functional", n, seed), "kind": kind, "age": rng.uniform(1, 2, (n, 1))}


def inputs():
    return {
        "image": keras.Input(SHAPE, name="image"),
        "kind": keras.Input((), name="kind", dtype="int32"),
        "age": keras.Input((1,), name="age"),
    }


def gated(seed=0, pooled=False):
    """An embedded integer multiplies the channels of a signal; a number is added to the features, unless `pooled`."""
    x = inputs()
    gate = L.Reshape((1, 1, 8), name="wide")(L.Embedding(10, 8, name="embed")(x["kind"]))
    y = L.Multiply(name="gate")([L.Conv2D(8, 3, activation="relu", name="conv1")(x["image"]), gate])
    y = L.GlobalAveragePooling2D(name="pool")(L.ReLU(name="relu")(L.Conv2D(8, 3, name="conv2")(y)))
    if not pooled:
        y = L.Add(name="add")([L.Dense(8, name="mix")(y), L.Dense(8, name="older")(x["age"])])
        y = L.ReLU(name="last")(y)
    return keras_models.randomize(keras.Model(x, L.Dense(keras_models.UNITS, name="logits")(y)), seed)


def added(seed=0, alone=False):
    """Features of the others are added to those of the image; or, with `alone`, biases of layers without weights."""
    x = inputs()
    y = L.ReLU(name="relu")(L.Conv2D(8, 3, strides=2, name="conv")(x["image"]))
    z = L.GlobalAveragePooling2D(name="pool")(y)
    embedded = L.Dense(8, name="embed")(z) if alone else L.Embedding(10, 8, name="embed")(x["kind"])
    older = L.Dense(8, name="older")(z if alone else x["age"])
    y = L.Add(name="add")([embedded, L.Dense(8, name="mix")(z), older])
    y = L.Dense(keras_models.UNITS, name="logits")(L.ReLU(name="last")(y))
    return keras_models.randomize(keras.Model(x["image"] if alone else x, y), seed)


def transformer(seed=0):
    """A vision transformer to whose tokens an embedded integer is added."""
    x = inputs()
    y = L.Reshape((30, 8))(L.Conv2D(8, 4, strides=4)(x["image"]))
    y = L.Add()([keras_models.Tokens()(y), L.Reshape((1, 8))(L.Embedding(10, 8)(x["kind"]))])
    for _ in range(2):
        z = L.LayerNormalization()(y)
        y = L.Add()([y, L.MultiHeadAttention(2, 4)(z, z)])
    y = L.Concatenate()([keras_models.First()(L.LayerNormalization()(y)), x["age"]])
    return keras_models.randomize(keras.Model(x, L.Dense(keras_models.UNITS)(y)), seed)


class Baked(keras.Model):
    """A model of several inputs with all but the images a part of it."""

    def __init__(self, model, kind, age):
        super().__init__()
        self.model, self.kind, self.age = model, int(kind), float(age)

    def call(self, image):
        n = ops.shape(image)[0]
        return self.model({"image": image, "kind": ops.full((n,), self.kind), "age": ops.full((n, 1), self.age)})


def one_by_one(method, model, x, y=Y, **params):
    """Explanations of each image by the model that has its other inputs built in."""
    each = [Baked(model, kind, age[0]) for kind, age in zip(x["kind"], x["age"], strict=True)]
    found = [raw(method, one, x["image"][i : i + 1], y[i : i + 1], **params) for i, one in enumerate(each)]
    return tuple(np.concatenate(parts) for parts in zip(*found, strict=True))


@pytest.mark.parametrize("method", every_method([name for name in ke.registry.METHODS if name not in KNOWN]))
def test_equals_the_model_with_the_others_built_in(method):
    model = transformer() if subject(method) == "transformer" else gated(pooled=method == "cam")
    x = given()
    before = state(model)
    ours = raw(method, model, x, Y, leaf="image", **few(method))
    same(before, state(model))
    close(ours, one_by_one(method, model, x, **few(method)), 1e-4)
    batched = raw(method, model, x, Y, leaf="image", batch_size=2, **few(method))
    close(batched, ours, 1e-4)


@pytest.mark.parametrize("method", every_method(KNOWN))
def test_what_goes_back_layer_by_layer_ends_where_the_others_come_in(method):
    """In the place of the others stand biases of layers through which nothing of an image goes."""
    model, x = added(), given()
    ours = raw(method, model, x, Y, leaf="image", **few(method))
    table, (kernel, bias) = model.get_layer("embed").get_weights()[0], model.get_layer("older").get_weights()
    for i in range(N):
        twin = added(alone=True)
        for name in ("conv", "mix", "logits"):
            twin.get_layer(name).set_weights(model.get_layer(name).get_weights())
        for name, value in (("embed", table[x["kind"][i]]), ("older", x["age"][i] @ kernel + bias)):
            twin.get_layer(name).set_weights([np.zeros((8, 8)), value])
        theirs = raw(method, twin, x["image"][i : i + 1], Y[i : i + 1], **few(method))
        close([v[i : i + 1] for v in ours], theirs, 1e-4)


def linear(form):
    """score_k = age <w_k, x> + <v_k, second>, of inputs in a dictionary, a tuple, or one in the other."""
    image, age, second = keras.Input(SHAPE, name="image"), keras.Input((1,), name="a"), keras.Input(SHAPE, name="z")
    y = L.Multiply()([L.Dense(keras_models.UNITS, name="w")(L.Flatten()(image)), age])
    y = L.Add()([y, L.Dense(keras_models.UNITS, name="v")(L.Flatten()(second))])
    x = {"dict": {"a": age, "image": image, "z": second}, "list": [age, image, second]}
    x["nested"] = {"a": age, "pair": (image, second)}
    return keras_models.randomize(keras.Model(x[form], y))


@pytest.mark.parametrize(
    ("form", "leaf"), [("dict", "image"), ("list", 1), ("nested", ("pair", 0)), ("dict", "z"), ("nested", ("pair", 1))]
)
def test_the_gradient_of_a_linear_model(rng, form, leaf):
    model = linear(form)
    age, image, second = rng.normal(size=(N, 1)), *rng.normal(size=(2, N, *SHAPE)).astype("float32")
    x = {"dict": {"a": age, "image": image, "z": second}, "list": (age, image, second)}
    x["nested"] = {"a": age, "pair": (image, second)}
    scores, maps = raw("gradients", model, x[form], Y, leaf=leaf, reduce=None)
    w, v = (model.get_layer(n).get_weights()[0].T.reshape(-1, *SHAPE) for n in ("w", "v"))
    of_image = leaf in ("image", 1, ("pair", 0))
    expected = w[Y] * age[..., None, None, None] if of_image else v[Y]
    close([maps], [expected.astype("float32")], 1e-4)
    biases = [model.get_layer(n).get_weights()[1] for n in ("w", "v")]
    both = [np.einsum("bhwc,khwc->bk", a, b) + c for a, b, c in zip((image, second), (w, v), biases, strict=True)]
    close([scores], [np.take_along_axis(both[0] * age + both[1], Y, 1).astype("float32")], 1e-4)


class Positional(keras.Model):
    """Takes its inputs one by one."""

    def __init__(self):
        super().__init__()
        self.inner = gated()

    def call(self, image, kind, age, training=None):
        return self.inner({"image": image, "kind": kind, "age": age}, training=training)


class Pair(Positional):
    def call(self, inputs, training=None):
        image, (kind, age) = inputs
        return super().call(image, kind, age, training)


def test_every_form_in_which_a_model_takes_its_inputs():
    x = given()
    expected = raw("gradcam", gated(), x, Y, leaf="image")
    image, kind, age = x.values()
    close(raw("gradcam", Positional(), (image, kind, age), Y, leaf=0), expected)
    close(raw("gradcam", Positional(), x, Y, leaf="image"), expected)
    close(raw("gradcam", Pair(), (image, [kind, age]), Y, leaf=0), expected)
    close(raw("gradcam", gated(), {**x, "kind": kind.tolist()}, Y, leaf=("image",)), expected)


def test_every_source_of_batches_and_nothing_is_compiled_twice():
    model, x = gated(), given(6)
    y = np.array([0, 1, 2, 3, 4, 0])
    expected = raw("gradcam", model, x, y, leaf="image")
    for method in ("gradcam", "smoothgrad"):
        raw(method, model, x, y, leaf="image", batch_size=2, steps=1, **few(method))
        before = ke.cache_info()
        raw(method, model, x, y, leaf="image", batch_size=2, **few(method))
        other = {**given(6, seed=5), "kind": x["kind"][::-1]}
        raw(method, model, other, y, leaf="image", batch_size=2, **few(method))
        assert ke.cache_info().misses == before.misses
        assert ke.cache_info().hits > before.hits

    def batches(units=True):
        for i in range(0, 6, 2):
            part = {name: value[i : i + 2] for name, value in x.items()}
            yield (part, y[i : i + 2]) if units else part

    close(raw("gradcam", model, batches(), leaf="image"), expected)
    close(raw("gradcam", model, batches(False), y, leaf="image"), expected)
    tensors = raw("gradcam", model, batches(), leaf="image", as_numpy=False)
    close(map(ops.convert_to_numpy, tensors), expected)
    if BACKEND == "tensorflow":
        import tensorflow as tf

        close(raw("gradcam", model, tf.data.Dataset.from_tensor_slices((x, y)).batch(4), leaf="image"), expected)
    if BACKEND == "torch":
        from torch.utils.data import DataLoader

        rows = [({name: value[i] for name, value in x.items()}, y[i]) for i in range(6)]
        close(raw("gradcam", model, DataLoader(rows, batch_size=4), leaf="image"), expected)


def test_a_program_sees_the_values_of_each_batch():
    """What rides along is an argument of what is compiled, and none of its constants."""
    model, x = gated(), given()
    first = raw("gradients", model, x, Y, leaf="image")
    changed = {**x, "kind": (x["kind"] + 1) % 10, "age": x["age"] * 2}
    misses = ke.cache_info().misses
    second = raw("gradients", model, changed, Y, leaf="image")
    assert ke.cache_info().misses == misses
    close(second, one_by_one("gradients", model, changed), 1e-4)
    assert abs(first.maps - second.maps).max() > 0.1 * abs(first.maps).max()


def test_batches_are_halved_with_all_that_rides_along():
    model, x, seen = gated(), given(5), []
    expected = raw("gradcam", model, x, 1, leaf="image")
    with pytest.warns(UserWarning, match="too little memory"):
        ours = raw(limited(2, seen), model, x, 1, leaf="image", batch_size=4)
    close(ours, expected)
    assert max(seen[1:]) == 2


def test_the_last_signal_is_one_of_the_images_even_where_the_others_are_images_too():
    pair = [keras.Input(SHAPE, name=name) for name in ("one", "two")]
    towers = [L.Conv2D(4, 3, activation="relu", name=f"conv_{x.name}")(x) for x in pair]
    y = L.Concatenate()([L.GlobalAveragePooling2D()(x) for x in towers])
    model = keras_models.randomize(keras.Model(pair, L.Dense(keras_models.UNITS, name="logits")(y)))
    x = keras_models.images("functional", N), keras_models.images("functional", N, 1)
    for leaf, name in enumerate(("one", "two")):
        found = raw("gradcam", model, x, 1, leaf=leaf)
        assert found.about["signal"] == f"conv_{name}"
        hidden = ops.convert_to_numpy(model.get_layer(f"conv_{name}")(x[leaf]))
        kernel = model.get_layer("logits").get_weights()[0][4 * leaf : 4 * leaf + 4, 1]
        close([found.maps[..., 0]], [hidden @ kernel / np.prod(hidden.shape[1:3])])


def test_attention_to_other_tokens_is_left_out(rng):
    image, words = keras.Input(SHAPE, name="image"), keras.Input((30,), name="words", dtype="int32")
    y = L.Reshape((30, 8), name="patches")(L.Conv2D(8, 4, strides=4, name="embed")(image))
    z = L.Embedding(10, 8, name="read")(words)
    y = L.MultiHeadAttention(2, 4, name="look")(y, y)
    z = L.MultiHeadAttention(2, 4, name="listen")(z, z)
    y, z = L.GlobalAveragePooling1D(name="one")(y), L.GlobalAveragePooling1D(name="two")(z)
    model = keras_models.randomize(keras.Model([image, words], L.Dense(5, name="logits")(L.Add(name="add")([y, z]))))
    x = keras_models.images("functional", N), rng.integers(0, 10, (N, 30))
    alone = keras.Model(image, L.Dense(5)(y))
    close([raw("attention_rollout", model, x, 1, leaf=0).maps], [raw("attention_rollout", alone, x[0], 1).maps])


def test_what_is_asked_of_such_a_model():
    model, x = gated(), given()
    exposed = ke.inspection.expose(model, "conv1")
    close(raw("gradcam", exposed, x, Y, leaf="image"), raw("gradcam", model, x, Y, leaf="image", layer="conv1"))
    with pytest.raises(InputError, match="dict of inputs came, and a model that exposes signals is called with images"):
        exposed({name: ops.convert_to_tensor(value) for name, value in x.items()})
    assert [c.path for c in ke.inspection.signals(model, x, leaf="image")][-1] == "logits"
    assert ke.inspection.get_logits_layer(model, x=x, leaf="image") is model.get_layer("logits")
    assert ke.inspection.endpoints(model, ["gate"], x, "image")[0].path == "gate"
    with pytest.raises(InputError, match="takes 3 inputs"):
        ke.inspection.signals(model)


def test_decompositions_take_the_images_apart():
    model, x = added(), given()
    gradient, terms, report = ke.full_gradient_decomposition(model, x, Y, leaf="image")
    close([gradient], [raw("gradients", model, x, Y, leaf="image", reduce=None).maps])
    # What the others add, to first order: the embedding, and the number times the kernel that it meets.
    hidden = terms["older", 0] / model.get_layer("older").get_weights()[1]  # the gradient there
    table, kernel = model.get_layer("embed").get_weights()[0], model.get_layer("older").get_weights()[0]
    others = np.einsum("bkc,bc->bk", hidden, table[x["kind"]] + x["age"] @ kernel)
    close([report.total + others], [report.scores], 1e-4)
    gap = ke.integrated_gradients_gap(model, x, Y, leaf="image", repetitions=60)
    assert gap.relative_gap.max() < 0.02


def test_features_are_a_leaf_like_images():
    model, x = added(), given()
    kernel = model.get_layer("older").get_weights()[0]
    signal, head = model.get_layer("last").output, model.get_layer("logits").get_weights()[0]
    on = ops.convert_to_numpy(keras.Model(model.input, signal)(x)) > 0
    expected = np.einsum("bf,fc,bc,cb->bf", x["age"], kernel, on, head[:, [u[0] for u in Y]])
    found = raw("input_x_gradient", model, x, [u[0] for u in Y], leaf="age")
    close([found.maps], [expected[..., None]])


def test_a_function_takes_several_inputs():
    def scores(image, age):
        return np.stack([image.mean((1, 2, 3)) * age[:, 0], age[:, 0]], 1)

    x = given()
    maps = raw("occlusion", scores, (x["image"], x["age"]), 0, leaf=0, baseline=0.0, patch=4, stride=4).maps
    ours = raw(
        "occlusion", lambda image: image.mean((1, 2, 3))[:, None], x["image"], 0, baseline=0.0, patch=4, stride=4
    )
    close([maps], [ours.maps * x["age"][:, :, None, None].astype("float32")], 1e-4)


X = given()
BAD = {
    "no such leaf": ({"x": X, "leaf": "picture"}, "leaf='picture' came.*'image' or 'kind' or 'age'"),
    "a leaf of an array": ({"x": X["image"], "leaf": "image"}, "type ndarray, and a tuple, list or dictionary"),
    "no leaf": ({"x": X}, "dict came.*leaf= the one that holds the images: 'image' or 'kind' or 'age'"),
    "images alone": ({"x": X["image"]}, r"takes 3 inputs \(age, image, kind\), and images alone came: pass all"),
    "rows": ({"x": {**X, "age": X["age"][:2]}, "leaf": "image"}, r"Leaf 'age' of x has shape \(2, 1\).* 3 images"),
    "a scalar": ({"x": {**X, "age": 3.0}, "leaf": "image"}, r"Leaf 'age' of x has shape \(\)"),
    "size": ({"x": {**X, "image": X["image"][:, 1:]}, "leaf": "image"}, r"\(3, 19, 24, 3\) came, and the model takes"),
    "ages of NaN": (
        {"x": {**X, "age": X["age"] * [[1], [np.nan], [1]]}, "leaf": "image"},
        "Leaf 'age' of image 1 has NaN",
    ),
    "images of NaN": ({"x": {**X, "image": X["image"] * np.nan}, "leaf": "image"}, "Image 0 has NaN"),
    "nothing": ({"x": {}, "leaf": "image"}, "none, as x is empty"),
    "a list of several": ({"x": list(X.values())}, "name by leaf= the one"),
    "units": ({"x": X, "leaf": "image", "y": 9}, "Unit 9 .* 0 to 4"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_does_not_fit_is_refused_before_any_work(case):
    params, message = BAD[case]
    for function in (ke.gradcam, ke.full_gradient_decomposition):
        with pytest.raises(InputError, match=message):
            function(gated(), **{"y": 1, "verbose": 0, **params})


def test_images_alone_are_refused_by_a_call_of_several_arguments():
    with pytest.raises(InputError, match=r"takes 3 inputs \(image, kind, age\)"):
        raw("gradcam", Positional(), X["image"], 1)
    with pytest.raises(InputError, match="takes images alone, and 3 arrays came"):
        raw("gradcam", keras_models.build("functional"), X, 1, leaf="image")
    with pytest.raises(InputError, match="leaf='image' came for inputs of type ndarray"):
        raw("gradcam", gated(), ((X["image"], [1, 2, 3]) for _ in range(1)), leaf="image")


class Deaf(keras.Model):
    """Takes a dictionary, and has no use for all that is in it; its operations are not all layers."""

    def __init__(self):
        super().__init__()
        self.conv, self.mix = L.Conv2D(4, 3, name="conv"), L.Dense(4, name="mix")
        self.logits = L.Dense(keras_models.UNITS, name="logits")

    def call(self, x):
        return self.logits(ops.mean(ops.relu(self.conv(x["image"])), axis=(1, 2)) + self.mix(x["age"]))


@pytest.mark.parametrize("method", ["lrp_epsilon", "attnlrp"])
def test_what_a_model_of_ones_own_does_not_use_is_fed_as_well(method):
    model = Deaf()
    model(X)
    keras_models.randomize(model)
    image, age = (keras.Input(X[name].shape[1:], name=name) for name in ("image", "age"))
    y = L.GlobalAveragePooling2D()(L.ReLU()(model.conv(image)))
    layers = keras.Model({"image": image, "age": age}, model.logits(L.Add()([y, model.mix(age)])))
    two = {"image": X["image"], "age": X["age"]}
    close(raw(method, model, X, Y, leaf="image"), raw(method, layers, two, Y, leaf="image"))
