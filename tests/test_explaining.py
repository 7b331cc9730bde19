"""The loop: what comes in, what is refused, what is compiled, what comes out."""

import functools
import gc
import weakref

import keras
import numpy as np
import pytest
from keras import layers as L
from keras import ops

import keras_explainable as ke
import models
from keras_explainable.errors import InputError, LayerError
from reference import filters as slow_filters
from reference.resize import bilinear as slow_resize

BACKEND = keras.backend.backend()
SHAPE = (*models.SIZE, 3)
N = 5


@pytest.fixture(scope="module")
def model():
    return models.build("nested_sequential")


@pytest.fixture(scope="module")
def x():
    return models.images("nested_sequential", N)


gradcam = functools.partial(ke.gradcam, verbose=0)
raw = functools.partial(ke.explain, verbose=0, resizing=False)


def close(a, b, tolerance=1e-5):
    for u, v in zip(a, b, strict=True):
        assert u.shape == v.shape
        np.testing.assert_allclose(u, v, atol=tolerance * max(abs(v).max(), 1e-12), rtol=0)


def counted():
    """A model, and the batch sizes that it was called with."""
    calls = []

    class Counted(models.Twice):
        def call(self, x, training=None):
            calls.append(x.shape[0])
            return super().call(x, training)

    model = Counted()
    model(np.zeros((1, *SHAPE), "float32"))
    models.randomize(model)
    calls.clear()
    return model, calls


# Units


def test_every_form_of_units_means_the_same(model, x):
    scores, maps = gradcam(model, x)  # every unit
    assert scores.shape == (N, models.UNITS)
    assert maps.shape == (N, *models.SIZE, models.UNITS)
    close([scores[:, 0]], [model_logits(model, x)[:, 0]])
    close(gradcam(model, x, 3), (scores[:, 3:4], maps[..., 3:4]))
    close(gradcam(model, x, np.full(N, 3)), (scores[:, 3:4], maps[..., 3:4]))
    y = np.array([4, 0, 1, 1, 2])
    for form in (y, y.tolist(), y[:, None], y.astype("uint8"), ops.convert_to_tensor(y)):
        close(
            gradcam(model, x, form, batch_size=2),
            (scores[np.arange(N), y][:, None], maps[np.arange(N), ..., y][..., None]),
        )
    pairs = np.stack([y, y[::-1]], axis=1)
    close(
        gradcam(model, x, pairs, batch_size=2),
        (np.take_along_axis(scores, pairs, 1), np.take_along_axis(maps, pairs[:, None, None], 3)),
    )


def model_logits(model, x):
    """By hand: what comes before the softmax."""
    kernel, bias = model.layers[-1].get_weights()
    return ops.convert_to_numpy(model.layers[0](x)) @ kernel + bias


# Refused

X = np.zeros((3, *SHAPE), "float32")


def changed(index, value):
    x = X.copy()
    x[index] = value
    return x


