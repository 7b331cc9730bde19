"""The loop: what comes in, and what comes out."""

import functools
import inspect

import keras
import numpy as np
import pytest
from keras import layers as L
from keras import ops

import keras_explainable as ke
from keras_explainable import data
from keras_explainable.errors import InputError
from keras_explainable.explaining.loop import run_steps
from reference import filters as slow_filters
from reference.resize import bilinear as slow_resize
from support import keras_models
from support.calls import few, gradcam, raw, subject
from support.compare import close
from support.keras_models import SHAPE, on
from support.selection import BACKEND, every_method, fast_on_torch, slow_compiled

pytestmark = slow_compiled

N = 5


model, x = on("nested_sequential", N)


def test_every_form_of_units_means_the_same(model, x):
    scores, maps = gradcam(model, x)  # every unit
    assert scores.shape == (N, keras_models.UNITS)
    assert maps.shape == (N, *keras_models.SIZE, keras_models.UNITS)
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


def test_maps_are_postprocessed_then_resized(model, x):
    scores, maps = raw("gradcam", model, x, 1)
    assert maps.shape == (N, 8, 10, 1)
    positive = slow_filters.positive_normalize(maps.astype("float64"))
    for size, given in (
        (keras_models.SIZE, True),
        ((11, 33), (11, 33)),
        (maps.shape[1:3], False),
        (maps.shape[1:3], None),
    ):
        close(gradcam(model, x, 1, resizing=given), (scores, slow_resize(positive, size)))
    close(gradcam(model, x, 1, postprocessing=None), (scores, slow_resize(maps.astype("float64"), keras_models.SIZE)))
    for function in (lambda maps: 2 * maps + 1, lambda maps, axis: 2 * maps + 1):
        close(raw("gradcam", model, x, 1, postprocessing=function), (scores, 2 * maps + 1))

    # Signed gradients (B, K, *S, C) have their spatial axes elsewhere.
    signed = raw("gradients", model, x, [[1, 2]] * N, reduce=None).maps
    close(
        [raw("gradients", model, x, [[1, 2]] * N, reduce=None, postprocessing=ke.filters.normalize).maps[:, 1]],
        [slow_filters.normalize(signed[:, 1].astype("float64"))],
    )
    close(
        [ke.explain("gradients", model, x, 2, reduce=None, resizing=(7, 8), verbose=0).maps[:, 0]],
        [slow_resize(signed[:, 1], (7, 8))],
    )

    def divided(maps, axis):
        return maps / ops.sum(ops.abs(maps), axis=axis, keepdims=True)

    close(raw("gradcam", model, x, 1, postprocessing=divided), (scores, maps / abs(maps).sum((1, 2), keepdims=True)))


@pytest.mark.parametrize("method", every_method(n for n in ke.registry.METHODS if subject(n) == "functional"))
def test_a_shortcut_is_explain_with_customary_postprocessing(model, x, method):
    record = ke.registry.METHODS[method]
    params = few(method)
    scores, maps = raw(method, model, x, 1, **params)
    plain = {"verbose": 0, "placement": "stretch"}
    short = getattr(ke, method)(model, x, 1, resizing=False, **plain, **params)
    slow = getattr(slow_filters, record.postprocessing.__name__)
    close(short, (scores, slow(maps.astype("float64"))))
    assert getattr(ke, method).__name__ == method
    partial = ke.partial_explain(record.function, postprocessing=ke.filters.absolute, resizing=False)
    close(partial(model, x, 1, **plain, **params), (scores, abs(maps)))


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
    partial = caught.value.partial
    expected = gradcam(model, x, 1)
    close(partial, expected)
    assert any("5 images had been explained" in note for note in caught.value.__notes__)

    with pytest.raises(InputError, match="Image 0 has NaN") as caught:
        gradcam(model, iter([x[:3], np.full_like(x, np.nan)]), 1)
    close(caught.value.partial, (expected.scores[:3], expected.maps[:3]))


def test_a_user_who_stops_it_has_what_was_done(model, x):
    def stopped():
        yield x[:2]
        yield x[2:4]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        gradcam(model, stopped(), 1)
    close(caught.value.partial, gradcam(model, x[:4], 1))


