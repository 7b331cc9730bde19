"""What users ask of a model: layers by every kind of address, exposed signals, biases, units."""

import keras
import numpy as np
import pytest
from keras import layers as L
from keras import ops

import keras_explainable as ke
from keras_explainable.errors import InputError, LayerError
from support import keras_models
from support.compare import close
from support.selection import fast_on_torch, slow_compiled

pytestmark = [
    slow_compiled,
    pytest.mark.filterwarnings(
        "ignore:The structure of `inputs`"
    ),  # of models made with `model.inputs`, which is a list
    pytest.mark.filterwarnings("ignore:`build..` was called on layer"),
]

SHAPE, UNITS = (12, 14, 3), 4
DOTTED = "mobilenetv2_1.00_224"  # as keras.applications names its networks


@pytest.fixture
def x(rng):
    return rng.normal(size=(3, *SHAPE)).astype("float32")


def body(name, **options):
    """A network with its pooling inside."""
    image = keras.Input(SHAPE, name="body_image")
    y = L.Conv2D(6, 3, activation="relu", name="conv1")(image)
    y = L.Conv2D(8, 3, use_bias=False, name="conv2")(y)
    y = L.ReLU(name="relu")(L.BatchNormalization(name="bn")(y))
    return keras.Model(image, L.GlobalAveragePooling2D(name="avg_pool")(y), name=name, **options)


def nested(name=DOTTED):
    """Functional, around a network with its pooling inside."""
    image = keras.Input(SHAPE, name="image")
    return keras_models.randomize(keras.Model(image, L.Dense(UNITS, name="logits")(body(name)(image)), name="nested"))


def nested_twice():
    """Sequential in Functional in Sequential."""
    inner = [
        keras.Input(SHAPE),
        L.Conv2D(8, 3, name="conv"),
        L.ReLU(name="relu"),
        L.GlobalAveragePooling2D(name="avg_pool"),
    ]
    image = keras.Input(SHAPE, name="middle_image")
    middle = keras.Model(
        image,
        L.Dense(10, activation="relu", name="hidden")(keras.Sequential(inner, name="inner")(image)),
        name="middle",
    )
    outer = [keras.Input(SHAPE), middle, L.Dense(UNITS, activation="softmax", name="predictions")]
    return keras_models.randomize(keras.Sequential(outer, name="outer"))


def by_hand(x, *layers):
    """One layer after the other, as values."""
    for layer in layers:
        x = layer(x)
    return ops.convert_to_numpy(x)


def values(outputs):
    return [ops.convert_to_numpy(value) for value in outputs]


def expected_gradcam(logits, a, kernel, y):
    """Of a network that ends in global average pooling and a linear layer: the gradient there is its kernel / pixels."""
    weights = kernel[:, y].transpose(1, 0) / np.prod(a.shape[1:3])
    return logits[np.arange(len(y)), y][:, None], np.einsum("bhwc,bc->bhw", a, weights)[..., None]


# Addresses

ADDRESSES = {
    "path with slash": lambda m: f"{DOTTED}/relu",
    "path with dot": lambda m: f"{DOTTED}.relu",
    "name alone": lambda m: "relu",
    "tuple": lambda m: (DOTTED, "relu"),
    "layer": lambda m: m.get_layer(DOTTED).get_layer("relu"),
    "list of one": lambda m: ["relu"],
    "dictionary, name": lambda m: {"name": f"{DOTTED}.relu"},
    "dictionary, tuple": lambda m: {"name": (DOTTED, "relu")},
    "dictionary, layer": lambda m: {"layer": m.get_layer(DOTTED).get_layer("relu")},
    "dictionary, link": lambda m: {"name": f"{DOTTED}.avg_pool", "link": "input"},
    "dictionary, index": lambda m: {"name": f"{DOTTED}.avg_pool", "link": "input", "index": 0},
    "dictionary, index as Keras counts": lambda m: {"name": f"{DOTTED}.avg_pool", "link": "input", "index": 1},
    "dictionary, node": lambda m: {"name": f"{DOTTED}.avg_pool", "link": "input", "node": 1},
    "dictionary, last node": lambda m: {"name": f"{DOTTED}/relu", "node": "last"},
    "none": lambda m: None,
}


