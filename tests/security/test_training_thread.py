"""While one thread explains, another trains the model, or loads weights: a map is of one state of the weights, or there
is one error that says what is wrong. Once the other thread has ended, all is well."""

import contextlib
import copy
import functools
import itertools
import random
import threading
import time

import keras
import numpy as np
import pytest

import keras_explainable as ke
from keras_explainable.errors import ChangedError
from support import keras_models
from support.compare import close
from support.selection import BACKEND, slow

pytestmark = slow

on_torch = pytest.mark.skipif(BACKEND != "torch", reason="of PyTorch")
PATIENCE = 60  # seconds in which both a map and a refusal must have come; usually one or two


def keras_model():
    return keras_models.build("functional"), keras_models.images("functional", 2)


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
def working(work):
    """Another thread does this again and again."""
    stop, failed = threading.Event(), []

    def run():
        try:
            while not stop.is_set():
                work()
                time.sleep(0.001)
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run)
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
    began = time.monotonic()
    call()
    pauses = 0, 0.005, max(0.2, 4 * (time.monotonic() - began))  # in the last of which a map can be made

    def to_and_fro():
        for values in (second, first):
            change(values)
            time.sleep(random.choice(pauses))

    maps = refused = 0
    began = time.monotonic()
    with working(to_and_fro):
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


@pytest.mark.parametrize("method", ["full_gradients", "smoothgrad", "lrp_epsilon_plus"])
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


def meddled(call, work, seconds=3):
    """The maps that came while another thread does something, and how many calls were refused."""
    results, refused, began = [], 0, time.monotonic()
    with working(work):
        while time.monotonic() - began < seconds:
            try:
                results.append(call())
            except ChangedError:
                refused += 1
    return results, refused


def test_fit_in_another_thread():
    model, x = keras_model()
    model.compile("sgd", "mse")
    call = functools.partial(ke.gradcam, model, x, 1, verbose=0)
    many = np.zeros((64, *x.shape[1:]), "float32")

    def fit():
        model.fit(many, np.zeros((64, 5)), batch_size=8, verbose=0)

    fit()  # which takes seconds to compile
    before = call()
    _, refused = meddled(call, fit)
    assert refused
    assert not like(call(), before)
    close(call(), call(), 1e-6)


@pytest.mark.skipif(BACKEND != "jax", reason="of JAX")
def test_a_step_that_takes_the_weights_memory():
    import jax

    model, x = keras_model()
    call = functools.partial(ke.explain, "integrated_gradients", model, x, 1, verbose=0, repetitions=4)
    before = call()
    step = jax.jit(lambda values: [value * 0.999 for value in values], donate_argnums=0)

    def train():
        values = step([weight.value for weight in model.weights])
        time.sleep(0.002)  # the model's own are gone meanwhile
        for weight, value in zip(model.weights, values, strict=True):
            weight.assign(value)

    _, refused = meddled(call, train)
    assert refused
    assert not like(call(), before)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="of TensorFlow")
def test_a_weight_that_was_changed_in_part_is_only_seen_to_change_when_it_does():
    import tensorflow as tf

    model, x = keras_model()
    kernel = model.weights[0].value
    kernel.scatter_sub(tf.IndexedSlices(tf.ones((1, *kernel.shape[1:])), [0]))  # from now on each reading is a copy
    call = functools.partial(ke.gradients, model, x, 1, verbose=0)
    results, refused = meddled(call, lambda: None, seconds=1)
    assert results and not refused
    watch(call, set_slowly(model), *states(model))


def test_what_other_threads_may_do():
    model, x = keras_model()
    call = functools.partial(ke.gradcam, model, x, 1, verbose=0)
    wanted = call()
    for work in (lambda: model.compile("sgd", "mse"), model.get_config, lambda: call(run_eagerly=True)):
        results, refused = meddled(call, work, seconds=1)
        assert results and not refused
        for result in results:
            close(result, wanted, 1e-5)


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
@pytest.mark.parametrize("method", ["full_gradients", "integrated_gradients"])
@pytest.mark.parametrize("how", [by_state, by_assigning, by_optimizer, by_fused_optimizer])
def test_maps_of_a_module_are_of_one_set_of_weights(how, method):
    model, x = module()
    first = {name: value.clone() for name, value in model.state_dict().items()}
    optimised = "optimizer" in how.__name__  # which has the parameters only
    second = {
        k: v if optimised and "running" in k else v * 1.5 + 0.1 if v.is_floating_point() else v
        for k, v in first.items()
    }
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

    with working(lambda: None):
        found = ke.gradients(model, np.concatenate([x, x]), 1, batch_size=2, verbose=0, callbacks=[Change()])
    for i, one in enumerate(wanted):
        close([part[2 * i : 2 * i + 2] for part in found], one, 1e-4)


@on_torch
@pytest.mark.parametrize("method", ["gradcam", "full_gradients", "lrp_epsilon_plus"])
def test_training_mode_of_another_thread(method):
    import torch

    model, x = module()
    model.insert(3, torch.nn.Dropout(0.5))
    call = functools.partial(ke.explain, method, model, x, 1, verbose=0)
    wanted, modes = call(), itertools.cycle((True, False))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    results, _ = meddled(call, lambda: model.train(next(modes)))
    assert results
    for result in results:
        close(result, wanted, 1e-5)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


@on_torch
def test_what_other_threads_may_do_to_a_module():
    import torch

    model, x = module()
    call = functools.partial(ke.gradcam, model, x, 1, verbose=0)
    wanted = call()

    def hook():
        handles = model[0].register_forward_hook(lambda *_: None), model[2].register_forward_pre_hook(lambda *_: None)
        for handle in handles:
            handle.remove()

    def add():
        model.add_module("extra", torch.nn.Identity())
        del model.extra

    for work in (hook, add, lambda: model(torch.zeros(1, 3, 20, 24))):
        results, refused = meddled(call, work, seconds=1)
        assert results and not refused
        for result in results:
            close(result, wanted, 1e-5)


@on_torch
def test_training_a_copy_refuses_nothing():
    """Also where the optimizer's steps are counted: those of others are not of this model."""
    import torch

    model, x = module()
    other = copy.deepcopy(model).train()
    optimizer = torch.optim.AdamW(other.parameters(), fused=True)

    def train():
        other(torch.zeros(2, 3, 20, 24)).sum().backward()
        optimizer.step()

    results, refused = meddled(functools.partial(ke.gradcam, model, x, 1, verbose=0), train, seconds=1)
    assert results and not refused


def test_weights_that_change_while_images_are_checked(monkeypatch):
    model, x = keras_model()
    _, second = states(model)

    def change_and_fail(*_):
        model.set_weights(second)
        raise ValueError("Exception encountered when calling Dense.call()")

    monkeypatch.setattr(ke.models, "framed", change_and_fail)
    for call in (ke.full_gradient_decomposition, ke.integrated_gradients_gap, ke.gradcam):
        with working(lambda: None), pytest.raises(ChangedError):
            call(model, x, 0)