@pytest.mark.parametrize("as_numpy", [True, False])
def test_batches_that_do_not_fit_together_are_refused(model, x, as_numpy):
    batches = iter([(x[:2], np.array([1, 2])), (x[2:4], np.array([[1, 2], [0, 1]]))])
    with pytest.raises(InputError, match=r"the same number of units") as caught:
        gradcam(model, batches, as_numpy=as_numpy)
    found = map(ops.convert_to_numpy, caught.value.partial)
    close(found, gradcam(model, x[:2], [1, 2]))


def test_several_classes_of_an_image_as_zeros_and_ones_are_no_units(model, x):
    y = np.eye(5, dtype="int32")[np.arange(N)]
    y[:, 0] = 1
    with pytest.raises(InputError, match=r"one-hot rows, of 0 and 1 alone.* y.argmax\(-1\)"):
        gradcam(model, x, y)


def test_a_shortcut_tells_what_it_takes():
    taken = inspect.signature(ke.smoothgrad).parameters
    assert list(taken)[:3] == ["model", "x", "y"]
    assert (taken["noise"].default, taken["repetitions"].default) == (0.15, 25)
    assert taken["postprocessing"].default is ke.filters.normalize
    assert taken["batch_size"].kind is inspect.Parameter.KEYWORD_ONLY


def test_a_batch_that_cannot_be_fetched_is_not_replaced_by_the_next(model, x):
    """What comes out is in the order of the images, also where it ends early."""

    def fetch(value):
        raise RuntimeError("the device is gone")

    source = data.batches(x, None, 2)
    steps = run_steps(lambda model, images, units: images, None, model, source, verbose=0, fetch=fetch)
    with pytest.raises(RuntimeError, match="the device is gone"):
        next(steps)
    seen = []

    def once(value):
        seen.append(value)
        if len(seen) == 1:
            raise RuntimeError("for a moment")
        return keras.ops.convert_to_numpy(value)

    steps = run_steps(lambda model, images, units: images, None, model, data.batches(x, None, 2), verbose=0, fetch=once)
    with pytest.raises(RuntimeError, match="for a moment"):
        np.testing.assert_array_equal(next(steps)[1], x[:2])
        next(steps)


def test_one_batch_of_a_stream_is_the_callers_own(model, x):
    maps, expected = gradcam(model, iter([x]), 1).maps, gradcam(model, x, 1).maps
    np.testing.assert_array_equal(maps, expected)
    maps[:] = 0
    np.testing.assert_array_equal(gradcam(model, iter([x]), 1).maps, expected)


def test_a_map_that_shows_nothing_warns_once_with_the_cause():
    model = keras_models.build("functional")
    kernel, bias = model.layers[-1].get_weights()
    kernel[:, 2] = 0  # this unit depends on nothing
    model.layers[-1].set_weights([kernel, bias])
    x = keras_models.images("functional")
    with pytest.warns(
        UserWarning, match="3 maps are the same everywhere.* For 3 of them, no gradient reaches the layer"
    ) as caught:
        _, maps = gradcam(model, x, 2, batch_size=1)
    np.testing.assert_array_equal(maps, 0)
    assert len([w for w in caught if "same everywhere" in str(w.message)]) == 1
    assert caught[-1].filename == __file__


@pytest.mark.parametrize("as_numpy", [True, False])
def test_scores_that_are_no_numbers_are_told_once_by_image(model, x, as_numpy):
    def score(outputs):
        others = ops.cast(outputs[:, :1] != outputs[1:2, :1], "float32")
        return outputs[:, :1] / others  # infinite for the second image

    with pytest.warns(UserWarning, match="of 1 images are NaN or infinite.* Likely causes.*score=") as caught:
        explained = gradcam(model, x, score=score, as_numpy=as_numpy)
    finite = np.isfinite(keras.ops.convert_to_numpy(explained.scores))[:, 0]
    assert finite.tolist() == [i != 1 for i in range(len(x))]
    assert len([w for w in caught if "infinite" in str(w.message)]) == 1 and caught[-1].filename == __file__