@pytest.mark.parametrize("address", ADDRESSES)
def test_every_address_means_the_signal_before_the_pooling(address, x):
    model = nested()
    inner = model.get_layer(DOTTED)
    a = by_hand(x, *inner.layers[1:5])
    logits = ops.convert_to_numpy(model(x))
    close(values(ke.inspection.expose(model, ADDRESSES[address](model))(x)), (logits, a))


def test_indices_are_those_of_model_layers(x):
    model = body("flat")
    for index in (1, 3, -2, -1):
        layer = model.layers[index]
        assert ke.inspection.get_nested_layer(model, index) is layer
        alone = keras.Model(model.inputs, layer.output)
        close([values(ke.inspection.expose(model, index)(x))[1]], [ops.convert_to_numpy(alone(x))])
    for index in (99, -99):
        with pytest.raises(LayerError, match=f"index {index} .* 6 layers"):
            ke.inspection.expose(model, index)


def test_a_path_reaches_two_levels_down(x):
    model = nested_twice()
    middle = model.get_layer("middle")
    inner = middle.get_layer("inner")
    a = by_hand(x, *inner.layers[:2])
    pooled = by_hand(a, inner.get_layer("avg_pool"), middle.get_layer("hidden"))
    kernel, bias = model.get_layer("predictions").get_weights()
    for address in (
        None,
        "middle/inner/relu",
        "middle.inner.relu",
        ("middle", "inner", "relu"),
        "inner/relu",
        inner.get_layer("relu"),
    ):
        close(values(ke.inspection.expose(model, address)(x)), (pooled @ kernel + bias, a))
    # A fused softmax that is named is what the user wants; its argument is asked for with link="linear".
    named = ke.inspection.expose(model, "inner/relu", "predictions")
    close(values(named(x)), (ops.convert_to_numpy(model(x)), a))
    linear = ke.inspection.expose(model, "inner/relu", {"name": "predictions", "link": "linear"})
    close(values(linear(x)), (pooled @ kernel + bias, a))


def test_several_signals_in_the_order_of_their_addresses(x):
    model = nested()
    inner = model.get_layer(DOTTED)
    a1, a2 = by_hand(x, inner.get_layer("conv1")), by_hand(x, inner.get_layer("conv1"), inner.get_layer("conv2"))
    exposed = ke.inspection.expose(model, ["relu", f"{DOTTED}/conv2", {"name": "conv1"}], ["logits"])
    close(values(exposed(x))[2:], (a2, a1))
    close([exposed.predict(x, verbose=0)[3]], [a1])


def test_any_hidden_layer_can_be_the_output(x):
    model = nested()
    pooled = by_hand(x, model.get_layer(DOTTED))
    exposed = ke.inspection.expose(model, "conv1", f"{DOTTED}.avg_pool")
    close(values(exposed(x)), (pooled, by_hand(x, model.get_layer(DOTTED).get_layer("conv1"))))
    scores, _ = ke.gradcam(exposed, x, [7, 0, 3], verbose=0)
    close([scores], [pooled[np.arange(3), [7, 0, 3]][:, None]])
    with pytest.raises(InputError, match="Unit 8 .* 0 to 7"):
        ke.gradcam(exposed, x, 8, verbose=0)