BAD = {
    "one image": ((X[0], 1), r"Images of shape .*takes|takes .*Images of shape"),
    "rank 2": ((X[0, :, :, 0], 1), r"Images of shape \(20, 24\) came, and \(batch, \*space, channels\)"),
    "rank 5": ((X[None], 1), r"\(1, 3, 20, 24, 3\)"),
    "NaN": ((changed((1, 2, 3, 0), np.nan), 1), "Image 1 has NaN or infinite values, as have 1 of these 3"),
    "infinity": ((changed((2, 0, 0, 0), np.inf), 1), "Image 2 has NaN or infinite values"),
    "no image": ((X[:0], 1), r"\(0, 20, 24, 3\) came: there is no"),
    "wrong size": (
        (np.zeros((2, 30, 24, 3), "float32"), 1),
        r"\(2, 30, 24, 3\) came, and the model takes \(None, 20, 24, 3\)",
    ),
    "wrong channels": ((X[..., :1], 1), r"\(3, 20, 24, 1\) came, and the model takes \(None, 20, 24, 3\)"),
    "words": ((np.full((3, *SHAPE), "a"), 1), "real numbers were expected"),
    "unit too large": ((X, 5), "Unit 5 was asked for, and the model has units 0 to 4"),
    "unit too large, in an array": ((X, [0, 1, 9]), "Unit 9 .* 0 to 4"),
    "negative unit": ((X, -1), "Unit -1 .* 0 to 4"),
    "y too short": ((X, [0, 1]), "3 images and units for 2 came"),
    "y too long": ((X, np.zeros((4, 2), int)), "3 images and units for 4 came"),
    "y of floats": ((X, np.array([0.0, 1.0, 2.0])), "float64.*integers were expected"),
    "y one-hot": ((X, np.eye(5, dtype=int)[[0, 1, 2]]), "one-hot rows.*argmax"),
    "y of rank 3": ((X, np.zeros((3, 1, 1), int)), r"shape \(3, 1, 1\)"),
    "y ragged": ((X, [[0, 1], [2], [3]]), "ragged"),
    "batch size": ((X, 1, {"batch_size": 0}), "batch_size=0"),
    "steps": ((X, 1, {"steps": 0}), "steps=0"),
    "a path": (("dog.png", 1), "str came"),
    "not a model": ((X, 1, {"model": "resnet"}), "str came, and a keras.Model"),
}
# These need no run of the model at all, the others only an abstract one of a single image.
BEFORE_ANY_CALL = [case for case in BAD if not case.startswith(("unit", "negative"))]


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_before_any_work(case):
    model, calls = sized()
    (x, y, *rest), message = BAD[case]
    params = {"model": model, **(rest[0] if rest else {})}
    for function in (ke.gradcam, ke.gradients, ke.full_gradient_decomposition):
        if "steps" in params and function is ke.full_gradient_decomposition:
            continue
        with pytest.raises(InputError, match=message):
            function(x=x, y=y, verbose=0, **params)
    assert 3 not in calls
    assert not (calls and case in BEFORE_ANY_CALL)


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
        self.all = L.Conv2D(4, models.SIZE, name="all")
        self.logits = L.Dense(models.UNITS, name="logits")

    def call(self, x):
        return self.logits(self.all(x)[:, 0, 0] if self.pixel else ops.mean(x, axis=(1, 2)))


@pytest.mark.filterwarnings("ignore:.*the same everywhere", "ignore:`build..` was called on layer")
@pytest.mark.parametrize("pixel", [False, True])
def test_a_model_without_a_spatial_signal(pixel):
    model = Pooled(pixel)
    x = models.images("functional")
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
    assert np.isfinite(maps).all()
    assert maps.max() > 0


def test_a_pixel_at_the_end_is_passed_over():
    stack = [
        keras.Input(SHAPE),
        L.Conv2D(6, 3, activation="relu", name="conv"),
        L.MaxPooling2D(18, name="pool"),
        L.Conv2D(8, 1, name="pixel"),
    ]
    model = models.randomize(keras.Sequential([*stack, L.Flatten(), L.Dense(3)]))
    x = models.images("functional")
    close(gradcam(model, x, 1), gradcam(model, x, 1, layer="conv"))
    with pytest.raises(LayerError, match=r"\(1, 1, 1, 8\).* Such signals: conv\."):
        gradcam(model, x, 1, layer="pixel")


def test_layers_that_are_not_there_and_methods_that_do_not_fit():
    model, calls = counted()
    with pytest.raises(LayerError, match="no layer 'twic'.* Nearest: twice"):
        gradcam(model, X, 1, layer="twic")
    with pytest.raises(LayerError, match=r"\(1, 5\), and one with 2 spatial axes .* Such signals: .*rectify"):
        gradcam(model, X, 1, layer="logits")
    flat = models.build("flatten")
    with pytest.raises(
        LayerError, match="CAM weighs the 8 channels .* a linear layer with 240 inputs|no linear layer .* Use `gradcam`"
    ):
        ke.cam(flat, X, 1, verbose=0)
    with pytest.raises(KeyError, match="No method is named 'grad_cam'. There are: .*gradcam"):
        ke.explain("grad_cam", model, X)
    for name, params, message in (
        ("gradients", {"reduce": "median"}, "reduce='median': use one of 'mean', 'max', 'sum'"),
        ("full_gradients", {"aggregation": "max"}, "aggregation='max': use one of 'sum', 'mean'"),
        ("full_gradients", {"biases": [np.zeros(3)]}, "1 biases came for the 5 calls"),
        ("smoothgrad", {"repetitions": 0}, "repetitions=0"),
        ("smoothgrad", {"reduce": "median"}, "reduce='median'"),
        ("smoothgrad", {"noise_kind": "std"}, "noise_kind='std'"),
        ("gradcam", {"no_such": 1}, "no_such"),
    ):
        with pytest.raises((InputError, TypeError), match=message):
            raw(name, model, X, 1, **params)
    assert 3 not in calls