@fast_on_torch
def test_a_map_of_one_pixel_is_no_constant_map(model, x, recwarn):
    def pixel(model, inputs, indices=None):
        row, column = (ops.one_hot([i], n) for i, n in ((3, 24), (5, 30)))
        maps = ops.ones((ops.shape(inputs)[0], 1, 1)) * (ops.transpose(row) * column)
        return ops.ones((ops.shape(inputs)[0], 1)), maps[..., None]

    explained = ke.explain(pixel, model, x, verbose=0, resizing=False, batch_size=len(x))
    assert explained.maps.sum() == len(x) and not [w for w in recwarn if "same everywhere" in str(w.message)]
    explained.maps[:], explained.scores[:] = 0, 0  # they are the caller's own
    with pytest.warns(UserWarning, match="5 maps are the same"):
        ke.explain(lambda *args: [0 * v for v in pixel(*args)], model, x, verbose=0, resizing=False)


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


@fast_on_torch
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
    about = ke.smoothgrad(keras_models.build("functional"), x, 1, verbose=0, repetitions=2, seed=3).about
    assert about == {"method": "smoothgrad", "repetitions": 2, "seed": 3, "score": "the model's output"}
    softmax = ke.gradients(keras_models.build("sequential"), x, 1, verbose=0).about
    assert softmax["score"] == "input of softmax"
    assert ke.gradients(model, x, verbose=0, score=lambda p: p[:, :1]).about["score"] == "the function given"
    chosen = ke.gradients(model, x, verbose=0, score=ke.scores.margin(1, 2)).about["score"]
    assert chosen == "ke.scores.margin((1,), (2,))"
    image = keras.Input(SHAPE)
    two = keras.Model(image, [L.Dense(3)(L.Flatten()(image)), L.Dense(2)(L.Flatten()(image))])
    assert ke.gradients(two, x, 1, verbose=0).about["score"] == "the first of the model's 2 outputs"


def test_rows_for_each_image_are_refused_where_batches_would_share_them(model, x):
    """A generator's second batch cannot be known of before it comes: what was done of the first is kept."""
    rows, y = np.zeros((2, *x.shape[1:])), np.ones(2, int)
    params = {"verbose": 0, "baseline": rows, "repetitions": 2}
    whole = ke.integrated_gradients(model, x[:2], 1, **params)
    with pytest.raises(InputError, match="baseline= has 2 rows, .* batch_size=2") as caught:
        ke.integrated_gradients(model, ((x[i : i + 2], y) for i in (0, 2)), **params)
    close(caught.value.partial, whole)
    integrated = ke.methods.meta.integrate(ke.get("gradients"), 2, baseline=rows)
    for function in (
        functools.partial(ke.explain, integrated),
        functools.partial(ke.integrated_gradients_gap, **params),
    ):
        with pytest.raises(InputError, match="several batches"):
            function(model, x, 1, batch_size=2)


def test_a_score_of_ones_own(x):
    """Outputs f = x W of a linear model: the gradient of any function of them is known."""
    model = keras_models.randomize(keras.Sequential([keras.Input(SHAPE), L.Flatten(), L.Dense(4, name="linear")]))
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
    model = keras_models.randomize(keras.Model(image, {"segments": segments, "area": area}))
    hidden = ops.convert_to_numpy(keras.Model(image, y)(x))
    kernel = model.get_layer("segments").get_weights()[0][0, 0]

    def here(outputs):
        return ops.mean(outputs["segments"][:, 5:9, 5:9], axis=(1, 2))

    scores, maps = raw("gradcam", model, x, 2, score=here, layer="hidden")
    close([scores], [ops.convert_to_numpy(model(x)["segments"])[:, 5:9, 5:9, 2].mean((1, 2))[:, None]])
    close([maps[..., 0]], [hidden @ kernel[:, 2] / np.prod(keras_models.SIZE)])  # the mean gradient over all pixels
    scores, _ = raw("gradcam", model, x, 0, score=lambda outputs: outputs["area"], layer="hidden")
    close([scores], [ops.convert_to_numpy(model(x)["area"])])
