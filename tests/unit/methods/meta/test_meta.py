"""Methods made of methods: which parameters they take, what a seed does to them, and what they refuse."""

import keras
import numpy as np
import pytest

import keras_explainable as ke
from keras_explainable.errors import InputError
from keras_explainable.methods import meta
from keras_explainable.methods.gradient.gradients import signed_gradients
from support import keras_models
from support.calls import raw
from support.compare import close
from support.keras_models import on
from support.selection import fast_on_torch, slow_compiled

pytestmark = slow_compiled

RISE = {"repetitions": 6}


def rise(model, inputs, indices=None, score=None, *, seed=None):
    """RISE that is quick."""
    return ke.get("rise")(model, inputs, indices, score, repetitions=6, seed=seed)


SEEDED = {
    "tta": lambda: meta.tta(rise, scales=()),
    "integrate": lambda: meta.integrate(rise, 2),
    "contrast": lambda: meta.contrast(rise),
    "ensemble": lambda: meta.ensemble([rise, "gradients"]),
    "smooth": lambda: meta.smooth(rise, 2, noise=0.0),  # nothing but the method's own draws differ
    "nested": lambda: meta.contrast(meta.tta(rise, scales=())),
}


model, x = on("functional", 2)


@pytest.mark.parametrize("kind", SEEDED)
def test_the_seed_comes_to_the_method_inside(model, x, kind):
    method = SEEDED[kind]()
    one, again, other = (raw(method, model, x, 1, seed=seed) for seed in (1, 1, 2))
    close(again, one, 0)
    close([other.scores], [one.scores])
    assert abs(other.maps - one.maps).max() > 0.01 * abs(one.maps).max()


def test_a_contrast_with_a_seed_is_the_method_with_that_seed(model, x):
    ours = raw(meta.contrast(ke.get("rise"), 2), model, x, 1, seed=5, **RISE)
    close(ours, raw("rise", model, x, score=ke.scores.margin(1, 2), seed=5, **RISE), 1e-4)


def test_without_noise_or_mirrors_a_seed_is_that_of_the_method(model, x):
    plain = raw(rise, model, x, 1, seed=3)
    close(raw(meta.smooth(rise, 2, noise=0.0), model, x, 1, seed=3), plain, 1e-4)
    close(raw(meta.tta(rise, scales=(), hflip=False), model, x, 1, seed=3), plain, 1e-4)


def test_a_method_of_methods_takes_what_they_take():
    def own(method):
        return list(ke.registry.parameters(method))

    assert own(meta.smooth(ke.get("gradcam"))) == ["score", "seed", "layer"]
    assert own(meta.tta(meta.smooth(ke.get("gradcam")))) == ["score", "seed", "layer"]
    assert own(meta.contrast(ke.get("gradcam"))) == ["layer"]
    assert own(meta.ensemble(["gradcam", "gradients"])) == ["score", "seed"]
    assert own(meta.ensemble(["gradients", lambda model, inputs, indices=None: None])) == ["seed"]
    assert ke.registry.parameters(meta.tta(lambda model, x, y=None, **params: None)) is None


def test_what_is_taken_inside_is_handed_on(model, x):
    nested = meta.tta(meta.smooth(ke.get("gradcam"), 2, noise=0.0), scales=(), hflip=False)
    close(raw(nested, model, x, 1, layer="relu1"), raw("gradcam", model, x, 1, layer="relu1"), 1e-4)
    assert raw(nested, model, x, 1, layer="relu1").about["signal"] == "relu1"
    contrasted = meta.contrast(meta.smooth(ke.get("gradcam"), 2, noise=0.0), 2)
    close(raw(contrasted, model, x, 1), raw("gradcam", model, x, score=ke.scores.margin(1, 2)), 1e-4)


def test_a_contrast_of_cam_is_a_difference_of_its_maps():
    model, x = keras_models.build("sequential"), keras_models.images("sequential")
    every = raw("cam", model, x)
    ours = raw(meta.contrast(ke.get("cam"), [0, 3]), model, x, 1)
    close(ours, [(v @ [-0.5, 1, 0, -0.5, 0])[..., None] for v in every], 1e-4)