def test_outputs_that_are_no_scores(x):
    model = keras.Sequential([keras.Input(SHAPE), L.Conv2D(4, 3, padding="same", name="segment")])
    with pytest.raises(InputError, match=r"output has shape .*20, 24, 4.*pass score="):
        raw("gradients", model, x)
    with pytest.raises(InputError, match=r"score\(outputs\) gave shape .*20, 24, 4"):
        raw("gradients", model, x, score=lambda outputs: outputs)


# What comes out


def test_maps_are_postprocessed_then_resized(model, x):
    scores, maps = raw("gradcam", model, x, 1)
    assert maps.shape == (N, 8, 10, 1)
    positive = slow_filters.positive_normalize(maps.astype("float64"))
    for size, given in ((models.SIZE, True), ((11, 33), (11, 33)), (maps.shape[1:3], False), (maps.shape[1:3], None)):
        close(gradcam(model, x, 1, resizing=given), (scores, slow_resize(positive, size)))
    close(gradcam(model, x, 1, postprocessing=None), (scores, slow_resize(maps.astype("float64"), models.SIZE)))
    for function in (lambda maps: 2 * maps + 1, lambda maps, axis: 2 * maps + 1):
        close(raw("gradcam", model, x, 1, postprocessing=function), (scores, 2 * maps + 1))

    def told(maps, axis):
        return maps / ops.sum(ops.abs(maps), axis=axis, keepdims=True)

    close(raw("gradcam", model, x, 1, postprocessing=told), (scores, maps / abs(maps).sum((1, 2), keepdims=True)))


@pytest.mark.parametrize("method", list(ke.registry.METHODS))
def test_a_shortcut_is_explain_with_customary_postprocessing(model, x, method):
    record = ke.registry.METHODS[method]
    params = {"repetitions": 2} if method == "smoothgrad" else {}
    scores, maps = raw(method, model, x, 1, **params)
    short = getattr(ke, method)(model, x, 1, verbose=0, resizing=False, **params)
    slow = getattr(slow_filters, record.postprocessing.__name__)
    close(short, (scores, slow(maps.astype("float64"))))
    assert getattr(ke, method).__name__ == method
    partial = ke.partial_explain(record.function, postprocessing=ke.filters.absolute, resizing=False)
    close(partial(model, x, 1, verbose=0, **params), (scores, abs(maps)))


def test_every_source_of_batches(model, x):
    y = np.array([4, 0, 1, 1, 2])
    expected = gradcam(model, x, y)

    class Pairs(keras.utils.PyDataset):
        def __len__(self):
            return 3

        def __getitem__(self, i):
            return x[2 * i : 2 * i + 2], y[2 * i : 2 * i + 2]

    def generator():
        yield from (Pairs()[i] for i in range(3))

    close(gradcam(model, generator()), expected)
    close(gradcam(model, Pairs()), expected)
    close(gradcam(model, (x[i : i + 2] for i in (0, 2, 4)), y), expected)
    close(gradcam(model, list(x), y, batch_size=2), expected)
    close(gradcam(model, ops.convert_to_tensor(x), y, batch_size=3), expected)
    close(gradcam(model, x, y, batch_size=2, steps=2), (expected.scores[:4], expected.maps[:4]))
    if BACKEND == "tensorflow":
        import tensorflow as tf

        close(gradcam(model, tf.data.Dataset.from_tensor_slices((x, y)).batch(2)), expected)
    if BACKEND == "torch":
        import torch

        close(
            gradcam(
                model, torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.tensor(x), torch.tensor(y)), 2)
            ),
            expected,
        )