def test_one_layer_called_twice_has_two_signals(x):
    image = keras.Input(SHAPE)
    twice = L.Conv2D(3, 3, padding="same", activation="relu", name="twice")
    pooled = L.GlobalAveragePooling2D(name="avg_pool")(twice(L.MaxPooling2D(2, name="pool")(twice(image))))
    model = keras_models.randomize(keras.Model(image, L.Dense(UNITS, name="logits")(pooled)))
    first = by_hand(x, twice)
    second = by_hand(first, model.get_layer("pool"), twice)
    for index, a in ((0, first), (1, second), (-1, second), ("last", second)):
        close([values(ke.inspection.expose(model, {"name": "twice", "index": index})(x))[1]], [a])
    close(
        [values(ke.inspection.expose(model, {"name": "twice", "link": "input", "index": 1})(x))[1]],
        [by_hand(first, model.get_layer("pool"))],
    )
    close([values(ke.inspection.expose(model, "twice")(x))[1]], [second])
    with pytest.raises(LayerError, match="'twice' is called 2 times: index 2 is not one of 0 to 1"):
        ke.inspection.expose(model, {"name": "twice", "index": 2})(x)


def test_subclassed_and_lazily_built_models_are_exposed(x):
    images = keras_models.images("subclassed")
    model = keras_models.build("subclassed")
    stem = by_hand(images, model.stem)
    close(values(ke.inspection.expose(model, "stem")(images)), (ops.convert_to_numpy(model(images)), stem))

    model, images = keras_models.build("lazy"), keras_models.images("lazy")
    exposed = ke.inspection.expose(model, "relu2")  # before it has weights
    logits, a = values(exposed(images))
    close((logits, a), (ops.convert_to_numpy(model(images)), by_hand(images, *model.layers[:6])))


def test_a_users_own_exposed_model_is_as_good(x):
    y = np.array([2, 0, 3])
    model = body("flat")
    model = keras_models.randomize(keras.Model(model.inputs, L.Dense(UNITS, name="logits")(model.output)))
    a = by_hand(x, *model.layers[1:5])
    logits, kernel = ops.convert_to_numpy(model(x)), model.get_layer("logits").get_weights()[0]
    own = keras.Model(model.inputs, [model.output, model.get_layer("avg_pool").input])
    raw = {"postprocessing": None, "resizing": False, "verbose": 0}
    expected = expected_gradcam(logits, a, kernel, y)
    for subject, params in (
        (model, {}),
        (own, {}),
        (ke.inspection.expose(model), {}),
        (ke.inspection.expose(model, "relu"), {}),
        (model, {"layer": "relu"}),
    ):
        close(ke.gradcam(subject, x, y, **raw, **params), expected)
    # Another signal than the default: the three ways agree, and differ from the above.
    first = keras.Model(model.inputs, [model.output, model.get_layer("conv1").output])
    ways = [
        ke.gradcam(s, x, y, **raw, **p)
        for s, p in ((model, {"layer": "conv1"}), (first, {}), (ke.inspection.expose(model, "conv1"), {}))
    ]
    close(ways[1], ways[0])
    close(ways[2], ways[0])
    assert ways[0].maps.shape != expected[1].shape


def test_the_model_is_not_rebuilt_and_not_changed(x):
    model = nested()
    before = ops.convert_to_numpy(model(x))
    exposed = ke.inspection.expose(model)
    exposed(x)
    np.testing.assert_array_equal(ops.convert_to_numpy(model(x)), before)
    assert exposed.get_layer("logits") is model.get_layer("logits")
    model.get_layer("logits").bias.assign(np.full(UNITS, 5, "float32"))  # training on is seen
    assert abs(values(exposed(x))[0] - before).min() > 1


def test_weights_given_by_a_stateless_scope_are_used(x):
    model, other = nested(), nested()
    other.set_weights([2 * w for w in other.get_weights()])
    expected = values(ke.inspection.expose(other)(x))
    given = [
        [2 * ops.convert_to_tensor(v) for v in vs] for vs in (model.trainable_variables, model.non_trainable_variables)
    ]
    exposed = ke.inspection.expose(model)
    close(values(exposed.stateless_call(*given, x)[0]), expected)
    with keras.StatelessScope(
        list(zip(model.variables, [2 * ops.convert_to_tensor(v) for v in model.variables], strict=True))
    ):
        scores, maps = ke.methods.cams.gradcam(model, x, 1)
    close(values([scores, maps]), values(ke.methods.cams.gradcam(other, x, 1)))


