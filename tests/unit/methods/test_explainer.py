"""A method registered from outside of the package: `@ke.methods.explainer(...)` on a function of a view."""

import functools
import importlib
import inspect
import logging
from typing import Any

import numpy as np
import pytest
from keras import ops

import keras_explainable as ke
from support.calls import gradcam, raw
from support.compare import close
from support.keras_models import on
from support.selection import slow_compiled

meta = ke.methods.meta

model, x = on("functional", 2)


@pytest.fixture(name="method", scope="module")
def registered():
    @ke.methods.explainer(
        "cam", "hidden signal", "1 forward", "none", postprocessing=ke.filters.positive_normalize, caveat="A test."
    )
    def brightness(view: ke.models.View, layer: Any = None, *, power: int = 1) -> tuple:
        """The mean of a signal's channels, times the score."""
        point = view.signal(layer)
        scores, seen = view.evaluate([point])
        return scores, ops.einsum("bhw,bk->bhwk", ops.mean(seen[point], axis=-1) ** power, scores)

    yield brightness
    del ke.registry.METHODS["brightness"]
    assert "brightness" not in dir(ke) and not hasattr(ke, "brightness")


def twin(model, x, units, power=1):
    """The same in NumPy, of the model's parts."""
    point = ke.models.view(model, x).signal()
    scores, seen = (ops.convert_to_numpy(v) for v in values(model, x, point))
    scores = scores[:, units]
    return scores, np.einsum("bhw,bk->bhwk", seen.mean(-1) ** power, scores)


def values(model, x, point):
    scores, seen = ke.models.view(model, x).evaluate([point])
    return scores, seen[point]


def test_a_registered_method_is_known_everywhere(method, model, x):
    assert ke.get("brightness") is method and "brightness" in dir(ke)
    record = next(record for record in ke.methods.list() if record.name == "brightness")
    assert (record.function, record.summary) == (method, "The mean of a signal's channels, times the score.")
    close(raw("brightness", model, x, [[1, 2], [1, 2]]), twin(model, x, [1, 2]))
    close(raw("brightness", model, x, 1, power=2), twin(model, x, [1], power=2))
    shortcut = ke.brightness(model, x, 1, verbose=0)
    assert (
        shortcut.maps.shape == (*x.shape[:-1], 1) and shortcut.about["signal"] == gradcam(model, x, 1).about["signal"]
    )
    with pytest.raises(ke.errors.InputError, match="brightness takes no reps=. Its parameters: score, layer, power;"):
        ke.brightness(model, x, 1, reps=2)


@pytest.mark.parametrize("needs", ["hidden signal, gradient", ["gradient", ke.registry.Need.SIGNAL]])
def test_needs_are_given_in_words_or_as_members(needs):
    assert ke.registry.needs_of(needs) == {ke.registry.Need.SIGNAL, ke.registry.Need.GRADIENT}


@pytest.mark.parametrize("needs", ["gradients", "gradient,biases", ["gradient", "box"], 5, None])
def test_other_needs_are_refused_with_the_words_there_are(needs):
    with pytest.raises(ke.errors.InputError, match="'hidden signal', .*'gradient', .* were expected"):
        ke.methods.explainer("cam", needs, "1 forward", "")(lambda view: None)


def test_the_public_form_takes_a_model_and_images(method, model, x):
    taken = inspect.signature(method)
    assert list(taken.parameters) == ["model", "inputs", "indices", "score", "layer", "power"]
    assert list(inspect.signature(ke.get("gradcam")).parameters) == ["model", "inputs", "indices", "score", "layer"]
    assert (method.__name__, method.__module__, method.__doc__) == ("brightness", __name__, taken and method.__doc__)
    assert method.__doc__.startswith("The mean of") and inspect.unwrap(method) is method
    found = method(model, x, 1, None, None, power=2)
    close([ops.convert_to_numpy(v) for v in found], twin(model, x, [1], power=2))
    with pytest.raises(TypeError, match=r"brightness\(\) missing 1 required positional argument: 'inputs'"):
        method(model)


