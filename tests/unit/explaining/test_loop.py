"""The loop survives a device with too little memory, and 100 models."""

import gc
import resource
import weakref

import keras
import numpy as np
import pytest
from keras import layers as L

import keras_explainable as ke
from keras_explainable.errors import InputError
from support import keras_models
from support.compare import close
from support.memory import limited, too_little
from support.selection import slow_compiled


@pytest.mark.parametrize("y", [None, [1, 4, 0, 2, 3, 1, 1]])
def test_batches_are_halved_once_and_the_maps_are_the_same(y):
    model, x, seen = keras_models.build("functional"), keras_models.images("functional", 7), []
    with pytest.warns(UserWarning, match="too little memory for 4 images at once, and continues with 2: batch_size=2"):
        ours = ke.explain(limited(2, seen), model, x, y, batch_size=4, verbose=0)
    close(ours, ke.explain("gradcam", model, x, y, verbose=0, placement="stretch"), 1e-5)
    assert seen[0] == 4 and max(seen[1:]) == 2  # the second batch is not tried whole


def test_one_half_that_is_still_too_much_raises_what_the_device_said():
    model, x, seen = keras_models.build("functional"), keras_models.images("functional", 8), []
    with pytest.warns(UserWarning, match="too little"), pytest.raises(type(too_little())) as caught:
        ke.explain(limited(1, seen), model, x, 1, batch_size=4, verbose=0)
    assert ke.backend.is_out_of_memory(caught.value)
    assert seen == [4, 2]


def test_a_single_image_and_other_errors_are_not_tried_again():
    model, x, seen = keras_models.build("functional"), keras_models.images("functional", 1), []
    with pytest.raises(type(too_little())):
        ke.explain(limited(0, seen), model, x, 1, verbose=0)
    assert seen == [1]
    assert not ke.backend.is_out_of_memory(RuntimeError("something else"))


def tiny(seed):
    stack = [keras.Input((8, 8, 3)), L.Conv2D(4, 3), L.ReLU(), L.GlobalAveragePooling2D(), L.Dense(2)]
    return keras_models.randomize(keras.Sequential(stack), seed)


@slow_compiled
@pytest.mark.usefixtures("only_what_is_new")
@pytest.mark.parametrize("number", [8, pytest.param(100, marks=pytest.mark.very_slow)])
def test_models_that_are_gone_leave_nothing(number):
    x = np.ones((2, 8, 8, 3), "float32")

    def explained(seed):
        model = tiny(seed)
        ke.gradcam(model, x, 1, verbose=0)
        assert ke.cache_info().models >= 1
        return weakref.ref(model)

    ke.clear_cache()
    gone = [explained(seed) for seed in range(3)]
    gc.collect()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    gone += [explained(seed) for seed in range(number)]
    keras.backend.clear_session()
    gc.collect()
    assert sum(model() is not None for model in gone) <= 1 and ke.cache_info().models <= 1
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown < 64 + 2.5 * number, f"{grown:.0f} MiB"


@pytest.mark.parametrize(
    ("method", "params", "steps"),
    [
        ("rise", {"repetitions": 8, "at_once": 2}, 3),  # the first one is begun with
        ("smoothgrad", {"repetitions": 6}, 5),
        ("sobol", {"repetitions": 3, "segments": 2}, 3),
    ],
)
def test_repetitions_are_counted_where_there_is_one_batch(method, params, steps, capsys):
    model, x = keras_models.build("functional"), keras_models.images("functional", 2)
    ke.explain(method, model, x[:1], 0, verbose=1, **params)
    alone = capsys.readouterr().out
    assert f"{steps}/{steps}" in alone
    assert "repetition" in alone
    ke.explain(method, model, x, 0, verbose=1, batch_size=1, **params)
    assert "repetition" not in capsys.readouterr().out
    ke.explain(method, model, x[:1], 0, verbose=0, **params)
    assert not capsys.readouterr().out


@pytest.mark.parametrize("verbose", ["loud", None, [1]])
def test_what_is_no_verbosity_is_refused(verbose):
    model, x = keras_models.build("functional"), keras_models.images("functional", 1)
    with pytest.raises(InputError, match=r'verbose=.* came, and "auto", 0, 1 or 2 was expected'):
        ke.gradcam(model, x, 0, verbose=verbose)