def test_a_source_that_breaks_leaves_what_was_done(model, x):
    def breaks():
        yield x[:2]
        yield x[2:4]
        yield x[4:]
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone") as caught:
        gradcam(model, breaks(), 1)
    # The last batch was being computed while the ones before were kept.
    partial = caught.value.partial
    expected = gradcam(model, x, 1)
    assert len(partial.scores) in (4, 5)
    close(partial, (expected.scores[: len(partial.scores)], expected.maps[: len(partial.scores)]))
    assert any(f"{len(partial.scores)} images had been explained" in note for note in caught.value.__notes__)

    with pytest.raises(InputError, match="Image 0 has NaN") as caught:
        gradcam(model, iter([x[:3], np.full_like(x, np.nan)]), 1)
    assert len(getattr(caught.value, "partial", ((),))[0]) in (0, 3)


def test_a_map_that_shows_nothing_warns_once_with_the_likely_cause():
    model = models.build("functional")
    kernel, bias = model.layers[-1].get_weights()
    kernel[:, 2] = 0  # this unit depends on nothing
    model.layers[-1].set_weights([kernel, bias])
    x = models.images("functional")
    with pytest.warns(UserWarning, match="3 maps are the same everywhere.* Likely causes") as caught:
        _, maps = gradcam(model, x, 2, batch_size=1)
    np.testing.assert_array_equal(maps, 0)
    assert len([w for w in caught if "same everywhere" in str(w.message)]) == 1
    assert caught[-1].filename == __file__


def test_callbacks_are_called_as_in_predict_and_the_model_gets_no_history(model, x, capsys):
    seen = []

    class Noted(keras.callbacks.Callback):
        def on_predict_begin(self, logs=None):
            seen.append("begin")

        def on_predict_batch_begin(self, batch, logs=None):
            seen.append(("batch begin", batch))

        def on_predict_batch_end(self, batch, logs=None):
            seen.append(("batch end", batch, tuple(logs["outputs"][0].shape)))

        def on_predict_end(self, logs=None):
            seen.append("end")

    history = getattr(model, "history", None)
    callback = Noted()
    gradcam(model, x, 1, batch_size=3, callbacks=[callback])
    assert seen == [
        "begin",
        ("batch begin", 0),
        ("batch end", 0, (3, 1)),
        ("batch begin", 1),
        ("batch end", 1, (2, 1)),
        "end",
    ]
    assert callback.model is model
    assert getattr(model, "history", None) is history
    seen.clear()
    gradcam(model, x, 1, callbacks=keras.callbacks.CallbackList([callback], model=model))
    assert len(seen) == 4
    assert "2/2" not in capsys.readouterr().out
    ke.gradcam(model, x, 1, batch_size=3)
    assert "2/2" in capsys.readouterr().out


def test_tensors_stay_where_they_are(model, x):
    scores, maps = gradcam(model, x, 1, batch_size=2, as_numpy=False)
    assert ops.is_tensor(scores)
    assert ops.is_tensor(maps)
    close([ops.convert_to_numpy(scores), ops.convert_to_numpy(maps)], gradcam(model, x, 1))


def test_an_explanation_says_what_was_explained(model, x):
    explained = gradcam(model, x, 1)
    scores, maps = explained
    assert explained.scores is scores
    assert explained.about == {
        "method": "gradcam",
        "score": "pre-activation of predictions",
        "signal": "backbone/conv2",
    }
    about = ke.gradcam(ke.inspection.expose(model, "relu1", "predictions"), x, 1, verbose=0).about
    assert (about["score"], about["signal"]) == ("predictions", "backbone/relu1")
    assert gradcam(model, x, 1, layer="conv1").about["signal"] == "backbone/conv1"
    about = ke.smoothgrad(models.build("functional"), x, 1, verbose=0, repetitions=2, seed=3).about
    assert about == {"method": "smoothgrad", "repetitions": 2, "seed": 3, "score": "the model's output"}
    softmax = ke.gradients(models.build("sequential"), x, 1, verbose=0).about
    assert softmax["score"] == "input of softmax"
    assert ke.gradients(model, x, verbose=0, score=lambda p: p[:, :1]).about["score"] == "the function given"