@slow_compiled
def test_methods_of_methods_take_it(method, model, x):
    scores, maps = twin(model, x, [1])
    close(raw(meta.smooth("brightness", 2, noise=0.0), model, x, 1), (scores, maps))
    close(
        raw(meta.smooth(method, 2, noise=0.0, aggregate="square"), model, x, 1, power=2),
        (scores, (maps / scores[:, None, None]) ** 4 * scores[:, None, None] ** 2),
        1e-4,
    )
    close(raw(meta.integrate(method, 2, baseline=x), model, x, 1), (scores, maps), 1e-4)


def test_a_function_around_a_method_is_called_itself(method, model, x):
    calls = []

    @functools.wraps(method)
    def around(model, inputs, indices=None, **params):
        calls.append(tuple(inputs.shape))
        scores, maps = method(model, inputs, indices, **params)
        return scores, 2 * maps

    scores, maps = twin(model, x, [1])
    close(raw(around, model, x, 1), (scores, 2 * maps))
    close(raw(meta.smooth(around, 2, noise=0.0), model, x, 1), (scores, 2 * maps))
    assert calls and set(calls) == {x.shape}


def plain(model, inputs, indices=None, score=None):
    """A method of the public form, which opens a view of its own."""
    scores, maps = ke.get("gradcam")(model, inputs, indices, score=score)
    return scores, -maps


@slow_compiled
def test_methods_of_the_public_form_are_as_good(model, x):
    scores, maps = raw("gradcam", model, x, 1)
    close(raw(plain, model, x, 1), (scores, -maps))
    close(raw(meta.smooth(plain, 2, noise=0.0), model, x, 1), (scores, -maps))
    close(raw(meta.integrate(plain, 2, baseline=x), model, x, 1), (scores, -maps), 1e-4)
    score = ke.scores.margin(1, 2)
    scores, maps = raw("gradcam", model, x, score=score)
    close(raw(plain, model, x, score=score), (scores, -maps))
    close(raw(meta.contrast(plain, 2), model, x, 1), (scores, -maps), 1e-4)
    close(raw(meta.smooth(plain, 2, noise=0.0), model, x, score=score), (scores, -maps))


def as_users_program(function, images, caplog):
    """What a function returns inside of `tf.function` or `jax.jit`. TensorFlow must be able to read all of its code."""
    program = {"tensorflow": "function", "jax": "jit"}.get(ke.backend.name)
    if program is None:
        pytest.skip("runs as it is")
    logger = logging.getLogger("tensorflow")
    logger.addHandler(caplog.handler)
    try:
        found = getattr(importlib.import_module(ke.backend.name), program)(function)(ops.convert_to_tensor(images))
    finally:
        logger.removeHandler(caplog.handler)
    assert "AutoGraph could not transform" not in caplog.text
    return [ops.convert_to_numpy(v) for v in found]


@slow_compiled
def test_methods_are_part_of_the_users_programs(method, model, x, caplog):
    close(as_users_program(lambda images: method(model, images, 1), x, caplog), twin(model, x, [1]))


@slow_compiled
@pytest.mark.parametrize("name", ["scorecam", "guided_backprop", "excitation_backprop", "kernel_shap", "hsic"])
def test_methods_with_programs_of_their_own_are_part_of_the_users(name, model, x, caplog):
    public = ke.get(name)
    params = {"segments": 2, "repetitions": 16} if ke.registry.takes(public, "segments") else {}
    alone = [ops.convert_to_numpy(v) for v in public(model, x, 1, **params)]
    close(as_users_program(lambda images: public(model, images, 1, **params), x, caplog), alone)


def test_one_call_opens_one_view(model, x, monkeypatch):
    opened, init = [], ke.models.View.__init__

    def counting(self, *args, **kwargs):
        opened.append(self)
        init(self, *args, **kwargs)

    model_view = ke.models.view(model, x, 1)
    model_view.signal()  # which measures the model the first time
    monkeypatch.setattr(ke.models.View, "__init__", counting)
    for name in ("gradcam", "guided_gradcam", "lrp_epsilon", "full_gradients", "layercam"):
        opened.clear()
        ke.get(name)(model, x, 1)
        assert len(opened) == 1, name
