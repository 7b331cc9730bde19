"""Warnings name what was measured: why a map shows nothing, images in another range, an output that was not chosen."""

import warnings

import keras
import numpy as np
import pytest
from keras import layers as L

import keras_explainable as ke
from support import keras_models
from support.compare import close
from support.keras_models import SHAPE
from support.selection import BACKEND, fast_on_torch, slow_compiled

pytestmark = fast_on_torch

N = 3


def said(explain, *args, **params):
    """The warnings of a call, and what it returns; each is about this file."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = explain(*args, verbose=0, **params)
    assert all(w.filename == __file__ for w in caught if issubclass(w.category, UserWarning))
    return [str(w.message) for w in caught if issubclass(w.category, UserWarning)], found


def changed(name, layer, change):
    """A model with the weights of one layer changed."""
    model = keras_models.build(name)
    at = model.get_layer(layer)
    at.set_weights(change(*at.get_weights()))
    return model


@pytest.fixture(scope="module")
def x():
    return keras_models.images("functional", N)


def without_two_units(kernel, bias):
    """Unit 2 depends on nothing, and unit 3 on all channels of the last ReLU with weights below 0."""
    kernel[:, 2], kernel[:, 3] = 0, -abs(kernel[:, 3])
    return kernel, bias


NONE = "For 3 of them, no gradient reaches the layer (relu3): it does not affect the score there"
NEGATIVE = (
    "For 3 of them, every contribution is negative, and positive_normalize() keeps the positive ones (try "
    "ke.filters.absolute_normalize)"
)


@slow_compiled
@pytest.mark.parametrize("as_numpy", [True, False])
def test_why_maps_are_the_same_everywhere_is_counted(as_numpy, x):
    model = changed("functional", "logits", without_two_units)
    messages, (_, maps) = said(ke.gradcam, model, x, [[1, 2, 3]] * N, batch_size=2, as_numpy=as_numpy)
    assert len(messages) == 1 and messages[0].startswith("6 maps are the same everywhere, so they show nothing. ")
    assert NEGATIVE in messages[0]
    assert (
        NONE if as_numpy else "For 3 of them, nothing in the layer (relu3) contributes to the score there"
    ) in messages[0]
    maps = keras.ops.convert_to_numpy(maps)
    assert (maps[..., 1:] == 0).all() and (maps[..., 0].max(axis=(1, 2)) > 0.5).all()
    for unit, cause in ((2, NONE), (3, NEGATIVE)):
        ((message,), _) = said(ke.gradcam, model, iter([(x, [unit] * N)]))
        assert cause in message and message.count("For 3 of them") == 1
    assert said(ke.gradcam, model, x, 3, postprocessing=ke.filters.absolute_normalize)[0] == []


def test_a_map_is_nothing_for_other_reasons(x):
    model = changed("functional", "logits", without_two_units)
    cases = {
        "no gradient reaches the images: they do not affect the score": (ke.gradients, model, x, 2),
        "every contribution at the layer (relu3) is negative, and this method keeps": (ke.layercam, model, x, 3),
        "they are not constant before nought()": (ke.gradcam, model, x, 1),
    }  # fmt: skip

    def nought(maps):
        return 0 * maps

    for cause, call in cases.items():
        params = {"postprocessing": nought} if "nought" in cause else {}
        ((message,), _) = said(*call, **params)
        assert f"For 3 of them, {cause}" in message
    dead = changed("sequential", "conv2", lambda kernel, bias: (kernel, bias - 1e4))
    ((message,), _) = said(ke.gradcam, dead, x, 1)
    assert "For 3 of them, the layer (conv2) gives 0 everywhere (its ReLUs are all inactive)" in message


def test_a_region_of_a_unit_that_no_pixel_is_given_to_is_no_region():
    image = keras.Input((12, 12, 3))
    logits = keras.layers.Conv2D(3, 1, name="logits")(keras.layers.Conv2D(6, 3, activation="relu")(image))
    model = keras_models.randomize(keras.Model(image, logits))
    model.get_layer("logits").bias.assign([0.0, 0.0, -1e4])
    images = np.random.default_rng(0).normal(size=(2, 12, 12, 3)).astype("float32")
    ((message,), _) = said(ke.gradients, model, images, score=ke.scores.region(None, 2, axis=-1))
    assert "For 2 of them, the given score is 0 there: it uses none of the outputs" in message


def test_a_score_at_the_flat_end_of_a_softmax_is_saturated(x):
    model = changed("sequential", "logits", lambda kernel, bias: (1e4 * kernel, bias))
    np.testing.assert_array_equal(np.isin(keras.ops.convert_to_numpy(model(x)), (0, 1)), True)
    ((message,), _) = said(ke.gradcam, model, x, 1, score=ke.scores.value([0, 1]))
    assert "For 3 of them, their score is exactly 0 or 1, where the model's softmax or sigmoid is saturated" in message
    assert not [text for text in said(ke.gradcam, model, x, None)[0] if "saturated" in text]  # before the softmax
    zero = changed("functional", "logits", lambda kernel, bias: (0 * kernel, 0 * bias))
    ((message,), _) = said(ke.gradcam, zero, x, 1)  # a score of 0 that is at no end
    assert "saturated" not in message and NONE in message


@slow_compiled
def test_one_pixel_that_is_no_number_is_told(x):
    def pixel(maps):
        at = np.zeros((1, *keras_models.SIZE, 1), "float32")
        at[0, 5, 7] = np.nan
        return maps + at

    for as_numpy in (True, False):
        ((message,), _) = said(
            ke.gradients, keras_models.build("functional"), x, 1, postprocessing=pixel, as_numpy=as_numpy
        )
        assert message.startswith(f"Scores or maps of {N} images are NaN or infinite")


def test_a_pixel_that_no_mask_of_rise_shows_has_the_score_of_the_image(x):
    messages, (scores, maps) = said(
        ke.explain, "rise", keras_models.build("functional"), x, 1, repetitions=2, grid=4, p=0.05
    )
    assert messages == [] and np.isfinite(maps).all()
    assert (maps == scores[:, None, None]).any(axis=(1, 2)).all()


FRONTS = {
    "rescaling": (lambda: L.Rescaling(1 / 255), "subtracts 0, then multiplies by 0.0039)"),
    "both ways": (lambda: L.Rescaling(1 / 127.5, -1), r"subtracts 128, then multiplies by 0.0078)"),
    "means": (lambda: L.Normalization(mean=[120.0] * 3, variance=[1.0] * 3), "subtracts 120, then multiplies by 1)"),
}


@pytest.mark.parametrize("front", FRONTS)
def test_images_from_0_to_1_for_a_model_that_scales_them_itself(front):
    layer, measured = FRONTS[front]
    model = keras_models.stack(0, "scaling", front=(layer(),), head=keras_models.logits())
    x = np.random.default_rng(0).random((N, *SHAPE)).astype("float32")
    messages = said(ke.gradients, model, x, 1)[0]
    assert len(messages) == 1 and measured in messages[0] and messages[0].endswith("Give images from 0 to 255.")
    for images in (255 * x, (255 * x).astype("uint8"), x - 0.5, np.zeros_like(x)):
        assert not [text for text in said(ke.gradients, model, images, 1)[0] if "Give images" in text]


@pytest.mark.parametrize(
    "front", [(), (L.Rescaling(2.0, -1.0),), (L.Normalization(mean=[0.5] * 3, variance=[0.05] * 3),)]
)
def test_models_of_images_from_0_to_1_are_left_alone(front):
    model = keras_models.stack(0, "fitting", front=front, head=keras_models.logits())
    x = np.random.default_rng(0).random((N, *SHAPE)).astype("float32")
    assert said(ke.gradients, model, x, 1)[0] == []


def several(*heads, named=False):
    """A model with outputs made of pooled channels (B, 12)."""
    inputs = keras.Input(SHAPE, name="image")
    signal = L.Conv2D(12, 3, activation="relu", name="conv")(inputs)
    pooled = L.GlobalAveragePooling2D(name="pool")(signal)
    made = {name: make(pooled, signal) for name, make in heads}
    return keras_models.randomize(keras.Model(inputs, made if named else [*made.values()]))


CLASS = "class", lambda pooled, signal: L.Dense(4, name="class")(pooled)
BOX = "box", lambda pooled, signal: L.Dense(4, name="box")(pooled)
MASK = "mask", lambda pooled, signal: L.Conv2D(1, 3, name="mask")(signal)


def test_an_output_that_nobody_chose_is_told(x):
    model = several(CLASS, BOX)
    messages, found = said(ke.gradcam, model, x, 1, postprocessing=None)
    assert messages == [
        "The model returns several outputs, and the first of the model's 2 outputs is explained. You may have "
        "meant output 1: choose it with score=ke.scores.output(1), or the explained one with score=ke.scores.output(0)."
    ]
    for which, units in ((0, model.outputs[0]), (1, model.outputs[1])):
        messages, chosen = said(ke.gradcam, model, x, 1, score=ke.scores.output(which), postprocessing=None)
        assert messages == []
        alone = keras.Model(model.inputs, units)
        scores = alone.predict(x, verbose=0)[:, 1:2]
        close(chosen.scores, scores, rtol=1e-4, atol=1e-5)
    assert said(ke.gradcam, several(CLASS, MASK), x, 1, postprocessing=None)[0] == []
    messages = said(ke.gradcam, several(CLASS, BOX, named=True), x, 1, postprocessing=None)[0]
    assert len(messages) == 1 and "'class' is explained. You may have meant output 'box'" in messages[0]
    assert messages[0].endswith("or the explained one with score=ke.scores.output('class').")
    with pytest.raises(ke.errors.InputError, match=r"\(batch, units\) scores, such as ke.scores.output\(1\)"):
        ke.gradcam(several(MASK, BOX), x, 0, verbose=0)


if BACKEND == "torch":
    import torch
    from torch import nn

    from keras_explainable.errors import InputError
    from support import torch_models

    class Both(nn.Module):
        """Features and logits, in the order that is said."""

        def __init__(self, kind):
            super().__init__()
            self.body, self.head, self.kind = nn.Conv2d(3, 6, 3), nn.Linear(6, 5), kind

        def forward(self, x):
            features = self.body(x).relu().mean((2, 3))
            logits = self.head(features)
            return {"pair": (features, logits), "named": {"features": features, "logits": logits}}[self.kind]

    class Meta(nn.Module):
        """Takes what is no array."""

        def __init__(self):
            super().__init__()
            self.net = torch_models.drawn(torch_models.Plain())

        def forward(self, img, img_metas):
            return self.net(img) * img_metas[0]["scale"]

    class Alone(nn.Module):
        """What the hint says."""

        def __init__(self, model, the_rest):
            super().__init__()
            self.model, self.the_rest = model, the_rest

        def forward(self, images):
            return self.model(images, self.the_rest)

    def test_features_before_logits_are_told():
        x = torch_models.images()
        module = torch_models.drawn(Both("pair"))
        messages, found = said(ke.gradcam, module, x, 1)
        assert len(messages) == 1 and "You may have meant output 1" in messages[0]
        messages, chosen = said(ke.gradcam, module, x, 1, score=ke.scores.output(1))
        assert messages == []
        named, logits = said(ke.gradcam, torch_models.drawn(Both("named")), x, 1)
        assert named == []
        close(chosen.scores, logits.scores, atol=1e-6)
        assert abs(found.scores - logits.scores).max() > 0.1

    def test_channels_last_are_turned_as_their_type_is():
        module, x = torch_models.drawn(torch_models.Plain()), np.moveaxis(torch_models.images(), 1, -1)
        with pytest.raises(InputError, match=r"x.permute\(0, 3, 1, 2\) for a torch.Tensor, x.transpose\(0, 3, 1, 2\)"):
            ke.gradcam(module, torch.as_tensor(x.copy()), 1, verbose=0)
        turned = ke.gradcam(module, torch.as_tensor(x.copy()).permute(0, 3, 1, 2), 1, verbose=0)
        expected = ke.gradcam(module, x.transpose(0, 3, 1, 2), 1, verbose=0)
        close(turned.maps, expected.maps, atol=1e-5)
        row = nn.Sequential(nn.Conv1d(3, 4, 3), nn.AdaptiveAvgPool1d(1), nn.Flatten())
        with pytest.raises(InputError, match=r"x.permute\(0, 2, 1\)"):
            ke.gradcam(row, np.zeros((2, 50, 3), "float32"), 1, verbose=0)

    def test_arguments_that_are_no_arrays_go_into_a_module_around_the_model():
        x, metas = torch_models.images(), [{"scale": 2.0, "name": "a"}]
        for call in ((x, {}), ({"img": x, "img_metas": metas}, {"leaf": "img"})):
            with pytest.raises(InputError, match=r"a small nn.Module.*self.model\(images, the_rest\)") as raised:
                ke.gradcam(Meta(), call[0], 1, verbose=0, **call[1])
            assert "BlackBox" not in str(raised.value)
        module = Meta()
        found = ke.full_gradients(Alone(module, metas).eval(), x, 1, verbose=0)
        plain = ke.full_gradients(module.net, x, 1, verbose=0)
        close(found.scores, 2 * plain.scores, rtol=1e-5)

    def test_a_layer_is_found_by_the_name_that_it_has_in_a_wrapper():
        x, module = torch_models.images(), torch_models.drawn(torch_models.Plain())
        expected = ke.gradcam(module, x, 1, layer="conv2", verbose=0).maps
        wrapped = nn.DataParallel(module)
        for name in ("module.conv2", "conv2", "module.module.conv2", "_orig_mod.conv2", ("module", "conv2")):
            np.testing.assert_array_equal(ke.gradcam(wrapped, x, 1, layer=name, verbose=0).maps, expected)
        compiled = torch.compile(module, backend="eager")
        for name in ("_orig_mod.conv2", "_orig_mod.module.conv2"):
            np.testing.assert_array_equal(ke.gradcam(compiled, x, 1, layer=name, verbose=0).maps, expected)
        with pytest.raises(ke.errors.LayerError, match="no layer 'module.conv9'"):
            ke.gradcam(wrapped, x, 1, layer="module.conv9", verbose=0)

    def test_a_layer_that_is_itself_called_module_comes_first():
        class Own(torch_models.Plain):
            def __init__(self):
                super().__init__()
                self.module = nn.Sequential()
                self.module.conv2 = self.conv1  # another layer of that name

        x, module = torch_models.images(), torch_models.drawn(Own())
        maps = [ke.gradcam(module, x, 1, layer=name, verbose=0).maps for name in ("module.conv2", "conv1")]
        np.testing.assert_array_equal(*maps)