REFUSED = {
    "parameter": (lambda: meta.smooth(ke.get("gradcam")), {"reps": 3}, "gradcam_smooth takes no reps="),
    "score": (lambda: meta.contrast(ke.get("gradients")), {"score": ke.scores.unit(1)}, "takes no score="),
    "signed": (lambda: meta.tta(signed_gradients), {}, r"gradients gave maps of shape .*leave out reduce=None"),
    "signed too": (lambda: meta.tta(ke.get("gradients")), {"reduce": None}, "leave out reduce=None"),
    "ensemble": (lambda: meta.ensemble(["gradients"]), {"reduce": None}, "leave out reduce=None"),
    "text": (lambda: meta.tta(ke.get("gradcam"), ""), {}, "scales=''.*above 0"),
    "digits": (lambda: meta.tta(ke.get("gradcam"), "12"), {}, "scales='12'.*above 0"),
    "words": (lambda: meta.tta(ke.get("gradcam"), ["0.5"]), {}, "scales=.'0.5'.*above 0"),
    "zero": (lambda: meta.tta(ke.get("gradcam"), (0.5, 0)), {}, "above 0"),
    "negative": (lambda: meta.tta(ke.get("gradcam"), np.array([-1.0])), {}, "above 0"),
    "number": (lambda: meta.tta(ke.get("gradcam"), 0.5), {}, "scales=0.5.*above 0"),
    "nothing left": (lambda: meta.tta(ke.get("gradcam"), (0.01,)), {}, "scales=0.01 leaves no pixel of 20"),
    "one other": (lambda: meta.contrast(ke.get("rise"), 1), RISE, "Unit 1 was asked for, and other_units=1 has no"),
}
for noise in (-0.1, float("nan"), float("inf"), np.ones(3), "loud"):
    REFUSED[f"noise {noise}"] = (lambda noise=noise: meta.smooth(ke.get("gradcam"), 2, noise), {}, "0 or more")
    for method in ("smoothgrad", "smooth_gradcampp", "smooth_full_gradients"):
        REFUSED[f"{method} {noise}"] = (lambda method=method: ke.get(method), {"noise": noise}, "0 or more")


@fast_on_torch
@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused(model, x, case):
    make, params, message = REFUSED[case]
    with pytest.raises(InputError, match=message):
        raw(make(), model, x, 1, **params)


def test_a_unit_is_not_compared_with_itself_alone(model, x):
    contrasted = meta.contrast(ke.get("gradcam"), 3)
    for y in (3, np.array([0, 3]), [[3, 1], [0, 1]]):
        with pytest.raises(InputError, match="no other to compare with"):
            contrasted(model, x, y)
    every = [keras.ops.convert_to_numpy(v) for v in contrasted(model, x)]
    plain = raw("gradcam", model, x)
    expected = [v - v[..., 3:4] * (np.arange(5) != 3) for v in plain]
    close(every, expected, 1e-4)


MADE = {
    "smooth": lambda method: meta.smooth(method, 2, noise=0.0),
    "tta": lambda method: meta.tta(method, scales=()),
    "integrate": lambda method: meta.integrate(method, 2),
    "contrast": lambda method: meta.contrast(method, 2),
    "ensemble": lambda method: meta.ensemble([method, "gradients"]),
}


@pytest.mark.parametrize("kind", MADE)
def test_a_method_may_be_named(model, x, kind):
    named, given = MADE[kind]("gradcam"), MADE[kind](ke.get("gradcam"))
    assert (named is given) == (kind in ("smooth", "tta"))  # which are kept
    close(raw(named, model, x, 1), raw(given, model, x, 1), 0)
    with pytest.raises(InputError, match="No method is named 'gradcamm'. Nearest: gradcam"):
        MADE[kind]("gradcamm")
    for other in (3, None, ["gradcam"]):
        with pytest.raises(InputError, match="came, and a method or its name was expected"):
            MADE[kind](other)


@pytest.mark.parametrize("methods", [("gradcam", "gradients"), ("gradcam",), (ke.get("gradcam"), rise), (3,)])
def test_an_ensemble_is_of_a_list(methods):
    with pytest.raises(InputError, match=r'give a list, as in ensemble\(\["gradcam", "layercam"\]\)'):
        meta.ensemble(*methods)