# What is not there

REFUSED = {
    "near": ({"arguments": "con1"}, rf"no layer 'con1'\. Nearest: .*{DOTTED}/conv1"),
    "near, of a path": ({"arguments": f"{DOTTED}/rellu"}, rf"Nearest: {DOTTED}/relu"),
    "far": ({"arguments": "zzz"}, rf"no layer 'zzz'\. Its layers: {DOTTED}, "),
    "output": ({"outputs": "logit"}, "Nearest: logits"),
    "key": (
        {"arguments": {"name": "relu", "nod": 1}},
        r"'nod': 1} came: use 'name' or 'layer', and only these keys: index, layer, link, name, node",
    ),
    "link": (
        {"arguments": {"name": "relu", "link": "out"}},
        "link='out' came for layer 'relu': use 'input' or 'output'",
    ),
    "no name": ({"arguments": {"link": "input"}}, "came: use 'name' or 'layer'"),
    "two outputs": ({"outputs": ["logits", "relu"]}, "2 outputs came, and one is explained at a time"),
    "foreign layer": ({"arguments": L.ReLU(name="foreign")}, "not a layer of this model"),
}


@fast_on_torch
@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_there_is_refused_at_the_door(case):
    params, message = REFUSED[case]
    with pytest.raises(LayerError, match=message):
        ke.inspection.expose(nested(), **params)


def test_an_ambiguous_name_lists_its_layers():
    image = keras.Input(SHAPE)
    pooled = L.Concatenate()([body("left")(image), body("right")(image)])
    model = keras.Model(image, L.Dense(UNITS, name="logits")(pooled))
    with pytest.raises(
        LayerError, match=r"Several layers are named 'relu': left/relu, right/relu\. Give the full path"
    ):
        ke.inspection.expose(model, "relu")
    assert ke.inspection.get_nested_layer(model, "right.relu") is model.get_layer("right").get_layer("relu")


def test_a_layer_that_does_not_run_has_no_signal(x):
    class Unused(keras_models.Twice):
        def __init__(self):
            super().__init__()
            self.spare = L.Conv2D(4, 3, name="spare")

    model = Unused()
    images = keras_models.images("subclassed")
    with pytest.raises(LayerError, match="'spare' is in the model but was not called"):
        ke.gradcam(model, images, 0, layer="spare", verbose=0)


# Questions


def test_the_logits_layer_is_the_last_with_a_kernel():
    model = nested_twice()
    assert ke.inspection.get_logits_layer(model) is model.get_layer("predictions")
    assert ke.inspection.get_logits_layer(model, "hidden") is model.get_layer("middle").get_layer("hidden")
    with pytest.raises(LayerError, match="No layer of this model has a kernel"):
        ke.inspection.get_logits_layer(keras.Sequential([keras.Input(SHAPE), L.ReLU()]))


def test_the_logits_layer_of_a_model_that_declares_it_early():
    class Early(keras.Model):
        def __init__(self):
            super().__init__()
            self.head = L.Dense(UNITS, name="head")
            self.conv = L.Conv2D(4, 3, name="conv")

        def call(self, x):
            return self.head(ops.mean(self.conv(x), axis=(1, 2)))

    model = Early()
    assert ke.inspection.get_logits_layer(model, x=(1, *SHAPE)) is model.head


def test_the_last_global_pooling():
    model = nested_twice()
    assert ke.inspection.get_global_pooling_layer(model) is model.get_layer("middle").get_layer("inner").get_layer(
        "avg_pool"
    )
    flat = keras_models.build("flatten")
    assert ke.inspection.get_global_pooling_layer(flat) is flat.get_layer("flatten")
    with pytest.raises(LayerError, match="No layer"):
        ke.inspection.get_global_pooling_layer(keras.Sequential([keras.Input(SHAPE), L.ReLU()]))


