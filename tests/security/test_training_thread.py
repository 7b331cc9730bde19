"""While one thread explains, another trains the model, or loads weights: a map is of one state of the weights, or there
is one error that says what is wrong. Once the other thread has ended, all is well."""

import contextlib
import functools
import random
import threading
import time

import keras
import numpy as np
import pytest

import keras_explainable as ke
import models
from helpers import BACKEND, close
from keras_explainable.errors import ChangedError

on_torch = pytest.mark.skipif(BACKEND != "torch", reason="of PyTorch")
PATIENCE = 60  # seconds in which both a map and a refusal must have come; usually one or two


def keras_model():
    return models.build("functional"), models.images("functional", 2)


def states(model):
    """Two sets of weights, of which each part differs."""
    first = [np.array(value) for value in model.get_weights()]
    return first, [np.array(value) * 1.5 + 0.1 for value in first]


def set_slowly(model):
    """Layer by layer, with pauses in which a step of a small model begins and ends."""

    def change(values):
        for variable, value in zip(model.weights, values, strict=True):
            variable.assign(value)
            time.sleep(random.choice((0, 0.001, 0.004)))

    return change


def set_at_once(model):
    return model.set_weights


def load(model, folder):
    """From files, as `load_weights` does."""
    files = {}

    def change(values):
        key = float(np.sum(values[0]))
        if key not in files:
            model.set_weights(values)
            files[key] = str(folder / f"{len(files)}.weights.h5")
            model.save_weights(files[key])
        model.load_weights(files[key])

    return change


@contextlib.contextmanager
def changing(change, first, second):
    """Another thread goes to and fro between two sets of weights, and in the end is at the first one."""
    stop, failed = threading.Event(), []

    def work():
        try:
            while not stop.is_set():
                for values in (second, first):
                    change(values)
                    time.sleep(random.choice((0, 0.005, 0.2)))
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    assert not failed, failed


def like(result, wanted):
    with contextlib.suppress(AssertionError):
        close(result, wanted, 1e-4)
        return True
    return False


def watch(call, change, first, second):
    """Explain while another thread changes the weights, until both a map and a refusal have come."""
    legal = []
    for values in (second, first):
        change(values)
        legal.append(call())
    assert not like(*legal)
    maps = refused = 0
    began = time.monotonic()
    with changing(change, first, second):
        while time.monotonic() - began < 2 or (not (maps and refused) and time.monotonic() - began < PATIENCE):
            try:
                result = call()
            except ChangedError as error:
                assert "another thread" in str(error)
                refused += 1
            else:
                assert any(like(result, one) for one in legal)
                maps += 1
    assert maps and refused
    close(call(), legal[1], 1e-5)


@pytest.mark.parametrize("method", ["gradcam", "full_gradients", "smoothgrad", "lrp_epsilon_plus"])
@pytest.mark.parametrize("how", [set_slowly, set_at_once])
def test_maps_are_of_one_set_of_weights(how, method):
    model, x = keras_model()
    call = functools.partial(ke.explain, method, model, x, 1, verbose=0)
    watch(call, how(model), *states(model))


def test_maps_are_of_one_file_of_weights(tmp_path):
    model, x = keras_model()
    watch(functools.partial(ke.gradients, model, x, 1, verbose=0), load(model, tmp_path), *states(model))


def test_a_decomposition_is_of_one_set_of_weights():
    model, x = keras_model()
    first, second = states(model)

    def call():
        parts = ke.full_gradient_decomposition(model, x, 1)
        return parts.input_gradient, parts.completeness.scores

    watch(call, set_slowly(model), first, second)


def test_fit_in_another_thread():
    model, x = keras_model()
    model.compile("sgd", "mse")
    call = functools.partial(ke.gradcam, model, x, 1, verbose=0)
    before, stop, failed = call(), threading.Event(), []
    many = np.zeros((64, *x.shape[1:]), "float32")

    def train():
        try:
            while not stop.is_set():
                model.fit(many, np.zeros((64, 5)), batch_size=8, verbose=0)
        except BaseException as error:
            failed.append(error)

    thread, refused, began = threading.Thread(target=train), 0, time.monotonic()
    thread.start()
    while time.monotonic() - began < 3 or (not refused and time.monotonic() - began < PATIENCE):
        try:
            call()
        except ChangedError:
            refused += 1
    stop.set()
    thread.join()
    assert refused and not failed
    assert not like(call(), before)
    close([call()[0]], [call()[0]], 1e-6)


def module():
    import torch

    torch.manual_seed(0)
    made = torch.nn.Sequential(
        *(torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.BatchNorm2d(8), torch.nn.ReLU(), torch.nn.Conv2d(8, 8, 3)),
        *(torch.nn.BatchNorm2d(8), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()),
        torch.nn.Linear(8, 5),
    )
    return made.eval(), np.random.default_rng(0).normal(size=(2, 3, 20, 24)).astype("float32")


def by_state(model):
    return model.load_state_dict


def by_assigning(model):
    return functools.partial(model.load_state_dict, assign=True)


def by_optimizer(model, **options):
    """A step whose gradient leads to the other set of weights."""
    import torch

    optimizer = torch.optim.SGD(model.parameters(), lr=1.0, **options)

    def change(values):
        with torch.no_grad():
            for name, weight in model.named_parameters():
                weight.grad = weight - values[name]
        optimizer.step()

    return change


def by_fused_optimizer(model):
    return by_optimizer(model, fused=True)


@on_torch
@pytest.mark.parametrize("method", ["gradcam", "full_gradients", "integrated_gradients", "lrp_epsilon_plus"])
@pytest.mark.parametrize("how", [by_state, by_assigning, by_optimizer, by_fused_optimizer])
def test_maps_of_a_module_are_of_one_set_of_weights(how, method):
    model, x = module()
    first = {name: value.clone() for name, value in model.state_dict().items()}
    optimised = "optimizer" in how.__name__  # which has the parameters only
    second = {k: v if optimised and "running" in k else v * 1.5 + 0.1 if v.is_floating_point() else v
              for k, v in first.items()}
    watch(functools.partial(ke.explain, method, model, x, 1, verbose=0), how(model), first, second)


@on_torch
def test_the_running_statistics_are_weights():
    import torch

    model, x = module()
    norm = model[1]
    first, second = (torch.zeros(8), torch.ones(8)), (torch.full((8,), 3.0), torch.full((8,), 9.0))

    def change(values):
        norm.running_mean.copy_(values[0])
        time.sleep(0.003)
        norm.running_var.copy_(values[1])

    watch(functools.partial(ke.gradients, model, x, 1, verbose=0), change, first, second)


def test_the_same_thread_may_train_between_batches():
    model, x = keras_model()
    first, second = states(model)
    wanted = [ke.gradients(model, x, 1, verbose=0)]
    model.set_weights(second)
    wanted.append(ke.gradients(model, x, 1, verbose=0))
    model.set_weights(first)

    class Change(keras.callbacks.Callback):
        def on_predict_batch_begin(self, batch, logs=None):
            model.set_weights((first, second)[batch])

    stop = threading.Event()
    idle = threading.Thread(target=stop.wait)
    idle.start()
    try:
        found = ke.gradients(model, np.concatenate([x, x]), 1, batch_size=2, verbose=0, callbacks=[Change()])
    finally:
        stop.set()
        idle.join()
    for i, one in enumerate(wanted):
        close([part[2 * i : 2 * i + 2] for part in found], one, 1e-4)