def test_a_score_of_ones_own(x):
    """Outputs f = x W of a linear model: the gradient of any function of them is known."""
    model = models.randomize(keras.Sequential([keras.Input(SHAPE), L.Flatten(), L.Dense(4, name="linear")]))
    kernel, bias = model.layers[-1].get_weights()
    f = x.reshape(N, -1) @ kernel + bias
    image = lambda g: g.reshape(N, *SHAPE)  # noqa: E731

    scores, maps = raw(
        "gradients", model, x, score=lambda f: ops.stack([f[:, 0] * f[:, 1], ops.sum(f, axis=1)], axis=1), reduce=None
    )
    close([scores], [np.stack([f[:, 0] * f[:, 1], f.sum(1)], 1)], 1e-4)
    product = f[:, :1] * kernel[:, 1] + f[:, 1:2] * kernel[:, 0]
    close([maps[:, 0], maps[:, 1]], [image(product), np.broadcast_to(kernel.sum(1).reshape(SHAPE), (N, *SHAPE))], 1e-4)
    # y chooses among the columns of the score.
    close(
        raw("gradients", model, x, 1, score=lambda f: f[:, 2:] * 2, reduce=None),
        (2 * f[:, 3:], np.broadcast_to(2 * kernel[:, 3].reshape(SHAPE), (N, 1, *SHAPE))),
        1e-4,
    )


def test_a_score_makes_segmentation_and_dictionaries_explainable(x):
    image = keras.Input(SHAPE)
    y = L.Conv2D(4, 3, padding="same", name="hidden")(image)
    segments = L.Conv2D(3, 1, name="segments")(y)
    area = L.Dense(1, name="area")(L.GlobalAveragePooling2D()(y))
    model = models.randomize(keras.Model(image, {"segments": segments, "area": area}))
    hidden = ops.convert_to_numpy(keras.Model(image, y)(x))
    kernel = model.get_layer("segments").get_weights()[0][0, 0]

    def here(outputs):
        return ops.mean(outputs["segments"][:, 5:9, 5:9], axis=(1, 2))

    scores, maps = raw("gradcam", model, x, 2, score=here, layer="hidden")
    close([scores], [ops.convert_to_numpy(model(x)["segments"])[:, 5:9, 5:9, 2].mean((1, 2))[:, None]])
    close([maps[..., 0]], [hidden @ kernel[:, 2] / np.prod(models.SIZE)])  # the mean gradient over all pixels
    scores, _ = raw("gradcam", model, x, 0, score=lambda outputs: outputs["area"], layer="hidden")
    close([scores], [ops.convert_to_numpy(model(x)["area"])])


# Compiled once


def test_a_second_call_compiles_nothing(x):
    model, calls = counted()
    runs = []
    for _ in range(3):
        gradcam(model, x, 1, batch_size=2)  # the last batch is smaller
        runs.append(len(calls))
    if BACKEND == "torch":
        assert runs[2] - runs[1] == runs[1] - runs[0] == 3  # a call for each batch, and none besides
    else:
        assert runs[2] == runs[1] == runs[0] < 12


def test_repetitions_and_passes_compile_nothing_twice(x):
    model, calls = counted()
    smoothed = ke.methods.meta.smooth(ke.methods.gradient.gradients, repetitions=3, noise=0.1)
    flipped = ke.methods.meta.tta(ke.methods.cams.gradcam, scales=[1.5], hflip=True)
    for method in (smoothed, flipped, "smoothgrad"):
        runs = [len(calls)]
        for _ in range(3):
            raw(method, model, x, 1, **({"repetitions": 3} if method == "smoothgrad" else {}))
            runs.append(len(calls))
        if BACKEND == "torch":
            assert runs[3] - runs[2] == (4 if method is flipped else 3)
        else:
            assert runs[3] == runs[2] == runs[1]


@pytest.mark.skipif(BACKEND == "torch", reason="runs as it is")
def test_the_cache_says_what_it_holds(x):
    ke.clear_cache()
    gc.collect()
    model, _ = counted()
    gradcam(model, x, 1)
    first = ke.cache_info()
    assert (first.misses, first.models, first.functions) == (1, 1, 1)
    gradcam(model, x, 2)
    assert ke.cache_info() == first._replace(hits=first.hits + 1)
    ke.gradients(model, x, 1, verbose=0)
    assert ke.cache_info().functions == 2
    ke.clear_cache()
    assert ke.cache_info() == (0, 0, 0, 0)