def test_layers_by_class_and_properties():
    inner, find = body("flat"), ke.inspection.find_layer_with
    assert find(inner, klass=L.Conv2D) is inner.get_layer("conv2")
    assert find(inner, klass=L.Conv2D, search_reversed=False) is inner.get_layer("conv1")
    assert find(inner, klass=(L.Conv2D,), properties=["bias"]) is inner.get_layer("conv1")  # conv2 has none
    assert find(inner, properties=("gamma", "beta")) is inner.get_layer("bn")
    assert find(inner, "relu") is inner.get_layer("relu")
    with pytest.raises(LayerError, match="No criterion came.*give name=, properties= or klass="):
        find(inner)
    with pytest.raises(LayerError, match="No layer of this model"):
        find(inner, properties=["gamma", "kernel"])


def test_signals_tell_what_runs_in_its_order():
    calls = ke.inspection.signals(nested(), (1, *SHAPE))
    leaves = [(c.path, c.call, c.kind, c.shape[1:]) for c in calls if c.leaf]
    assert leaves == [
        (f"{DOTTED}/conv1", 0, "Conv2D", (10, 12, 6)),
        (f"{DOTTED}/conv2", 0, "Conv2D", (8, 10, 8)),
        (f"{DOTTED}/bn", 0, "BatchNormalization", (8, 10, 8)),
        (f"{DOTTED}/relu", 0, "ReLU", (8, 10, 8)),
        (f"{DOTTED}/avg_pool", 0, "GlobalAveragePooling2D", (8,)),
        ("logits", 0, "Dense", (UNITS,)),
    ]
    assert [c.path for c in calls if not c.leaf] == [DOTTED]
    shared = [(c.path, c.call) for c in ke.inspection.signals(keras_models.build("shared")) if c.path == "twice"]
    assert shared == [("twice", 0), ("twice", 1)]
    with pytest.raises(LayerError, match="pass some images, or their shape"):
        ke.inspection.signals(keras_models.build("lazy"))
    assert len(ke.inspection.signals(keras_models.build("lazy"), keras_models.images("lazy"))) == 8


def test_endpoints_are_the_points_of_addresses():
    points = ke.inspection.endpoints(
        nested(), ["relu", {"name": "avg_pool", "link": "input"}, {"name": "conv1", "link": "linear"}]
    )
    assert [(p.path, p.call, p.link) for p in points] == [
        (f"{DOTTED}/relu", 0, "output"),
        (f"{DOTTED}/relu", 0, "output"),
        (f"{DOTTED}/conv1", 0, "linear"),
    ]
    model = nested()
    assert ke.inspection.endpoints(model, ke.inspection.endpoints(model, ["relu"])) == points[:1]
    ke.inspection.expose(model, points, points[0])


def test_scores_are_made_of_the_output_that_is_exposed(x):
    """A hidden unit is explained by a ready score or a function of what was named, as in the model that ends there."""
    model = keras_models.build("functional")
    images = keras_models.images("functional", 2)
    pooled = keras.Model(model.input, model.get_layer("avg_pool").output)
    signal = keras.Model(model.input, model.get_layer("relu2").output)
    raw = {"postprocessing": None, "resizing": False, "verbose": 0}
    for score in (ke.scores.value(2), ke.scores.margin(1, 2), ke.scores.similarity(np.arange(12.0))):
        exposed = ke.inspection.expose(model, "conv1", "avg_pool")
        close(ke.gradients(exposed, images, score=score, **raw), ke.gradients(pooled, images, score=score, **raw))
    mean = lambda outputs: ops.mean(outputs, axis=(1, 2))  # noqa: E731
    exposed = ke.inspection.expose(model, "conv1", "relu2")
    for method in (ke.gradcam, ke.gradients, ke.occlusion):
        layer = {"layer": "conv1"} if method is ke.gradcam else {}
        close(method(exposed, images, 3, score=mean, **raw), method(signal, images, 3, score=mean, **raw, **layer))
