"""`ke.progress.listening`: what is told between steps, and stopping."""

import threading
import time
import warnings

import keras
import numpy as np
import pytest

import keras_explainable as ke
from keras_explainable.errors import InputError
from support.compare import close
from support.selection import fast_on_torch

pytestmark = fast_on_torch


@pytest.fixture(scope="module")
def model():
    return ke.demo.load_model()


@pytest.fixture(scope="module")
def images():
    return ke.demo.load_scenes(6, seed=1)[0]


def heard(call, *args, **params):
    told = []
    with ke.progress.listening(lambda done, of: told.append((done, of))):
        result = call(*args, **params)
    return told, result


def stop_at(n):
    def callback(done, of):
        if done >= n:
            raise ke.errors.Stopped

    return callback


def test_the_repetitions_of_one_batch_are_told(model, images):
    told, _ = heard(ke.smoothgrad, model, images[:1], 3, repetitions=5, verbose=0)
    assert told == [(1, 5), (2, 5), (3, 5), (4, 5), (5, 5)]  # the first one is run before the loop


@pytest.mark.parametrize("method", ["rise", "occlusion", "kernel_shap", "sobol", "hsic"])
def test_methods_that_cover_parts_tell_their_steps_to_the_end(method, model, images):
    few = {} if method == "occlusion" else {"repetitions": 70 if method != "sobol" else 2}
    told, result = heard(getattr(ke, method), model, images[:1], 3, verbose=0, at_once=8, **few)
    assert len(told) > 1 and told[-1][0] == told[-1][1]
    steps = told[: [done for done, _ in told].index(told[-1][1]) + 1]
    assert [done for done, _ in steps] == sorted(done for done, _ in steps)
    close(result.maps, getattr(ke, method)(model, images[:1], 3, verbose=0, at_once=8, **few).maps)


def test_how_many_copies_run_together_is_measured_once(model, images, monkeypatch):
    from keras_explainable.methods.perturbation import probe

    heard(ke.rise, model, images[:1], 3, repetitions=4, verbose=0)
    passes, scores_of = [], probe.scores_of
    monkeypatch.setattr(probe, "scores_of", lambda view: passes.append(1) or scores_of(view))
    heard(ke.rise, model, images[:1], 3, repetitions=4, verbose=0)
    assert len(passes) == 1  # the scores of the images themselves


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="one compiled program on other backends")
@pytest.mark.parametrize("method", ["scorecam", "ablationcam"])
def test_channels_are_told_on_pytorch(method, model, images):
    told, _ = heard(getattr(ke, method), model, images[:1], 3, verbose=0, at_once=1)
    assert len(told) > 1 and told[-1][0] == told[-1][1] - 1  # before each step


def test_batches_are_told_and_inner_loops_repeat_their_numbers(model, images):
    told, _ = heard(ke.gradcam, model, images, 3, batch_size=2, verbose=0)
    assert told == [(0, 3), (1, 3), (2, 3), (3, 3)]
    told, _ = heard(ke.smoothgrad, model, images[:4], 3, batch_size=2, repetitions=3, verbose=0)
    assert sorted(set(told)) == [(0, 2), (1, 2), (2, 2)] and len(told) > 6


def test_an_unknown_number_of_batches_is_none(model, images):
    told, _ = heard(ke.gradcam, model, iter([images[:2], images[2:4]]), 3, verbose=0)
    assert told == [(0, None), (1, None), (2, None)]


def test_stopping_between_batches_keeps_what_was_explained(model, images):
    whole = ke.gradcam(model, images, 3, verbose=0)
    with pytest.raises(ke.errors.Stopped) as stopped, ke.progress.listening(stop_at(2)):
        ke.gradcam(model, images, 3, batch_size=2, verbose=0)
    close(stopped.value.partial.maps, whole.maps[:4])
    assert len(stopped.value.partial.scores) == 4


def test_stopping_within_a_batch_ends_at_once(model, images):
    told = []

    def stop(done, of):
        told.append(done)
        if done == 3:
            raise ke.errors.Stopped

    with pytest.raises(ke.errors.Stopped), ke.progress.listening(stop):
        ke.smoothgrad(model, images[:1], 3, repetitions=50, verbose=0)
    assert told == [1, 2, 3]


def test_stopping_several_methods_is_no_error_of_one_of_them(model, images):
    with pytest.raises(ke.errors.Stopped), ke.progress.listening(stop_at(2)):
        ke.explain(["gradcam", "smoothgrad"], model, images[:1], 3, verbose=0)


def test_the_model_explains_again_after_a_stop_and_nobody_listens_any_more(model, images):
    with pytest.raises(ke.errors.Stopped), ke.progress.listening(stop_at(1)):
        ke.rise(model, images[:1], 3, repetitions=100, verbose=0)
    assert ke.rise(model, images[:1], 3, repetitions=100, verbose=0).maps.shape == (1, 96, 96, 1)


def test_another_thread_is_not_told(model, images):
    told = []
    with ke.progress.listening(lambda *numbers: told.append(numbers)):
        thread = threading.Thread(
            target=ke.smoothgrad, args=(model, images[:1], 3), kwargs={"repetitions": 3, "verbose": 0}
        )
        thread.start()
        thread.join()
    assert told == []


def test_a_step_takes_less_than_a_second_where_a_pass_is_slow(images):
    """With a model of 0.1 s for an image, at most 4 are evaluated together in place of 32; the map is the same."""
    sizes = []

    def slow(x):
        sizes.append(len(x))
        time.sleep(0.1 * len(x))
        return np.asarray(x).mean((1, 2, 3), keepdims=True)[:, 0, 0]

    usual = ke.occlusion(ke.BlackBox(slow), images[:1] * 1.0, 0, patch=48, stride=24, verbose=0)
    sizes.clear()
    told, found = heard(ke.occlusion, ke.BlackBox(slow), images[:1] * 1.0, 0, patch=48, stride=24, verbose=0)
    assert max(sizes) == 3 and told[-1] == (3, 3)
    close(found.maps, usual.maps)


def test_listening_takes_a_function_as_callback(model, images):
    with ke.progress.listening(callback=stop_at(1)), pytest.raises(ke.errors.Stopped):
        ke.smoothgrad(model, images[:1], 3, repetitions=3, verbose=0)
    with pytest.raises(ke.errors.InputError, match="a function of"), ke.progress.listening(3):
        pass


def test_the_listener_is_told_the_warnings_instead():
    model, images = ke.demo.load_model(), np.zeros((1, 96, 96, 3), "float32")
    heard = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with ke.progress.listening(lambda done, of: None, heard.append):
            ke.gradients(model, images, np.eye(10)[:1], verbose=0)
            once = sum("one-hot rows" in text for text in heard)
            ke.gradients(model, images, np.eye(10)[:1], verbose=0)
    assert sum("one-hot rows" in text for text in heard) == 2 * once > 0  # each time, not the first one only
    with pytest.warns(UserWarning, match="one-hot rows"), ke.progress.listening(lambda done, of: None):
        ke.gradients(model, images, np.eye(10)[:1], verbose=0)
    with pytest.raises(InputError, match="warned=3 came"), ke.progress.listening(print, 3):
        pass
