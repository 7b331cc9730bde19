"""What several tests need: small calls, comparisons, and a model that counts its runs."""

import functools
import importlib
import inspect
import threading
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest

import keras_explainable as ke
from support import keras_models

BACKEND = keras.backend.backend()
ON_TORCH_CPU = BACKEND == "torch" and keras.ops.convert_to_tensor(0.0).device.type == "cpu"
SHAPE = (*keras_models.SIZE, 3)

# Where every test must be compiled, the whole of the laws is tried on these, and of the others what is quick.
REPRESENTATIVE = {
    "gradients",
    "smoothgrad",
    "full_gradients",
    "gradcam",
    "scorecam",
    "integrated_gradients",
    "lrp_epsilon_plus",
    "occlusion",
    "attention_rollout",
}

gradcam = functools.partial(ke.gradcam, verbose=0, placement="stretch")
raw = functools.partial(ke.explain, verbose=0, resizing=False, placement="stretch")  # as the twins do


def close(a, b, tolerance=1e-5):
    """Equal shapes, and values that differ by less than a part of the largest."""
    for u, v in zip(a, b, strict=True):
        assert u.shape == v.shape
        np.testing.assert_allclose(u, v, atol=tolerance * max(abs(v).max(), 1e-12), rtol=0)


def module(name):
    """A module of the library, also where its package shows a function of the same name."""
    return importlib.import_module(f"keras_explainable.{name}")


def on(kind, number):
    """The fixtures of a file: a kind of model of `models`, and so many images for it."""
    return (
        pytest.fixture(scope="module", name="model")(lambda: keras_models.build(kind)),
        pytest.fixture(scope="module", name="x")(lambda: keras_models.images(kind, number)),
    )


def in_threads(call, number=8):
    """The results of `call(i)` in that many threads, which begin together; what one of them raises, this raises."""
    start = threading.Barrier(number)

    def run(i):
        start.wait()
        return call(i)

    with ThreadPoolExecutor(number) as pool:
        return list(pool.map(run, range(number)))


def counted():
    """A model, and the batch sizes that it was called with."""
    calls = []

    class Counted(keras_models.Twice):
        def call(self, x, training=None):
            calls.append(x.shape[0])
            return super().call(x, training)

    model = Counted()
    model(np.zeros((1, *SHAPE), "float32"))
    keras_models.randomize(model)
    calls.clear()
    return model, calls


def few(method):
    """Parameters with which a method that repeats is quick, and one that divides by what may be nothing is stable."""
    if method == "lrp_epsilon":
        return {"epsilon": 0.01}
    function = ke.registry.METHODS[method].function
    return {"repetitions": 3} if "repetitions" in inspect.signature(function).parameters else {}


def subject(method):
    """The kind of model of `models` that a method is tried on where one is enough."""
    return "transformer" if "attention" in ke.registry.METHODS[method].needs else "functional"


def quick(method):
    """Marks of a test of this method: slow where it must be compiled, but for the representative ones."""
    return () if BACKEND == "torch" or method in REPRESENTATIVE else pytest.mark.slow


# Of a file that is marked `where_quick`, what is not marked `everywhere` is slow where it must be compiled. Each method
# equals its twin `everywhere`, on one kind of model; the other witnesses and kinds are tried where nothing is compiled.
where_quick, everywhere = pytest.mark.where_quick, pytest.mark.everywhere


def first_everywhere(first, *others):
    """Parameters of a test, such as kinds of model, of which the first is tried `everywhere`."""
    return [pytest.param(first, marks=everywhere), *others]


def every_method(names=None):
    """The methods as parameters of a test."""
    return [pytest.param(name, marks=quick(name)) for name in names or ke.registry.METHODS]