def test_no_parameter_reuses_another_ones_function(model, x):
    """Each in the order in which a function kept by name alone would answer for the next."""
    calls = [
        ("gradients", {}),
        ("gradients", {"reduce": "max"}),
        ("gradients", {"reduce": None}),
        ("gradients", {"score": lambda p: p * 2}),
        ("gradients", {"score": lambda p: p * 3}),
        ("gradients", {"postprocessing": ke.filters.normalize}),
        ("gradients", {"postprocessing": lambda maps: maps + 1}),
        ("gradients", {"resizing": (5, 5)}),
        ("gradients", {"resizing": True}),
        ("gradcam", {}),
        ("gradcam", {"layer": "conv1"}),
        ("gradcampp", {}),
        ("scorecam", {"baseline": 0.0}),
        ("scorecam", {"baseline": 2.0}),
        ("full_gradients", {"aggregation": "sum"}),
        ("full_gradients", {"aggregation": "mean"}),
        ("full_gradients", {"biases": [np.ones(1, "float32")] * 3}),
        ("full_gradients", {"biases": [np.zeros(1, "float32")] * 3}),
        ("smoothgrad", {"repetitions": 2}),
        ("smoothgrad", {"repetitions": 2, "seed": 1}),
        ("smoothgrad", {"repetitions": 2, "noise": 0.5}),
    ]
    kept = [raw(method, model, x[:2], 1, **params).maps for method, params in calls]
    for i, (method, params) in enumerate(calls):
        ke.clear_cache()
        fresh = raw(method, model, x[:2], 1, **params).maps
        close([kept[i]], [fresh])
        same = [j for j in range(i) if kept[j].shape == kept[i].shape and np.allclose(kept[j], kept[i], rtol=1e-4)]
        assert all(calls[j][1] == {} for j in same), (calls[i], [calls[j] for j in same])


def test_a_change_of_the_model_is_seen(x):
    model = models.build("fused")
    before = ke.gradients(model, x, 1, verbose=0)
    model.get_layer("last").activation = keras.activations.tanh
    after = ke.gradients(model, x, 1, verbose=0)
    assert abs(before.scores - after.scores).max() > 0.01
    close(after, ke.gradients(model, x, 1, verbose=0, run_eagerly=True), 1e-4)


def test_the_cache_keeps_no_model_alive(x):
    ke.clear_cache()
    gc.collect()
    largest, alive = 0, []
    for i in range(20):
        model = keras.Sequential(
            [keras.Input(SHAPE), L.Conv2D(2, 3, name="conv"), L.GlobalAveragePooling2D(), L.Dense(2)]
        )
        exposed = ke.inspection.expose(model, "conv") if i % 2 else model
        gradcam(exposed, x[:1], 1, layer=model.layers[0] if i % 4 == 0 else None)
        alive.append(weakref.ref(model))
        del model, exposed
        gc.collect()
        largest = max(largest, ke.cache_info().models)
    assert largest <= 2
    assert sum(ref() is not None for ref in alive) <= 2
    assert ke.cache_info().functions <= 2


def test_eager_runs_call_the_model_and_compile_nothing(x):
    model, calls = counted()
    compiled = gradcam(model, x, 1)
    info, before = ke.cache_info(), len(calls)
    eager = gradcam(model, x, 1, run_eagerly=True)
    gradcam(model, x, 1, run_eagerly=True)
    assert len(calls) - before >= 2
    assert ke.cache_info() == info
    close(eager, compiled, 1e-4)
    model.compile(run_eagerly=True)  # what the user set on the model counts as well
    before = len(calls)
    gradcam(model, x, 1)
    gradcam(model, x, 1)
    assert len(calls) - before >= 2
    assert ke.cache_info() == info


@pytest.mark.parametrize("method", ["gradcam", "gradients", "full_gradients", "smoothgrad"])
@pytest.mark.skipif(BACKEND == "torch", reason="has no XLA")
def test_xla_gives_the_same(method, x):
    model = models.build("functional")
    params = {"repetitions": 2} if method == "smoothgrad" else {}
    close(raw(method, model, x, [1] * N, jit_compile=True, **params), raw(method, model, x, [1] * N, **params), 1e-4)
